//! A sampled gradient summarized in a few numbers, for a map of all matrices, and along one of its singular directions.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::samples::GradientSample;
use super::spectra::{narrow, walk};
use crate::config::Rule;
use crate::spectrum::{Balance, Quantities, Spectrum, singular_direction};

/// One matrix on a map of all matrices of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatrixSummary {
    /// After this step, counted from 1.
    pub step: u64,
    /// Hugging Face's name.
    pub parameter: String,
    /// [m, n].
    pub shape: [usize; 2],
    /// σ₂² of the gradient's balanced squares: the fraction of a small deviation that one round of row and column
    /// passes leaves, regardless of the optimizer; `None` if there is no limit.
    pub rate: Option<f64>,
    /// How heavy-tailed the gradient's balanced entries are ([`Balance::heaviness`]); `None` if there is no limit.
    pub heaviness: Option<f64>,
    /// How far the step's rows and columns are from equal lengths: the larger of [`Quantities::row_spread`] and
    /// [`Quantities::column_spread`].
    pub deviation: f64,
    /// Of the step; see [`effective_rank`](crate::spectrum::effective_rank).
    pub effective_rank: f64,
    /// Largest singular value of the step, scaled to a root mean square of 1; 0 for a zero matrix.
    pub operator_norm: f64,
    /// ‖ΔW‖_F over the learning rate of the linear layers, without weight decay; `None` if the sample does not
    /// determine it.
    pub length: Option<f64>,
}

impl MatrixSummary {
    /// For a sample whose rule's learning rate is `rate` times that of the linear layers.
    ///
    /// Computes one singular value decomposition of the step, and a [`Balance::of`] the gradient.
    pub fn of(sample: &GradientSample, rate: f64) -> Self {
        let GradientSample { step, parameter, shape, rule, gradient, .. } = sample;
        let x = narrow(&walk(sample, |_| ControlFlow::Continue(())));
        let last = Quantities::of(&x, *shape, None, gradient);
        let Spectrum { operator_norm, effective_rank, .. } = Spectrum::of(&x, *shape);
        let [m, n] = *shape;
        let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let length = match rule {
            Rule::Passes(program) => {
                let factor = program.passes.last().and_then(|last| program.scale_rule.factor(*last, m, n));
                let length = factor.map_or_else(|| norm(gradient), |factor| factor * norm(&x));
                Some(program.scale * length)
            }
            Rule::Adamw(_) | Rule::Lion(_) => Some(norm(&x)),
            _ => None,
        };
        let balance = Balance::of(gradient, *shape);
        Self {
            step: *step,
            parameter: parameter.clone(),
            shape: *shape,
            rate: balance.as_ref().map(|balance| balance.rate),
            heaviness: balance.map(|balance| balance.heaviness),
            deviation: last.row_spread().max(last.column_spread()),
            effective_rank,
            operator_norm: if last.frobenius > 0.0 { operator_norm / last.frobenius } else { 0.0 },
            length: length.map(|length| rate * length),
        }
    }
}

/// A singular value of a matrix with its two unit vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// The singular value.
    pub sigma: f64,
    /// The matrix times `right`, over σ: `[m]`, one number per row.
    pub left: Vec<f32>,
    /// `[n]`, one number per column; its entry of largest magnitude is positive.
    pub right: Vec<f32>,
}

impl Direction {
    /// Singular value `index` (0 is the largest) of a sample, `half_step` entries after the gradient in its
    /// [`SpectrumRecord`](super::SpectrumRecord); `None` if `index` is at least min(m, n).
    pub fn of(sample: &GradientSample, half_step: usize, index: usize) -> Option<Self> {
        let mut half_steps = 0..half_step;
        let x = walk(sample, |_| half_steps.next().map_or(ControlFlow::Break(()), |_| ControlFlow::Continue(())));
        let [m, n] = sample.shape;
        let (sigma, left, right) = singular_direction(&x, m, n, index)?;
        Some(Self { sigma, left: narrow(&left), right: narrow(&right) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OptimizerConfig;
    use crate::normalize::gaussian;
    use crate::train::Followed;

    const SHAPE: [usize; 2] = [9, 14];

    fn sample(optimizer: &str, n_states: usize) -> GradientSample {
        let [m, n] = SHAPE;
        let wave = |seed| gaussian(m * n, seed);
        let rule = OptimizerConfig::named(optimizer).unwrap().linear.rule;
        let states = (0..n_states).map(|state| wave(5 + state as u64).iter().map(|x| x.abs()).collect()).collect();
        GradientSample { step: 7, parameter: "w".into(), shape: SHAPE, rule, gradient: wave(1), clip: 1.0, states }
    }

    #[test]
    fn a_summary_tells_what_the_whole_path_tells() {
        let rms_step = |name, n_states| {
            let (sample, [m, n]) = (sample(name, n_states), SHAPE);
            let (tile, followed) = (MatrixSummary::of(&sample, 0.5), Followed::of(&sample));
            let last = &followed.record.passes.last().unwrap().quantities;
            let spectrum = last.spectrum.as_ref().unwrap();
            assert!((tile.operator_norm * last.frobenius - spectrum.operator_norm).abs() < 1e-12, "{name}");
            assert_eq!(tile.effective_rank, spectrum.effective_rank, "{name}");
            assert_eq!(tile.deviation, last.row_spread().max(last.column_spread()), "{name}");
            assert!(tile.rate.is_some_and(|rate| rate > 0.0 && rate < 1.0), "{name}");
            tile.length.map(|length| length / 0.5 / ((m * n) as f64).sqrt())
        };
        // SinkGD steps with a root mean square of α = 0.05, signs with 1.
        let alpha = match OptimizerConfig::named("sinkgd").unwrap().linear.rule {
            Rule::Passes(program) => program.scale,
            rule => panic!("{rule:?}"),
        };
        assert!((rms_step("sinkgd", 0).unwrap() - alpha).abs() < 1e-6);
        assert!((rms_step("signsgd", 0).unwrap() - 1.0).abs() < 1e-6);
        assert!((rms_step("lion", 1).unwrap() - 1.0).abs() < 1e-6);
        assert!(rms_step("adam", 2).is_some());
        assert_eq!(rms_step("galore", 0), None);
        let sinkgd = sample("sinkgd", 0);
        assert_eq!(
            MatrixSummary::of(&sinkgd, 1.0).rate,
            MatrixSummary::of(&sample("adam", 2), 1.0).rate,
            "of the gradient alone"
        );
        let five = Followed::of(&sinkgd).rate_predicted.unwrap();
        assert!((MatrixSummary::of(&sinkgd, 1.0).rate.unwrap() / five - 1.0).abs() < 1e-4, "both lead to one limit");
    }

    #[test]
    fn a_direction_is_a_singular_pair_of_the_matrix_at_that_pass() {
        let sample = sample("sinkgd", 0);
        let followed = Followed::of(&sample);
        for (half_step, entry) in followed.record.passes.iter().enumerate() {
            let values = &entry.quantities.spectrum.as_ref().unwrap().singular_values;
            for index in [0, 3, 8] {
                let Direction { sigma, left, right } = Direction::of(&sample, half_step, index).unwrap();
                assert!((sigma / values[index] - 1.0).abs() < 1e-5, "{half_step} {index}: {sigma}, {}", values[index]);
                assert_eq!((left.len(), right.len()), (SHAPE[0], SHAPE[1]));
                let norm = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
                assert!((norm(&left) - 1.0).abs() < 1e-5 && (norm(&right) - 1.0).abs() < 1e-5);
            }
        }
        assert_eq!(Direction::of(&sample, 2, 9), None);
        let Direction { sigma, left, right } = Direction::of(&sample, 0, 0).unwrap();
        for (row, left) in sample.gradient.chunks_exact(SHAPE[1]).zip(left) {
            let along: f32 = row.iter().zip(&right).map(|(x, v)| x * v).sum();
            assert!((f64::from(along) - sigma * f64::from(left)).abs() < 1e-5);
        }
    }

    #[test]
    fn a_direction_before_the_passes_is_of_all_rows() {
        let mut sample = sample("balanced-momentum", 1);
        let n = SHAPE[1];
        // One large row: the others are below the threshold.
        for x in [&mut sample.gradient, &mut sample.states[0]] {
            x[..n].iter_mut().for_each(|x| *x *= 1e5);
        }
        let followed = Followed::of(&sample);
        for half_step in [0, 1] {
            let values = &followed.record.passes[half_step].quantities.spectrum.as_ref().unwrap().singular_values;
            let sigma = Direction::of(&sample, half_step, 1).unwrap().sigma;
            assert!((sigma / values[1] - 1.0).abs() < 1e-4, "{half_step}: {sigma}, not {}", values[1]);
        }
    }
}
