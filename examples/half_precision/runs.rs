//! Runs, what their losses show about half precision, and how that is printed and plotted.

use std::sync::Arc;
use std::time::Duration;

use multinorm::config::{Precision, RunConfig};
use multinorm::data::dataset::Dataset;
use multinorm::gpu::Gpu;
use multinorm::plot::{Axis, Ink, Panel, Scale, Series, lines, standalone};
use multinorm::train::{StepReport, Trainer};
use multinorm::{Error, Result};
use serde::Serialize;
use web_time::Instant;

/// One run.
#[derive(Serialize)]
pub struct Run {
    pub seed: u64,
    pub precision: Precision,
    pub validation: Vec<Evaluated>,
    /// Mean loss of every step's batch, nats per token.
    pub training_loss: Vec<f32>,
    pub skipped_steps: u64,
    /// After the last step.
    pub loss_scale: Option<f64>,
    pub secs: f64,
    /// Why it ended before its last step, if it did.
    pub halted: Option<String>,
}

/// Validation loss after a step, nats per token.
#[derive(Clone, Copy, Serialize)]
pub struct Evaluated {
    pub step: u64,
    pub loss: f64,
}

/// The validation losses of all seeds at one evaluation; a range goes from the lowest to the highest of them.
#[derive(Serialize)]
pub struct Comparison {
    pub step: u64,
    pub seeds: usize,
    pub f32_range: [f64; 2],
    pub f16_range: [f64; 2],
    pub f32_mean: f64,
    pub f16_mean: f64,
    /// Whether the range of f16 lies within that of f32.
    pub f16_within_f32: bool,
    /// The most by which it extends beyond that range; 0 if it does not.
    pub f16_outside_by: f64,
    /// Largest absolute difference between the two runs of one seed.
    pub largest_difference_of_a_seed: f64,
}

/// One run from its first step, and its final weights. If its numbers stop being finite, the run ends there and records why.
pub async fn train(
    gpu: &Arc<Gpu>,
    config: &RunConfig,
    dataset: &Arc<Dataset>,
    steps: u64,
) -> Result<(Run, Vec<Vec<f32>>)> {
    let began = Instant::now();
    let (seed, precision) = (config.train.seed, config.train.precision);
    let mut run = Run {
        seed,
        precision,
        validation: Vec::new(),
        training_loss: Vec::new(),
        skipped_steps: 0,
        loss_scale: None,
        secs: 0.0,
        halted: None,
    };
    let mut trainer = Trainer::new(gpu.clone(), config.clone(), dataset.clone()).await?;
    match run.go(&mut trainer, steps).await {
        Err(Error::NonFinite(why)) => run.halted = Some(why),
        ended => ended?,
    }
    run.secs = began.elapsed().as_secs_f64();
    Ok((run, trainer.snapshot().await?.parameters))
}

impl Run {
    async fn go(&mut self, trainer: &mut Trainer, steps: u64) -> Result<()> {
        /// Seconds between two lines of progress.
        const LINE: Duration = Duration::from_secs(5);
        let every = trainer.config().eval.every;
        let mut last_line = Instant::now();
        while trainer.step_number() < steps {
            let reports = trainer.step().await?;
            self.note(&reports);
            let step = trainer.step_number();
            if step == steps || (every > 0 && step.is_multiple_of(every)) {
                let reports = trainer.drain().await?;
                self.note(&reports);
                trainer.check()?;
                let loss = trainer.evaluate().await?.loss;
                self.validation.push(Evaluated { step, loss });
                eprintln!("{} step {step}/{steps}: validation loss {loss:.4}", self.name());
                last_line = Instant::now();
            } else if let Some(loss) = self.training_loss.last()
                && last_line.elapsed() > LINE
            {
                eprintln!("{} step {step}/{steps}: training loss {loss:.4}", self.name());
                last_line = Instant::now();
            }
        }
        Ok(())
    }

    fn note(&mut self, reports: &[StepReport]) {
        self.training_loss.extend(reports.iter().map(|report| report.loss as f32));
        if let Some(last) = reports.last() {
            (self.loss_scale, self.skipped_steps) = (last.loss_scale, last.skipped_steps.unwrap_or(0));
        }
    }

    fn name(&self) -> String {
        format!("seed {} {}", self.seed, self.precision.name())
    }

    fn loss_at(&self, step: u64) -> Option<f64> {
        self.validation.iter().find(|evaluated| evaluated.step == step).map(|evaluated| evaluated.loss)
    }
}

/// At every evaluation, compares the seeds that were evaluated there in both precisions, if there are at least two.
pub fn compare(runs: &[Run]) -> Vec<Comparison> {
    let of = |precision: Precision| runs.iter().filter(move |run| run.precision == precision);
    let Some(longest) = of(Precision::F32).max_by_key(|run| run.validation.len()) else { return Vec::new() };
    let at = |step: u64| {
        let pairs: Vec<[f64; 2]> = of(Precision::F32)
            .filter_map(|single| {
                let half = of(Precision::F16).find(|half| half.seed == single.seed)?;
                Some([single.loss_at(step)?, half.loss_at(step)?])
            })
            .collect();
        let losses = |of: usize| pairs.iter().map(move |pair| pair[of]);
        let range =
            |of: usize| [losses(of).fold(f64::INFINITY, f64::min), losses(of).fold(f64::NEG_INFINITY, f64::max)];
        let mean = |of: usize| losses(of).sum::<f64>() / pairs.len() as f64;
        let [f32_range, f16_range] = [range(0), range(1)];
        let f16_outside_by = (f32_range[0] - f16_range[0]).max(f16_range[1] - f32_range[1]).max(0.0);
        (pairs.len() > 1).then(|| Comparison {
            step,
            seeds: pairs.len(),
            f32_range,
            f16_range,
            f32_mean: mean(0),
            f16_mean: mean(1),
            f16_within_f32: f16_outside_by == 0.0,
            f16_outside_by,
            largest_difference_of_a_seed: pairs.iter().map(|[a, b]| (a - b).abs()).fold(0.0, f64::max),
        })
    };
    longest.validation.iter().filter_map(|evaluated| at(evaluated.step)).collect()
}

impl Comparison {
    fn f32_spread(&self) -> f64 {
        self.f32_range[1] - self.f32_range[0]
    }

    fn mean_within(&self) -> bool {
        (self.f32_range[0]..=self.f32_range[1]).contains(&self.f16_mean)
    }
}

/// Validation losses, and their differences from the mean of the f32 runs.
pub fn curves(runs: &[Run]) -> String {
    let precisions = [(Ink(0), Precision::F32), (Ink(1), Precision::F16)];
    let of = |precision: Precision| runs.iter().filter(move |run| run.precision == precision);
    let mean = |step: u64| {
        let losses: Vec<f64> = of(Precision::F32).filter_map(|run| run.loss_at(step)).collect();
        losses.iter().sum::<f64>() / losses.len() as f64
    };
    let panel = |title: &str, height: &dyn Fn(&Evaluated) -> f64| {
        let series: Vec<Series> = precisions
            .into_iter()
            .flat_map(|(ink, precision)| of(precision).map(move |run| (ink, run)))
            .map(|(ink, run)| {
                let points = run.validation.iter().map(|at| (at.step as f64, height(at)));
                let points = points.filter(|point| point.1.is_finite()).collect();
                Series { ink, points, marked: run.precision == Precision::F32 }
            })
            .collect();
        let axis = Axis { x: "steps".into(), y: "nats a token".into(), scale: Scale::Linear };
        let seeds = |precision| match of(precision).count() {
            1 => "1 seed".into(),
            count => format!("{count} seeds"),
        };
        let legend = precisions.map(|(ink, precision)| (ink, format!("{}, {}", precision.name(), seeds(precision))));
        Panel { title: title.into(), svg: lines(&axis, &series, None, 2), legend: legend.into() }
    };
    let losses = panel("Validation loss in f32 and in f16", &|at| at.loss);
    let from_mean = panel("Validation loss less the mean of f32", &|at| at.loss - mean(at.step));
    standalone("Validation loss in f32 and in f16", &[losses, from_mean])
}

/// One line per run, with its loss at some of the evaluations.
pub fn table(runs: &[Run], steps: u64) -> String {
    /// Evaluations that fit on a line.
    const MOST: usize = 6;
    let longest = runs.iter().max_by_key(|run| run.validation.len());
    let evaluated = longest.map_or(&[][..], |run| &run.validation);
    let stride = evaluated.len().div_ceil(MOST).max(1);
    let mut columns: Vec<u64> = evaluated.iter().rev().step_by(stride).map(|at| at.step).collect();
    columns.reverse();
    let cells: String = columns.iter().map(|step| format!("{step:>9}")).collect();
    let mut table = format!("Validation loss after some of {steps} steps, nats a token\n");
    table += &format!("{:>4}  {:<9}{cells}{:>9}{:>9}\n", "seed", "precision", "skipped", "secs");
    for run in runs {
        let cell = |step: &u64| run.loss_at(*step).map_or(format!("{:>9}", "-"), |loss| format!("{loss:>9.4}"));
        let cells: String = columns.iter().map(cell).collect();
        let Run { seed, precision, skipped_steps, secs, halted, .. } = run;
        table += &format!("{seed:>4}  {:<9}{cells}{skipped_steps:>9}{secs:>9.1}\n", precision.name());
        if let Some(why) = halted {
            table += &format!("      halted: {why}\n");
        }
    }
    table
}

/// The ranges at each evaluation, and whether the f16 range lies within the f32 range.
pub fn comparison_in_words(comparison: &[Comparison]) -> String {
    let mut words =
        "At each evaluation: lowest and highest loss of the seeds, and how far the two runs of one are apart\n"
            .to_owned();
    let heads = ["step", "f32", "spread", "f16", "f16 within", "one seed"];
    let [step, single, spread, half, within, one] = heads;
    words += &format!("{step:>6}  {single:>17}  {spread:>8}  {half:>17}  {within:>10}  {one:>10}\n");
    let range = |[low, high]: [f64; 2]| format!("{low:.4} to {high:.4}");
    for at in comparison {
        let within = if at.f16_within_f32 { "yes".into() } else { format!("+{:.5}", at.f16_outside_by) };
        words += &format!(
            "{:>6}  {:>17}  {:>8.5}  {:>17}  {within:>10}  {:>10.5}\n",
            at.step,
            range(at.f32_range),
            at.f32_spread(),
            range(at.f16_range),
            at.largest_difference_of_a_seed,
        );
    }
    let all = comparison.len();
    let count = |holds: fn(&Comparison) -> bool| comparison.iter().filter(|at| holds(at)).count();
    // Of 2K numbers in random order, the first and the last are among K of them with this probability.
    let seeds = comparison.iter().map(|at| at.seeds).max().unwrap_or(0) as f64;
    let by_chance = 100.0 * (seeds - 1.0) / (2.0 * (2.0 * seeds - 1.0));
    words += &format!(
        "The spread is that from the lowest to the highest run in f32. Of {all} evaluations, the mean of the runs in f16 lies \
         within it at {}, and all runs in f16 at {} (at {by_chance:.0} % by chance, if they were but other seeds in f32); the two \
         runs of a seed differ by less than it at {}.\n",
        count(Comparison::mean_within),
        count(|at| at.f16_within_f32),
        count(|at| at.largest_difference_of_a_seed < at.f32_spread())
    );
    let mut most = |what: &str, of: fn(&Comparison) -> f64| {
        let share = |at: &Comparison| of(at) / at.f32_spread();
        if let Some(at) = comparison.iter().max_by(|a, b| share(a).total_cmp(&share(b))) {
            let (percent, nats, step) = (100.0 * share(at), of(at), at.step);
            words += &format!("{what} by at most {percent:.1} % of the spread: by {nats:.5} nats at step {step}.\n");
        }
    };
    most("A run in f16 lies outside", |at| at.f16_outside_by);
    most("The two runs of a seed differ", |at| at.largest_difference_of_a_seed);
    words
}
