//! `multinorm train --dry-run --fit`: the largest runs that fit in given memory sizes.

use multinorm::config::{ModelConfig, OptimizerConfig, PRESETS, Recompute, RunConfig, optimizer_names};
use multinorm::gpu::{Profile, bytes_in_words};
use multinorm::train::{Fit, LargestPreset, Presets, Search, SearchSpace};
use multinorm::{Error, Result};
use serde::Serialize;

use super::console::out;
use super::output::print_json;
use super::planned::Planned;

/// A memory size, as the user wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Size {
    words: String,
    bytes: u64,
}

impl Size {
    /// Parses the sizes passed to `--fit`.
    ///
    /// Errors: there are none, or one is not a size.
    pub fn parse_all(words: &[impl AsRef<str>]) -> Result<Vec<Self>> {
        if words.iter().all(|word| word.as_ref().trim().is_empty()) {
            let message =
                "WebGPU does not report how much memory an adapter has: give sizes, for example --fit 8GiB,24GiB";
            return Err(Error::config("--fit", message));
        }
        words.iter().map(|word| Self::parse(word.as_ref().trim())).collect()
    }

    fn parse(words: &str) -> Result<Self> {
        let refuse = |why: &str| {
            let message =
                format!("{why}, got `{words}`: write a number and its unit, for example 8GiB, 512MiB or 24GB");
            Error::config("--fit", message)
        };
        let end = words.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(words.len());
        let (number, unit) = words.split_at(end);
        let number: f64 = number.parse().map_err(|_| refuse("a size begins with a number"))?;
        let of_unit = |&&(name, _): &&(&str, f64)| name.eq_ignore_ascii_case(unit.trim());
        let Some((_, unit)) = UNITS.iter().find(of_unit) else {
            return Err(refuse("a size ends in MiB, GiB, TiB, MB, GB or TB"));
        };
        let bytes = number * unit;
        if !(1.0..=LARGEST).contains(&bytes) {
            return Err(refuse("a size is at least a byte and at most 1024 TiB"));
        }
        Ok(Self { words: words.to_owned(), bytes: bytes as u64 })
    }
}

const UNITS: [(&str, f64); 6] = [
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
];

/// Below it every whole number of bytes is an exact f64.
const LARGEST: f64 = 1024.0 * 1_099_511_627_776.0;

/// A GPU with the limits that most current ones have under Vulkan and Direct3D 12. Without an adapter the user wants a
/// table for large cards, and WebGPU's default limits would keep the micro-batches of the largest presets small.
pub fn assumed_profile() -> Profile {
    const LARGEST_BINDING: u64 = (1 << 31) - 4; // wgpu's limit where a driver allows more
    Profile {
        max_binding_bytes: LARGEST_BINDING,
        max_buffer_bytes: LARGEST_BINDING,
        f16: true,
        ..Profile::webgpu_default()
    }
}

/// One line of a table: the run that fits for one size and optimizer, or why none does.
#[derive(Serialize)]
struct Line {
    size: String,
    size_bytes: u64,
    optimizer: String,
    /// The run that fits, if any.
    run: Option<Run>,
    /// Larger presets, or the run's own model, that fit in memory but that the adapter refuses; and why.
    refused: Vec<(String, String)>,
    /// If nothing fits: the bytes of the smallest run.
    least_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Run {
    model: String,
    parameters: usize,
    micro_batch_size: usize,
    batch_size: usize,
    sequence_length: usize,
    eval_batch_size: usize,
    precision: &'static str,
    recompute: Recompute,
    fused_update: bool,
    bytes: u64,
}

#[derive(Serialize)]
struct Tables {
    adapter: String,
    parameters: usize,
    /// The largest preset for every size and optimizer.
    presets: Vec<Line>,
    /// The largest micro-batch of the run's own model.
    this_model: Vec<Line>,
}

/// Prints both tables: for the run's optimizer, SinkGD and AdamW.
pub fn print(planned: &Planned, config: &RunConfig, sizes: &[Size], json: bool) -> Result<()> {
    let precision = config.train.precision.on(&planned.profile)?;
    let profile_of = |config: &RunConfig| planned.profile_of(config);
    let own = name_of(&config.model);
    let mut tables = Tables {
        adapter: planned.name.clone(),
        parameters: config.model.n_parameters(),
        presets: Vec::new(),
        this_model: Vec::new(),
    };
    let mut searches = Vec::new();
    for (optimizer, config) in optimizers(config)? {
        let presets = Presets::new(&config, &profile_of);
        searches.push(Of { optimizer, presets, own: SearchSpace::new(config, &profile_of) });
    }
    for size in sizes {
        for of in &mut searches {
            let line = |run, refused, least_bytes| Line {
                size: size.words.clone(),
                size_bytes: size.bytes,
                optimizer: of.optimizer.clone(),
                run,
                refused,
                least_bytes,
            };
            let LargestPreset { refused, found } = of.presets.largest(size.bytes);
            let refused = refused.into_iter().map(|(preset, why)| (preset.to_owned(), why)).collect();
            let (run, least) = match found {
                Ok((preset, fit)) => (Some(Run::of(preset, &fit)), None),
                Err(least) => (None, least),
            };
            tables.presets.push(line(run, refused, least));
            let (run, refused, least) = match of.own.largest(size.bytes) {
                Search::Fits(fit) => (Some(Run::of(&own, &fit)), Vec::new(), None),
                Search::Least(least) => (None, Vec::new(), Some(least)),
                Search::Refused(why) => (None, vec![(own.clone(), why)], None),
            };
            tables.this_model.push(line(run, refused, least));
        }
    }
    if json {
        return print_json(&tables);
    }
    out!("adapter       {}", tables.adapter);
    out!("precision     {}", precision.name());
    out!("batch         {} sequences of {} tokens", config.train.batch_size, config.train.sequence_length);
    out!("\nthe largest preset, and its largest micro-batch, in so much memory\n{}", table(&tables.presets));
    out!(
        "\nthe model of this run ({own}, {} parameters), and its largest micro-batch\n{}",
        tables.parameters,
        table(&tables.this_model)
    );
    out!("\n{NOTES}");
    Ok(())
}

const NOTES: &str = "\
bytes are what a run with these settings allocates; what the driver takes for itself comes on top
recompute is the least that reaches the micro-batch; with it separate updates come before fused ones
fused updates keep no gradients to sum: their batch is one micro-batch
a preset has its own sizes; evaluation takes no more sequences at once than a micro-batch has";

/// The searches for one optimizer.
struct Of<'a> {
    optimizer: String,
    presets: Presets<'a>,
    own: SearchSpace<'a>,
}

/// The run with its own optimizer, with SinkGD and with AdamW, each once, with their names.
fn optimizers(config: &RunConfig) -> Result<Vec<(String, RunConfig)>> {
    let mut own = AS_SET;
    for name in optimizer_names() {
        if OptimizerConfig::named(name)? == config.optimizer {
            own = name;
        }
    }
    let mut configs = vec![(own.to_owned(), config.clone())];
    for name in ["sinkgd", "adamw"] {
        if name != own {
            configs.push((name.to_owned(), config.clone().with_optimizer(OptimizerConfig::named(name)?)));
        }
    }
    Ok(configs)
}

/// The name of a custom optimizer or model.
const AS_SET: &str = "as set";

/// The name of the preset that equals this model, if any.
fn name_of(model: &ModelConfig) -> String {
    let is = |preset: &&&str| ModelConfig::preset(preset).is_ok_and(|other| other == *model);
    PRESETS.iter().find(is).map_or(AS_SET, |preset| preset).to_owned()
}

impl Run {
    fn of(model: &str, fit: &Fit) -> Self {
        let train = &fit.config.train;
        Self {
            model: model.into(),
            parameters: fit.config.model.n_parameters(),
            micro_batch_size: train.micro_batch_size,
            batch_size: train.batch_size,
            sequence_length: train.sequence_length,
            eval_batch_size: fit.config.eval.batch_size,
            precision: fit.precision.name(),
            recompute: fit.recompute,
            fused_update: train.fused_update,
            bytes: fit.memory.total(),
        }
    }

    fn cells(&self, line: &Line) -> [String; 10] {
        [
            line.size.clone(),
            line.optimizer.clone(),
            self.model.clone(),
            self.parameters.to_string(),
            format!("{} × {}", self.micro_batch_size, self.sequence_length),
            self.batch_size.to_string(),
            self.recompute.name().to_owned(),
            if self.fused_update { "fused" } else { "separate" }.to_owned(),
            bytes_in_words(self.bytes),
            self.bytes.to_string(),
        ]
    }
}

/// Columns as wide as their contents; numbers right-aligned.
fn table(lines: &[Line]) -> String {
    const HEAD: [&str; 10] =
        ["size", "optimizer", "model", "parameters", "micro-batch", "batch", "recompute", "updates", "memory", "bytes"];
    const TO_THE_RIGHT: [usize; 5] = [3, 4, 5, 8, 9];
    let cells: Vec<_> = lines.iter().map(|line| line.run.as_ref().map(|run| run.cells(line))).collect();
    let mut widths = HEAD.map(str::len);
    for row in cells.iter().flatten() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for line in lines {
        widths[0] = widths[0].max(line.size.chars().count());
        widths[1] = widths[1].max(line.optimizer.len());
    }
    let text_of = |row: &[String]| {
        let padded = row.iter().enumerate().map(|(at, cell)| {
            let width = widths[at];
            if TO_THE_RIGHT.contains(&at) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut rows = vec![text_of(&HEAD.map(str::to_owned))];
    for (line, cells) in lines.iter().zip(cells) {
        let begin = text_of(&[line.size.clone(), line.optimizer.clone()]);
        let width = widths[0] + 2 + widths[1];
        for (model, why) in &line.refused {
            rows.push(format!("{begin:<width$}  {model}: {why}"));
        }
        match (cells, line.least_bytes) {
            (Some(cells), _) => rows.push(text_of(&cells)),
            (None, Some(least)) => {
                rows.push(format!("{begin:<width$}  nothing fits: the smallest run takes {}", bytes_in_words(least)));
            }
            (None, None) => {}
        }
    }
    rows.join("\n")
}
