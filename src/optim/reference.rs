//! Every rule in f64, put together from [`crate::reference`]: what an update must be, step after step.

use crate::config::{MomentumPlacement, Pass, PassProgram, Rule, ScaleRule};
use crate::reference::newton_schulz::spectral;
use crate::reference::{adamw, lion, momentum, passes, sgd};

use super::iterate::sequence;

/// A rule with what it carries from step to step, for one parameter of m×n; a vector is a matrix of one row.
pub struct ReferenceUpdate {
    shape: [usize; 2],
    state: State,
}

enum State {
    Passes { program: PassProgram, buffer: Vec<f64> },
    Adamw { hyper: adamw::AdamW, state: adamw::State },
    Lion { hyper: lion::Lion, exp_avg: Vec<f64> },
    Sgd { hyper: sgd::Sgd, state: sgd::State },
}

impl ReferenceUpdate {
    /// Before the first step.
    pub fn new(rule: &Rule, [m, n]: [usize; 2]) -> Self {
        let len = m * n;
        let state = match rule.clone() {
            Rule::Passes(program) => State::Passes { program, buffer: vec![0.0; len] },
            Rule::Adamw(c) => State::Adamw {
                hyper: adamw::AdamW { beta1: c.beta1, beta2: c.beta2, eps: c.eps, weight_decay: c.weight_decay },
                state: adamw::State::new(len),
            },
            Rule::Lion(c) => State::Lion {
                hyper: lion::Lion { beta1: c.beta1, beta2: c.beta2, weight_decay: c.weight_decay },
                exp_avg: vec![0.0; len],
            },
            Rule::Sgd(c) => State::Sgd {
                hyper: sgd::Sgd { momentum: c.momentum, weight_decay: c.weight_decay, nesterov: c.nesterov },
                state: sgd::State::default(),
            },
        };
        Self { shape: [m, n], state }
    }

    /// One step of w along the gradient g, both `[m·n]`, which is multiplied by `clip` first.
    pub fn step(&mut self, w: &mut [f64], g: &[f64], clip: f64, lr: f64) {
        let clipped: Vec<f64> = g.iter().map(|g| clip * g).collect();
        match &mut self.state {
            State::Passes { program, buffer } => {
                let before = program.momentum > 0.0 && program.momentum_placement == MomentumPlacement::Before;
                // Passes do not see the clip factor; an average of gradients does.
                let input = if before {
                    momentum::average(buffer, &clipped, program.momentum, program.nesterov)
                } else {
                    g.to_vec()
                };
                let mut x = normalized(program, &input, self.shape);
                if program.momentum > 0.0 && !before {
                    x = momentum::average(buffer, &x, program.momentum, program.nesterov);
                }
                for (w, x) in w.iter_mut().zip(x) {
                    *w -= lr * (program.scale * x + program.weight_decay * *w);
                }
            }
            State::Adamw { hyper, state } => adamw::step(hyper, state, w, &clipped, lr),
            State::Lion { hyper, exp_avg } => lion::step(hyper, exp_avg, w, &clipped, lr),
            State::Sgd { hyper, state } => sgd::step(hyper, state, w, &clipped, lr),
        }
    }
}

/// One pass over x, m×n.
pub fn reference_pass(pass: Pass, x: &[f64], [m, n]: [usize; 2]) -> Vec<f64> {
    match pass {
        Pass::Row => passes::row(x, m, n),
        Pass::Column => passes::column(x, m, n),
        Pass::Standardize => passes::standardize(x, m, n),
        Pass::Sign => passes::sign(x),
        Pass::Frobenius => passes::frobenius(x),
        Pass::Max => passes::max(x),
        Pass::Spectral(kind) => spectral(x, m, n, sequence(kind.variant), kind.steps as usize),
    }
}

/// What a list makes of its input, the scale rule included.
fn normalized(program: &PassProgram, input: &[f64], [m, n]: [usize; 2]) -> Vec<f64> {
    let mut x = match program.row_threshold {
        0.0 => input.to_vec(),
        threshold => passes::drop_rows(input, m, n, threshold),
    };
    for iteration in 0..program.iterations {
        let before = x.clone();
        x = program.passes.iter().fold(x, |x, pass| reference_pass(*pass, &x, [m, n]));
        let change = x.iter().zip(&before).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / (m * n) as f64;
        if iteration > 0 && program.tolerance > 0.0 && change.sqrt() <= program.tolerance {
            break;
        }
    }
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let last = *program.passes.last().expect("a list of passes is not empty");
    let factor = match program.scale_rule {
        ScaleRule::GradientNorm if norm(&x) > 0.0 => norm(input) / norm(&x),
        rule => rule.factor(last, m, n).unwrap_or(0.0),
    };
    x.iter().map(|x| factor * x).collect()
}
