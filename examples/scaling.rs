//! How long a step takes on 8 to 1024 ranks, by a model of computation and network: docs/distributed.md has its tables,
//! and what it was checked against.
//!
//! `cargo run --release --example scaling` measures what a sum costs the processor and prints the tables; with
//! `-- PLOT.svg` it draws them as well.
//!
//! The model, for a rank that takes one micro-batch a step, or eight:
//!
//! - Without other ranks a step takes as long as was measured on an H100 in half precision, with 16 384 tokens
//!   (docs/h100.md, `60m` and `130m`); larger models take longer in proportion to their parameters. Two thirds of it are
//!   the backward pass, one third the forward pass.
//! - Summing B bytes over R ranks is two halves, numbers to the rank that sums them and sums to all ranks. Each half sends
//!   (R − 1)/R · B through every rank's network at its nominal rate, and R − 1 messages of 5 µs one after the other.
//! - Each number costs the processor what was measured here, and travels from the device and back at 25 GB/s.
//! - Sums go on during the last micro-batch's backward pass; the last bucket begins when it ends.
//! - AdamW with sharded state (ZeRO-1) updates a part on each rank, and gathers weights instead of sums. They are gathered
//!   before the next step, or, overlapped, during its first forward pass.

use std::error::Error;
use std::fs;
use std::time::Instant;

use multinorm::config::{ModelConfig, RunConfig, RunDefaults, Wire};
use multinorm::distributed::{Group, Transport};
use multinorm::plot::{Axis, Ink, Panel, Scale, Series, lines, standalone};

const RANKS: [usize; 8] = [8, 16, 32, 64, 128, 256, 512, 1024];
/// Gbit/s of each rank's network.
const RATES: [f64; 4] = [1.0, 10.0, 100.0, 400.0];
/// Presets with the measured seconds of a step of 16 384 tokens, if there are any.
const MODELS: [(&str, Option<f64>); 4] =
    [("60m", Some(34.6e-3)), ("130m", Some(80.0e-3)), ("350m", None), ("1b", None)];
const MESSAGE_SECS: f64 = 5e-6;
/// Numbers of a bucket of 4 MiB.
const BUCKET: f64 = 1024.0 * 1024.0;
/// Seconds of a step of the software adapter's default run, measured on two ranks with a core each (docs/distributed.md),
/// at so many Gbit/s.
const MEASURED: [(f64, Wire, f64); 6] = [
    (1.0, Wire::F32, 0.798),
    (1.0, Wire::F16, 0.835),
    (0.1, Wire::F32, 0.867),
    (0.1, Wire::F16, 0.803),
    (0.02, Wire::F32, 1.790),
    (0.02, Wire::F16, 1.071),
];
/// The same run with half of each batch, as one rank takes it, and with all of it, in two micro-batches.
const MEASURED_ALONE: [f64; 2] = [0.774, 1.408];
/// A number in f32 from the device and back.
const DEVICE_SECS: f64 = 2.0 * 4.0 / 25e9;

/// A step without other ranks.
struct Model {
    name: &'static str,
    parameters: f64,
    step_secs: f64,
    /// Seconds of the last micro-batch, forward and backward.
    micro_batch_secs: f64,
    /// Numbers that travel together.
    bucket: f64,
}

/// What carries the numbers.
#[derive(Clone, Copy)]
struct Link {
    ranks: usize,
    /// Bits a second.
    rate: f64,
    /// Bytes of a number on the wire.
    bytes: f64,
    /// Seconds of the processor for a number, both halves.
    host_secs: f64,
}

/// Who updates the weights.
#[derive(Clone, Copy, PartialEq)]
enum Update {
    /// Every rank updates everything.
    Whole,
    /// Every rank updates its part, and the weights are gathered.
    Sharded { overlapped: bool },
}

impl Link {
    /// Seconds of half a sum of `n` numbers.
    fn half(self, n: f64) -> f64 {
        let others = (self.ranks - 1) as f64;
        let network = n * self.bytes * 8.0 * others / self.ranks as f64 / self.rate;
        network + others * MESSAGE_SECS + n * (self.host_secs + DEVICE_SECS) / 2.0
    }
}

impl Model {
    /// Seconds of a step that nothing hides.
    fn exposed(&self, link: Link, update: Update) -> f64 {
        let halves = if update == Update::Whole { 2.0 } else { 1.0 };
        let last = halves * link.half(self.bucket.min(self.parameters));
        let others = (halves * link.half(self.parameters) - last).max(0.0);
        let gathered = match update {
            Update::Whole => 0.0,
            Update::Sharded { overlapped: false } => link.half(self.parameters),
            Update::Sharded { overlapped: true } => (link.half(self.parameters) - self.micro_batch_secs / 3.0).max(0.0),
        };
        last + (others - self.micro_batch_secs * 2.0 / 3.0).max(0.0) + gathered
    }

    /// The percentage of as many times one rank's throughput.
    fn efficiency(&self, link: Link, update: Update) -> f64 {
        100.0 * self.step_secs / (self.step_secs + self.exposed(link, update))
    }
}

fn models() -> Result<Vec<Model>, Box<dyn Error>> {
    let parameters =
        |name: &str| -> Result<f64, Box<dyn Error>> { Ok(ModelConfig::preset(name)?.n_parameters() as f64) };
    let per_parameter = 80.0e-3 / parameters("130m")?;
    let model = |(name, measured): (&'static str, Option<f64>)| {
        let parameters = parameters(name)?;
        let step_secs = measured.unwrap_or(parameters * per_parameter);
        Ok(Model { name, parameters, step_secs, micro_batch_secs: step_secs, bucket: BUCKET })
    };
    MODELS.into_iter().map(model).collect()
}

/// The model beside what two ranks took.
fn check(link: impl Fn(usize, f64, Wire) -> Link) -> Result<(), Box<dyn Error>> {
    let run = RunConfig::load(None, &[], RunDefaults::Software)?;
    let [step_secs, whole] = MEASURED_ALONE;
    let parameters = run.model.n_parameters() as f64;
    let bucket = (run.distributed.bucket_kib * 1024 / size_of::<f32>()) as f64;
    let model = Model { name: "default run", parameters, step_secs, micro_batch_secs: whole - step_secs, bucket };
    println!("| Gbit/s | on the wire | modelled, s | measured, s |\n|---|---|---|---|");
    for (gbit, wire, measured) in MEASURED {
        let modelled = model.step_secs + model.exposed(link(2, gbit, wire), Update::Whole);
        let name = if wire == Wire::F32 { "f32" } else { "f16" };
        println!("| {gbit} | {name} | {modelled:.3} | {measured:.3} |");
    }
    println!();
    Ok(())
}

/// Rank 0 of a group whose other ranks send what it sends.
struct Echo {
    ranks: usize,
}

impl Transport for Echo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        self.ranks
    }

    fn local_rank(&self) -> usize {
        0
    }

    fn all_to_all(&self, send: &[u8], send_bytes: &[usize], _: &[usize], received: &mut [u8]) {
        received.chunks_mut(send_bytes[0]).for_each(|of_rank| of_rank.copy_from_slice(&send[..send_bytes[0]]));
    }

    fn all_gather(&self, own: &[u8], _: &[usize], gathered: &mut [u8]) {
        gathered.chunks_mut(own.len()).for_each(|of_rank| of_rank.copy_from_slice(own));
    }

    fn broadcast(&self, _: &mut [u8]) {}
}

/// Seconds that this machine takes for a number of a sum over eight ranks, the copies of a network's messages included.
fn host_secs(wire: Wire) -> Result<f64, Box<dyn Error>> {
    const SUMS: u32 = 64;
    let group = Group::start(|| Ok(Echo { ranks: 8 }))?;
    let values: Vec<f32> = (0..BUCKET as usize).map(|at| (at as f32).sin()).collect();
    group.sum(values.clone(), wire).wait()?;
    let began = Instant::now();
    for _ in 0..SUMS {
        group.sum(values.clone(), wire).wait()?;
    }
    let secs = began.elapsed().as_secs_f64() / (f64::from(SUMS) * BUCKET);
    group.leave();
    Ok(secs)
}

/// A column of the table: its name, what is on the wire, who updates, and a rank's micro-batches per step.
type Column = (&'static str, Wire, Update, f64);

const COLUMNS: [Column; 5] = [
    ("stateless, f32", Wire::F32, Update::Whole, 1.0),
    ("stateless, f16", Wire::F16, Update::Whole, 1.0),
    ("ZeRO-1, f16", Wire::F16, Update::Sharded { overlapped: false }, 1.0),
    ("ZeRO-1, f16, overlapped", Wire::F16, Update::Sharded { overlapped: true }, 1.0),
    ("stateless, f32, 8 micro-batches", Wire::F32, Update::Whole, 8.0),
];

fn main() -> Result<(), Box<dyn Error>> {
    let models = models()?;
    let host = [host_secs(Wire::F32)?, host_secs(Wire::F16)?];
    println!("a number of a sum takes {:.2} ns in f32, {:.2} ns in f16\n", host[0] * 1e9, host[1] * 1e9);
    let link = |ranks: usize, gbit: f64, wire: Wire| {
        let (bytes, host_secs) = if wire == Wire::F32 { (4.0, host[0]) } else { (2.0, host[1]) };
        Link { ranks, rate: gbit * 1e9, bytes, host_secs }
    };
    check(link)?;
    println!("| model | Gbit/s | {} |", COLUMNS.map(|(name, ..)| name).join(" | "));
    println!("|---|---|{}", "---|".repeat(COLUMNS.len()));
    for model in &models {
        for gbit in RATES {
            let cells = COLUMNS.map(|(_, wire, update, micro_batches)| {
                let model = Model { step_secs: micro_batches * model.step_secs, ..*model };
                let of = |ranks| format!("{:.1}", model.efficiency(link(ranks, gbit, wire), update));
                [8, 64, 1024].map(of).join(" / ")
            });
            println!("| `{}` | {gbit} | {} |", model.name, cells.join(" | "));
        }
    }
    if let Some(path) = std::env::args().nth(1) {
        let panel = |model: &Model, micro_batches: f64| {
            let of_step = Model { step_secs: micro_batches * model.step_secs, ..*model };
            let series = RATES.iter().enumerate().map(|(at, gbit)| {
                let of = |ranks| of_step.efficiency(link(ranks, *gbit, Wire::F32), Update::Whole);
                let points = RANKS.into_iter().map(|ranks| ((ranks as f64).log2(), of(ranks)));
                Series { ink: Ink(at), points: points.collect(), marked: true }
            });
            let axis = Axis { x: "log2 of ranks".into(), y: "% of linear".into(), scale: Scale::Linear };
            Panel {
                title: format!("{}, micro-batches per rank: {micro_batches}", model.name),
                svg: lines(&axis, &series.collect::<Vec<_>>(), None, RATES.len()),
                legend: RATES.iter().enumerate().map(|(at, gbit)| (Ink(at), format!("{gbit} Gbit/s"))).collect(),
            }
        };
        let [smallest, .., largest] = &models[..] else { unreachable!("there are several") };
        let panels = [(smallest, 1.0), (smallest, 8.0), (largest, 1.0), (largest, 8.0)];
        let panels = panels.map(|(model, micro_batches)| panel(model, micro_batches));
        fs::write(path, standalone("Throughput of a stateless optimizer on many ranks, as modelled", &panels))?;
    }
    Ok(())
}
