//! The gradients of all parameters in f32 and in f16, at the same weights on the same batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use multinorm::Result;
use multinorm::config::{Precision, RunConfig};
use multinorm::data::dataset::Dataset;
use multinorm::gpu::Gpu;
use multinorm::plot::{Bins, Bound, Ink, Panel, histogram, standalone};
use multinorm::train::Trainer;
use serde::Serialize;

/// The gradients of all parameters on one batch, at the weights that a run in f16 ended with.
#[derive(Serialize)]
pub struct GradientsAtOneStep {
    pub seed: u64,
    /// The weights are those after this many steps, and the batch is the next one.
    pub after_step: u64,
    pub variants: Vec<Exponents>,
    /// For the f16 variants, compared with f32.
    pub flushed: Vec<Flushed>,
}

/// How many elements of all gradients have each binary exponent: e where 2^e <= |g| < 2^(e+1).
#[derive(Serialize)]
pub struct Exponents {
    pub precision: Precision,
    pub loss_scale: Option<f64>,
    pub zeros: u64,
    pub elements_by_exponent: BTreeMap<i32, u64>,
}

/// Elements that are zero in f16 but not in f32.
#[derive(Serialize)]
pub struct Flushed {
    pub loss_scale: f64,
    pub elements: u64,
    /// Not zero in f32.
    pub nonzero: u64,
    pub flushed: u64,
    /// Those of them that are larger in f32 than [`LARGE`] times the norm of their parameter's gradient.
    pub flushed_large: u64,
    /// The largest of them in f32, over the norm of its parameter's gradient.
    pub largest: f64,
    /// Parameters with such elements, the largest element first.
    pub parameters: Vec<FlushedOfParameter>,
}

#[derive(Serialize)]
pub struct FlushedOfParameter {
    pub parameter: String,
    pub elements: u64,
    pub flushed: u64,
    pub flushed_large: u64,
    pub largest: f64,
}

/// No element above this fraction of the norm of its parameter's gradient may be lost.
const LARGE: f64 = 1e-3;

/// Exponents of the smallest numbers of f16: with all 11 bits, and with one.
const SMALLEST_OF_F16: [(&str, f64); 2] = [("normal", -14.0), ("subnormal", -24.0)];

/// Gradients in f32, in f16 under the loss scale that the run ended with, and in f16 without one.
pub async fn gradients_at(
    gpu: &Arc<Gpu>,
    config: &RunConfig,
    dataset: &Arc<Dataset>,
    weights: &[Vec<f32>],
    after_step: u64,
    loss_scale: f64,
) -> Result<GradientsAtOneStep> {
    eprintln!("gradients after step {after_step}, in f32 and in f16");
    let mut config = config.clone();
    config.train.fused_update = false;
    config.train.precision = Precision::F32;
    let at = At { gpu, dataset, weights, after_step };
    let single = at.gradients(config.clone()).await?.expect("nothing is skipped in f32");
    let mut variants = vec![exponents(Precision::F32, None, &single)];
    let mut flushed = Vec::new();
    config.train.precision = Precision::F16;
    for first_scale in [loss_scale, 1.0] {
        config.train.loss_scale = first_scale;
        let half = loop {
            match at.gradients(config.clone()).await? {
                Some(gradients) => break gradients,
                None => config.train.loss_scale /= 2.0, // as training does
            }
        };
        variants.push(exponents(Precision::F16, Some(config.train.loss_scale), &half));
        flushed.push(compare_gradients(config.train.loss_scale, &single, &half));
    }
    Ok(GradientsAtOneStep { seed: config.train.seed, after_step, variants, flushed })
}

/// Where gradients are computed.
struct At<'a> {
    gpu: &'a Arc<Gpu>,
    dataset: &'a Arc<Dataset>,
    weights: &'a [Vec<f32>],
    after_step: u64,
}

/// A parameter's name and its gradient.
type Gradients = Vec<(String, Vec<f32>)>;

impl At<'_> {
    /// All parameters' gradients on the batch after the step; none if one overflows under the loss scale.
    async fn gradients(&self, config: RunConfig) -> Result<Option<Gradients>> {
        let mut trainer = Trainer::new(self.gpu.clone(), config, self.dataset.clone()).await?;
        let mut start = trainer.snapshot().await?;
        (start.step, start.parameters) = (self.after_step, self.weights.to_vec());
        trainer.restore(&start)?;
        let mut reports = trainer.step().await?;
        reports.extend(trainer.drain().await?);
        trainer.check()?;
        if reports.iter().any(|report| report.skipped) {
            return Ok(None);
        }
        let mut gradients = Vec::new();
        for spec in trainer.config().model.parameters() {
            let gradient = trainer.gradient(&spec.name).await?;
            gradients.push((spec.name, gradient));
        }
        Ok(Some(gradients))
    }
}

fn exponents(precision: Precision, loss_scale: Option<f64>, gradients: &Gradients) -> Exponents {
    let mut exponents = Exponents { precision, loss_scale, zeros: 0, elements_by_exponent: BTreeMap::new() };
    for &element in gradients.iter().flat_map(|(_, gradient)| gradient) {
        if element == 0.0 {
            exponents.zeros += 1;
        } else {
            // Every f32 is a normal f64.
            let exponent = (f64::from(element).to_bits() >> 52 & 0x7ff) as i32 - 1023;
            *exponents.elements_by_exponent.entry(exponent).or_default() += 1;
        }
    }
    exponents
}

fn compare_gradients(loss_scale: f64, single: &Gradients, half: &Gradients) -> Flushed {
    let mut all =
        Flushed { loss_scale, elements: 0, nonzero: 0, flushed: 0, flushed_large: 0, largest: 0.0, parameters: vec![] };
    for ((parameter, single), (_, half)) in single.iter().zip(half) {
        let norm = single.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let flushed: Vec<f64> = single
            .iter()
            .zip(half)
            .filter(|&(&single, &half)| single != 0.0 && half == 0.0)
            .map(|(&single, _)| f64::from(single).abs() / norm)
            .collect();
        let of_parameter = FlushedOfParameter {
            parameter: parameter.clone(),
            elements: single.len() as u64,
            flushed: flushed.len() as u64,
            flushed_large: flushed.iter().filter(|&&size| size > LARGE).count() as u64,
            largest: flushed.iter().copied().fold(0.0, f64::max),
        };
        all.elements += of_parameter.elements;
        all.nonzero += single.iter().filter(|&&g| g != 0.0).count() as u64;
        all.flushed += of_parameter.flushed;
        all.flushed_large += of_parameter.flushed_large;
        all.largest = all.largest.max(of_parameter.largest);
        if of_parameter.flushed > 0 {
            all.parameters.push(of_parameter);
        }
    }
    all.parameters.sort_by(|a, b| b.largest.total_cmp(&a.largest));
    all
}

impl GradientsAtOneStep {
    /// The elements that became zero in f16.
    pub fn in_words(&self) -> String {
        let of = |of: &Flushed| {
            let (step, scale) = (self.after_step, power_of_two(of.loss_scale));
            let Flushed { nonzero, flushed, flushed_large, largest, .. } = of;
            let mut words = format!(
                "Gradients after step {step}, loss scale {scale}: of {nonzero} elements that are not zero in f32 {flushed} are \
                 zero in f16."
            );
            if *flushed > 0 {
                words += &format!(
                    " The largest of these is {largest:.1e} of the norm of its parameter's gradient in f32; {flushed_large} are \
                     above {LARGE:.0e}."
                );
            }
            words + "\n"
        };
        self.flushed.iter().map(of).collect()
    }

    /// A histogram of exponents, with the exponents at which the range of half precision ends.
    pub fn picture(&self) -> String {
        let (mut series, mut bounds, mut legend) = (Vec::new(), Vec::new(), Vec::new());
        for (at, variant) in self.variants.iter().enumerate() {
            let ink = Ink(at);
            series.push(Bins { ink, counts: variant.elements_by_exponent.clone() });
            let scale = variant.loss_scale.map_or(String::new(), |scale| format!(", scale {}", power_of_two(scale)));
            legend.push((ink, format!("{}{scale}: {} zeros", variant.precision.name(), variant.zeros)));
        }
        for scale in self.variants.iter().filter_map(|variant| variant.loss_scale) {
            for (name, exponent) in SMALLEST_OF_F16 {
                let ink = Ink(legend.len());
                bounds.push(Bound { ink, at: exponent - scale.log2() });
                legend.push((ink, format!("smallest {name}, scale {}", power_of_two(scale))));
            }
        }
        let words = ["exponent e of an element: 2^e ≤ |g| < 2^(e+1)", "elements"];
        let title = format!("Gradients of all parameters by size, after step {}", self.after_step);
        let panel = Panel { title: title.clone(), svg: histogram(words, &series, &bounds, legend.len()), legend };
        standalone(&title, &[panel])
    }
}

fn power_of_two(scale: f64) -> String {
    if scale == 1.0 { "1".into() } else { format!("2^{}", scale.log2()) }
}
