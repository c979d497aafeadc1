//! What becomes of a sampled gradient in its optimizer's passes, singular value by singular value.
//!
//! The passes are repeated on the CPU in f64, from the gradient and the state that the device had; the kernels' tests
//! hold the device to the same. So a run waits for nothing but the copy of what is sampled.

use serde::{Deserialize, Serialize};

use super::samples::GradientSample;
use crate::config::{MomentumPlacement, Pass, PassProgram, Rule};
use crate::normalize::Entry;
use crate::optim::{reference_pass, sequence};
use crate::reference::passes::drop_rows;
use crate::spectrum::{Quantities, Spectrum, map_singular_values};

/// One line of a run's spectra.jsonl.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpectrumRecord {
    /// After this step, counted from 1.
    pub step: u64,
    /// Hugging Face's name.
    pub parameter: String,
    /// [m, n].
    pub shape: [usize; 2],
    /// The gradient, then every pass; a momentum is a step of its own, and so is a rule that is no list of passes.
    pub passes: Vec<Entry>,
}

impl SpectrumRecord {
    /// Follows a sample through its rule. Takes one singular value decomposition a pass: O(m·n·min(m, n)) each.
    pub fn of(sample: &GradientSample) -> Self {
        let mut path = Path::new(sample);
        match &sample.rule {
            Rule::Passes(program) => path.follow(program, sample),
            Rule::Adamw(hyper) => {
                // The bias corrections are those of the step just made.
                let correction = |beta: f64| 1.0 - beta.powf(sample.step as f64);
                let [c1, c2] = [hyper.beta1, hyper.beta2].map(correction);
                let [m, v] = [0, 1].map(|which| &sample.states[which]);
                let update = |(m, v): (&f32, &f32)| f64::from(*m) / c1 / ((f64::from(*v) / c2).sqrt() + hyper.eps);
                path.step("adamw", 1, m.iter().zip(v).map(update).collect());
            }
            Rule::Lion(hyper) => {
                let clip = f64::from(sample.clip);
                // m before the step, from m ← β₂m + (1 − β₂)g.
                let before = |(m, g): (&f32, &f32)| {
                    let g = clip * f64::from(*g);
                    let m = (f64::from(*m) - (1.0 - hyper.beta2) * g) / hyper.beta2;
                    let mixed = hyper.beta1 * m + (1.0 - hyper.beta1) * g;
                    if mixed == 0.0 { 0.0 } else { mixed.signum() }
                };
                path.step("lion", 1, sample.states[0].iter().zip(&sample.gradient).map(before).collect());
            }
            Rule::Sgd(hyper) => {
                if let Some(buffer) = sample.states.first() {
                    let clip = f64::from(sample.clip);
                    let ahead = |(b, g): (&f32, &f32)| match hyper.nesterov {
                        true => clip * f64::from(*g) + hyper.momentum * f64::from(*b),
                        false => f64::from(*b),
                    };
                    path.step("momentum", 1, buffer.iter().zip(&sample.gradient).map(ahead).collect());
                }
            }
        }
        let GradientSample { step, parameter, shape, .. } = sample;
        Self { step: *step, parameter: parameter.clone(), shape: *shape, passes: path.entries }
    }
}

/// A matrix on its way, and what was told of it.
struct Path<'a> {
    shape: [usize; 2],
    gradient: &'a [f32],
    x: Vec<f64>,
    narrow: Vec<f32>,
    entries: Vec<Entry>,
}

impl<'a> Path<'a> {
    fn new(sample: &'a GradientSample) -> Self {
        let x = sample.gradient.iter().map(|&g| g.into()).collect();
        let (shape, gradient) = (sample.shape, &sample.gradient[..]);
        let mut path = Self { shape, gradient, x, narrow: sample.gradient.clone(), entries: Vec::new() };
        path.tell("gradient", 0, None);
        path
    }

    fn step(&mut self, name: &str, iteration: u32, x: Vec<f64>) {
        let narrow = x.iter().map(|&x| x as f32).collect();
        let before = std::mem::replace(&mut self.narrow, narrow);
        self.x = x;
        self.tell(name, iteration, Some(&before));
    }

    fn tell(&mut self, name: &str, iteration: u32, before: Option<&[f32]>) {
        let mut quantities = Quantities::of(&self.narrow, self.shape, before, self.gradient);
        quantities.spectrum = Some(Spectrum::of(&self.narrow, self.shape));
        self.entries.push(Entry { pass: name.to_owned(), iteration, quantities });
    }

    fn follow(&mut self, program: &PassProgram, sample: &GradientSample) {
        let momentum = sample.states.first().map(|buffer| (buffer, program.momentum_placement));
        if let Some((buffer, MomentumPlacement::Before)) = momentum {
            let rest = (1.0 - program.momentum) * f64::from(sample.clip);
            let ahead = |(m, g): (&f32, &f32)| match program.nesterov {
                true => program.momentum * f64::from(*m) + rest * f64::from(*g),
                false => f64::from(*m),
            };
            self.step("momentum", 0, buffer.iter().zip(&sample.gradient).map(ahead).collect());
        }
        let [m, n] = self.shape;
        if program.row_threshold > 0.0 {
            self.x = drop_rows(&self.x, m, n, program.row_threshold);
        }
        for iteration in 1..=program.iterations {
            let before = self.x.clone();
            for pass in &program.passes {
                let x = self.after(*pass);
                self.step(&pass.to_string(), iteration, x);
            }
            if iteration > 1 && program.tolerance > 0.0 && change(&self.x, &before) <= program.tolerance {
                break;
            }
        }
        if let Some((buffer, MomentumPlacement::After)) = momentum {
            let ahead = |(m, x): (&f32, &f64)| match program.nesterov {
                true => program.momentum * f64::from(*m) + (1.0 - program.momentum) * x,
                false => f64::from(*m),
            };
            let averaged = buffer.iter().zip(&self.x).map(ahead).collect();
            self.step("momentum", program.iterations, averaged);
        }
    }

    fn after(&self, pass: Pass) -> Vec<f64> {
        let Pass::Spectral(kind) = pass else { return reference_pass(pass, &self.x, self.shape) };
        // Newton–Schulz moves every singular value by a polynomial: a decomposition and one product give the same.
        let [m, n] = self.shape;
        let (steps, norm) = (kind.steps as usize, self.x.iter().map(|x| x * x).sum::<f64>().sqrt());
        if norm == 0.0 {
            return self.x.clone();
        }
        let target = (m.max(n) as f64).sqrt();
        map_singular_values(&self.x, m, n, |sigma| target * sequence(kind.variant).of_value(sigma / norm, steps))
    }
}

fn change(x: &[f64], before: &[f64]) -> f64 {
    (x.iter().zip(before).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / x.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OptimizerConfig;

    fn sample(rule: &Rule, n_states: usize) -> GradientSample {
        let shape @ [m, n] = [5, 8];
        let wave = |seed: f32| (0..m * n).map(|i| (i as f32 * seed).sin() + 0.1).collect::<Vec<f32>>();
        let states = (0..n_states).map(|state| wave(0.7 + state as f32).iter().map(|x| x.abs()).collect()).collect();
        let (gradient, rule) = (wave(1.3), rule.clone());
        GradientSample { step: 3, parameter: "w".into(), shape, rule, gradient, clip: 0.5, states }
    }

    fn passes(record: &SpectrumRecord) -> Vec<&str> {
        record.passes.iter().map(|entry| entry.pass.as_str()).collect()
    }

    #[test]
    fn every_rule_has_its_path() {
        let cases = [
            ("sgd", 0, vec!["gradient"]),
            ("adamw", 2, vec!["gradient", "adamw"]),
            ("lion", 1, vec!["gradient", "lion"]),
            ("signsgd", 0, vec!["gradient", "sign"]),
            ("muon", 1, vec!["gradient", "momentum", "spectral:muon:5"]),
            ("swan", 0, vec!["gradient", "standardize", "spectral:cubic:10", "frobenius"]),
        ];
        for (name, n_states, path) in cases {
            let rule = OptimizerConfig::named(name).unwrap().linear.rule;
            assert_eq!(passes(&SpectrumRecord::of(&sample(&rule, n_states))), path, "{name}");
        }
        let sinkgd = OptimizerConfig::named("sinkgd").unwrap().linear.rule;
        let record = SpectrumRecord::of(&sample(&sinkgd, 0));
        assert_eq!(passes(&record).len(), 11);
        for entry in &record.passes {
            assert_eq!(entry.quantities.spectrum.as_ref().unwrap().singular_values.len(), 5);
        }
        let last = &record.passes[10].quantities;
        assert!((last.frobenius - 1.0).abs() < 1e-6 && last.column_deviation_max < 1e-6, "{last:?}");
    }

    #[test]
    fn the_short_way_through_newton_schulz_is_the_long_one() {
        for name in ["muon", "swan", "balanced-momentum"] {
            let rule = OptimizerConfig::named(name).unwrap().linear.rule;
            let sample = sample(&rule, 1);
            let path = Path::new(&sample);
            for pass in ["spectral:muon:5", "spectral:cubic:10", "spectral:polar-express:8"] {
                let pass = pass.parse().unwrap();
                let [short, long] = [path.after(pass), reference_pass(pass, &path.x, path.shape)];
                let error = short.iter().zip(&long).fold(0.0_f64, |e, (a, b)| e.max((a - b).abs()));
                assert!(error < 1e-10, "{name} {pass}: {error}");
            }
        }
    }
}
