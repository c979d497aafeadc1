//! `multinorm bench optimizers`: one update of each optimizer on a linear layer, next to a plain copy of the bytes it
//! moves, and on a whole model.

use std::sync::Arc;

use clap::Args;
use multinorm::config::{OptimizerConfig, Recipe, Role, optimizer_names};
use multinorm::gpu::{Class, DType, DispatchInfo, Gpu, Recorder, Schedule, Tensor, Workspace, bytes_in_words};
use multinorm::kernels::norms::Statistics;
use multinorm::kernels::scaled::{Scaled, materialize};
use multinorm::kernels::zeroth_order::{Stage, TwoPoint, two_point};
use multinorm::optim::{self, Directions, Perturbed, ReferenceDirections, ReferenceUpdate, State, StepTensors, Update};
use multinorm::reference::zeroth_order::projected_gradient;
use multinorm::{Error, Result};
use serde_json::{Value, json};

use super::{Settings, clock, document, model_update, steady_secs, with_preset};
use crate::cli::DeviceArgs;
use crate::cli::console::{note, out};
use crate::cli::output::print_json;
use crate::cli::train::read_config;

/// Shape on which every update is checked before any is timed: no multiple of a tile.
const CHECKED: [usize; 2] = [37, 61];
/// Shape of the two losses, each where a binding may begin.
const LOSSES: [usize; 2] = [2, 64];
const CHECKED_STEPS: u32 = 6;
/// A step with nothing but the regular update.
const ORDINARY_STEP: u32 = 1000;
/// The parameter's name, from which random numbers are derived.
const NAME: &str = "weight";
/// Largest deviation from the reference after those steps, relative to the root mean square: ten times that of Muon's
/// quintic, which drives apart values near its unstable fixed point.
const TOLERANCE: f64 = 1e-3;
/// Time budget of each update, in seconds; a longer one is timed once or twice.
const BUDGET_SECS: f64 = 0.3;

#[derive(Args)]
pub struct OptimizersArgs {
    /// Optimizers of the catalog to time, by name
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    optimizers: Vec<String>,
    /// Shapes of the matrix to update
    #[arg(long = "shape", value_delimiter = ',', default_value = "512x1376,2048x5461", value_name = "MxN,…")]
    shapes: Vec<String>,
    #[command(flatten)]
    settings: Settings,
}

pub fn run(device: &DeviceArgs, json: bool, args: &OptimizersArgs) -> Result<()> {
    let OptimizersArgs { optimizers: names, shapes, settings } = args;
    let gpu = Arc::new(device.open()?);
    let known = optimizer_names();
    let names = if names.is_empty() { known.iter().map(|name| name.to_string()).collect() } else { names.to_vec() };
    let mut configs: Vec<_> =
        names.iter().map(|name| Ok((name, OptimizerConfig::named(name)?))).collect::<Result<Vec<_>>>()?;
    for (name, _) in configs.extract_if(.., |(_, config)| config.adapter().is_some()) {
        note!("{name} updates adapters and no matrix of the model: not timed");
    }
    let shapes = shapes.iter().map(|shape| parse_shape(shape)).collect::<Result<Vec<_>>>()?;
    // A settings file names its own model.
    let sets = if settings.config.is_some() { settings.sets.clone() } else { with_preset(&gpu, &settings.sets) };
    let model = read_config(settings.config.as_deref(), None, &sets, &gpu.profile)?;
    for (name, config) in &configs {
        pollster::block_on(check(&gpu, name, config))?;
    }
    let mut rows = Vec::new();
    for shape in shapes {
        let copy_secs = pollster::block_on(copy(&gpu, shape))?;
        if !json {
            out!("{}x{}, f32, by {}: a copy takes {:.3} ms", shape[0], shape[1], clock(&gpu), copy_secs * 1e3);
            out!(
                "{:<18}{:>8}{:>9}{:>12}{:>12}{:>12}{:>10}{:>13}{:>12}",
                "optimizer",
                "kernels",
                "reads G",
                "state",
                "moves",
                "update ms",
                "copy ms",
                "update/copy",
                "renewal ms"
            );
        }
        for (name, config) in &configs {
            let row = pollster::block_on(time(&gpu, name, config, shape, copy_secs))?;
            if !json {
                print_row(&row);
            }
            rows.push(row);
        }
    }
    if !json {
        out!(
            "kernels: in an ordinary step; moves: bytes that they read and write; copy: of as many bytes; renewal: a step that finds a new basis"
        );
        out!("\nthe update of a model of {} parameters", model.model.n_parameters());
        out!(
            "{:<18}{:>8}{:>12}{:>12}{:>12}{:>12}{:>14}",
            "optimizer",
            "kernels",
            "state",
            "at least",
            "moves",
            "update ms",
            "GB/s at least"
        );
    }
    let mut whole = Vec::new();
    for (name, config) in &configs {
        let update = pollster::block_on(model_update::measure(&gpu, &model, name, config))?;
        if !json {
            out!(
                "{:<18}{:>8}{:>12}{:>12}{:>12}{:>12.3}{:>14.1}",
                update.optimizer,
                update.kernels,
                bytes_in_words(update.optimizer_state_bytes),
                bytes_in_words(update.least_bytes),
                bytes_in_words(update.bytes_moved),
                update.update_secs * 1e3,
                update.least_gbytes_per_sec
            );
        }
        whole.push(update);
    }
    if json {
        let figures = json!({ "updates": rows, "model": model.model, "model_updates": whole });
        return print_json(&document(&gpu, figures));
    }
    out!("at least: every gradient once, every weight and all state twice; both are those of an ordinary step");
    Ok(())
}

fn parse_shape(text: &str) -> Result<[usize; 2]> {
    let parse = |part: &str| part.trim().parse().ok().filter(|extent: &usize| *extent > 0);
    let shape = text.split_once(['x', '×']).and_then(|(m, n)| Some([parse(m)?, parse(n)?]));
    shape.ok_or_else(|| Error::config("--shape", format!("expected rows x columns, like 512x1376, got `{text}`")))
}

/// One update of a linear layer, recorded as the plan `update`.
struct Recorded {
    rec: Recorder,
    weight: Tensor,
    /// The gradient; for a zeroth-order rule, two rows that begin with its losses.
    input: Tensor,
    numbers: [Tensor; 2],
}

impl Recorded {
    fn new(gpu: &Gpu, config: &OptimizerConfig, shape: [usize; 2]) -> Result<Self> {
        let mut rec = Recorder::new(&gpu.profile);
        let weight = rec.persistent(Class::Parameters, DType::F32, "weight", &shape);
        let losses = config.zeroth_order();
        let input =
            rec.persistent(Class::Gradients, DType::F32, "gradient", if losses.is_some() { &LOSSES } else { &shape });
        let numbers = [("statistics", DType::F32, Statistics::GRADIENTS + 1), ("step", DType::U32, 4)]
            .map(|(name, dtype, len)| rec.persistent(Class::Scratch, dtype, name, &[len]));
        rec.begin("update");
        let shared = StepTensors { statistics: &numbers[0], step: &numbers[1] };
        match losses {
            Some(hyper) => drop(record_moves(&mut rec, config, hyper, [&weight, &input], shared)?),
            None => {
                let update =
                    Update { name: NAME, role: Role::Linear, weight: &weight, gradient: &input, lookahead: None };
                let lookahead = optim::record_lookahead(&mut rec, config, &update, shared);
                drop(optim::record(&mut rec, config, &Update { lookahead: lookahead.as_ref(), ..update }, shared)?);
            }
        }
        Ok(Self { rec, weight, input, numbers })
    }

    /// Allocates on the device, with a gradient, zero weights, and the numbers of a first step.
    async fn allocate(self, gpu: &Gpu) -> Result<(Workspace, Vec<f32>, Tensor)> {
        let Self { rec, weight, input, numbers: [statistics, step], .. } = self;
        let workspace = rec.allocate(gpu).await?;
        let values = input_values(&input.shape);
        workspace.write(gpu, &input, &values);
        workspace.write(gpu, &statistics, &[0.0f32, 1.0, 0.0, 0.0]);
        workspace.write(gpu, &step, &[1.0f32.to_bits(), 1, 0, 0]);
        Ok((workspace, values, weight))
    }
}

/// All moves of one zeroth-order step with these losses.
fn record_moves(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    hyper: Directions,
    [weight, losses]: [&Tensor; 2],
    step: StepTensors<'_>,
) -> Result<Vec<State>> {
    let [along, how] = [1, 4].map(|len| rec.persistent(Class::Scratch, DType::F32, "numbers", &[len]));
    let [plus, minus] = [losses.rows(0..1), losses.rows(1..2)];
    let two = TwoPoint {
        losses: [&plus, &minus],
        along: &along,
        statistics: step.statistics,
        how: &how,
        eps: hyper.eps,
        max_norm: 0.0,
    };
    let parameter = Perturbed { name: NAME, role: Role::Linear, weight, first: 0, how: &how, step };
    let states = optim::record_directions(rec, config, &parameter)?;
    for stage in [Stage::Plus, Stage::Minus, Stage::Back] {
        two_point(rec, step.step, two, stage);
        optim::record_perturbation(rec, config, &parameter, &states);
    }
    Ok(states)
}

/// Values without a pattern; rows and columns differ in magnitude.
fn input_values(shape: &[usize]) -> Vec<f32> {
    let cols = shape[1] as u64;
    let uniform = |x: u64| (x.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    let len = (shape[0] * shape[1]) as u64;
    (0..len).map(|at| uniform(at + 1) * (uniform(at / cols + 7) + uniform(at % cols + 11)).exp()).collect()
}

/// Checks a few steps against the reference: some rules change nothing in the first.
async fn check(gpu: &Gpu, name: &str, config: &OptimizerConfig) -> Result<()> {
    let recorded = Recorded::new(gpu, config, CHECKED)?;
    let step = recorded.numbers[1].clone();
    let (workspace, input, weight) = recorded.allocate(gpu).await?;
    let mut want = vec![0.0; weight.len()];
    let mut reference = reference(config, input.iter().map(|&x| x.into()).collect());
    for number in 1..=CHECKED_STEPS {
        workspace.write(gpu, &step, &[1.0f32.to_bits(), number, 0, 0]);
        workspace.run_scheduled(gpu, &["update"], Schedule::Step(u64::from(number) - 1));
        reference(&mut want, number);
    }
    let got: Vec<f32> = workspace.read(gpu, &weight).await?;
    let rms = (want.iter().map(|w| w * w).sum::<f64>() / want.len() as f64).sqrt();
    let errors = got.iter().zip(&want).map(|(got, want)| (f64::from(*got) - want).abs());
    let error = match config.zeroth_order() {
        // A change is rounded, now and then to a neighbouring number.
        Some(_) => (errors.map(|error| error * error).sum::<f64>() / want.len() as f64).sqrt(),
        None => errors.fold(0.0_f64, f64::max),
    };
    if rms > 0.0 && error <= TOLERANCE * rms {
        return Ok(());
    }
    Err(Error::Gpu(format!(
        "{name}: {CHECKED_STEPS} steps differ from the reference by {:.1e}, nothing is timed",
        error / rms
    )))
}

/// One step on a weight, counted from 1.
type Step = dyn FnMut(&mut [f64], u32);

/// The reference step with this gradient or these losses.
fn reference(config: &OptimizerConfig, input: Vec<f64>) -> Box<Step> {
    let Recipe { rule, lr } = config.recipe(Role::Linear).clone();
    if let Some(hyper) = config.zeroth_order() {
        let gradient = projected_gradient(input[0], input[LOSSES[1]], hyper.eps);
        let directions = ReferenceDirections::new(&rule, &CHECKED, NAME, 0);
        return Box::new(move |w, step| directions.step(w, &directions.change(step, 0), gradient, lr, true));
    }
    let mut reference = ReferenceUpdate::new(&rule, &CHECKED, NAME, 0);
    Box::new(move |w, _| reference.step(w, &input, 1.0, lr, 1.0))
}

/// Seconds to copy a matrix.
async fn copy(gpu: &Gpu, shape: [usize; 2]) -> Result<f64> {
    let mut rec = Recorder::new(&gpu.profile);
    let [from, to] = ["from", "to"].map(|name| rec.persistent(Class::Scratch, DType::F32, name, &shape));
    rec.begin("update");
    materialize(&mut rec, &Scaled::new(&from), &to);
    let workspace = rec.allocate(gpu).await?;
    seconds(gpu, &workspace, Schedule::All).await
}

async fn time(gpu: &Gpu, name: &str, config: &OptimizerConfig, shape: [usize; 2], copy_secs: f64) -> Result<Value> {
    let recorded = Recorded::new(gpu, config, shape)?;
    let dispatches = recorded.rec.ordinary_dispatches("update");
    let named = dispatches.iter().flat_map(|(_, bindings)| *bindings);
    let reads = named.filter(|binding| **binding == recorded.input).count();
    let moved = recorded.rec.ordinary_infos("update").iter().map(DispatchInfo::bytes).sum::<u64>();
    let kernels = dispatches.len();
    let state = recorded.rec.memory().bytes(Class::OptimizerState);
    let copied = 2 * recorded.weight.bytes();
    // Dispatches that not every replay has are renewals: no optimizer of the catalog has a tolerance, which would gate
    // some too.
    let renews = recorded.rec.n_dispatches("update") > kernels;
    let step = recorded.numbers[1].clone();
    let (workspace, ..) = recorded.allocate(gpu).await?;
    // The first step finds a new basis, if the rule has one; an ordinary step does not.
    let renewal_secs = if renews { Some(seconds(gpu, &workspace, Schedule::All).await?) } else { None };
    workspace.write(gpu, &step, &[1.0f32.to_bits(), ORDINARY_STEP, 0, 0]);
    let secs = seconds(gpu, &workspace, Schedule::None).await?;
    Ok(json!({
        "renewal_secs": renewal_secs,
        "optimizer": name, "shape": shape, "kernels": kernels, "gradient_reads": reads,
        "optimizer_state_bytes": state, "bytes_moved": moved, "update_secs": secs,
        "copy_secs": copy_secs * moved as f64 / copied as f64,
    }))
}

/// Seconds per replay, many of them per submission.
async fn seconds(gpu: &Gpu, workspace: &Workspace, due: Schedule) -> Result<f64> {
    steady_secs(BUDGET_SECS, async |replays| workspace.time_replays(gpu, "update", due, replays).await).await
}

fn print_row(row: &Value) {
    let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
    let count = |key: &str| row[key].as_u64().unwrap_or_default();
    let size = |key: &str| bytes_in_words(count(key));
    out!(
        "{:<18}{:>8}{:>9}{:>12}{:>12}{:>12.3}{:>10.3}{:>13.2}{:>12}",
        row["optimizer"].as_str().unwrap_or_default(),
        count("kernels"),
        count("gradient_reads"),
        size("optimizer_state_bytes"),
        size("bytes_moved"),
        number("update_secs") * 1e3,
        number("copy_secs") * 1e3,
        number("update_secs") / number("copy_secs"),
        row["renewal_secs"].as_f64().map_or_else(String::new, |secs| format!("{:.1}", secs * 1e3))
    );
}
