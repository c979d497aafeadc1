//! The data that `multinorm normalize` prints and the web panel draws.

use serde::{Deserialize, Serialize};

use super::{HalfSteps, Matrix};
use crate::Result;
use crate::config::Pass;
use crate::gpu::Gpu;
use crate::spectrum::{Quantities, Spectrum, observed_rate, predicted_rate, rms};

/// What to run, and what to report.
#[derive(Clone, Debug)]
pub struct Options {
    /// The passes of one iteration, in order; not empty.
    pub passes: Vec<Pass>,
    /// Number of iterations; with a tolerance, the maximum.
    pub iterations: u32,
    /// Stop after the first iteration, from the second on, whose root-mean-square change of X is at most this; 0 runs
    /// them all. As in training.
    pub tolerance: f64,
    /// Whether to report the singular values of every half-step.
    pub spectrum: bool,
}

/// The JSON document of `multinorm normalize`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [m, n].
    pub shape: [usize; 2],
    /// The gradient itself, then every half-step.
    pub passes: Vec<Entry>,
    /// See [`predicted_rate`]: for the final X, per iteration.
    pub rate_predicted: Option<f64>,
    /// See [`observed_rate`].
    pub rate_observed: Option<f64>,
}

/// One half-step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// `gradient`, or the pass as written on the command line.
    pub pass: String,
    /// 0 for the gradient, then counted from 1.
    pub iteration: u32,
    /// Quantities of X after it.
    #[serde(flatten)]
    pub quantities: Quantities,
}

/// Runs the passes over `matrix` and passes every entry to `each` as it arrives, the gradient's first, with its X `[m,
/// n]`.
///
/// Errors: see [`HalfSteps::new`]; also a device failure.
pub async fn normalize(
    gpu: &Gpu,
    matrix: &Matrix,
    options: &Options,
    mut each: impl FnMut(&Entry, &[f32]),
) -> Result<Report> {
    let (gradient, shape) = (matrix.values(), matrix.shape());
    let measured = |pass: String, iteration: u32, x: &[f32], previous: Option<&[f32]>| {
        let mut quantities = Quantities::of(x, shape, previous, gradient);
        quantities.spectrum = options.spectrum.then(|| Spectrum::of(x, shape));
        Entry { pass, iteration, quantities }
    };
    let mut half_steps = HalfSteps::new(gpu, matrix, &options.passes, options.iterations).await?;
    let mut entries = vec![measured("gradient".into(), 0, gradient, None)];
    let mut ends = Vec::new();
    each(&entries[0], gradient);
    let (mut x, mut last_end) = (gradient.to_vec(), Vec::new());
    while let Some(step) = half_steps.advance().await? {
        let before = std::mem::replace(&mut x, step.x);
        let entry = measured(step.pass.to_string(), step.iteration, &x, Some(&before));
        each(&entry, &x);
        entries.push(entry);
        if step.ends_iteration {
            ends.push(entries.len() - 1);
            let change: Vec<f32> = x.iter().zip(&last_end).map(|(x, before)| x - before).collect();
            if !change.is_empty() && rms(&change) <= options.tolerance && options.tolerance > 0.0 {
                break;
            }
            last_end.clone_from(&x);
        }
    }
    let ends: Vec<&Quantities> = ends.into_iter().map(|at| &entries[at].quantities).collect();
    let rate_observed = observed_rate(&ends, &options.passes);
    let rate_predicted = predicted_rate(&x, shape, &options.passes);
    Ok(Report { shape, passes: entries, rate_predicted, rate_observed })
}
