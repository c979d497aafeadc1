//! Every rule in f64, put together from [`crate::reference`]: what an update must be, step after step.

use crate::config::{
    AdafactorConfig, AdamwConfig, GaloreConfig, HFacConfig, MomentumPlacement, Pass, PassProgram, RacsConfig, Rule,
    ScaleOf, ScaleRule, SecondMomentStart, rank_for,
};
use crate::reference::newton_schulz::spectral;
use crate::reference::{
    adafactor, adam_nonzero, adamw, apollo, extrapolated_sgd, galore, h_fac, lion, momentum, passes, racs, random, sgd,
};

use super::iterate::sequence;

/// A rule with what it carries from step to step, for one parameter of m×n; a vector is a matrix of one row.
pub struct ReferenceUpdate(Box<Method>);

/// One step of a weight.
type Method = dyn FnMut(&mut [f64], Step<'_>);

/// What a step is made of.
struct Step<'a> {
    /// `[m·n]`.
    gradient: &'a [f64],
    clip: f64,
    lr: f64,
    schedule: f64,
}

impl Step<'_> {
    fn clipped(&self) -> Vec<f64> {
        self.gradient.iter().map(|g| self.clip * g).collect()
    }

    fn rate(&self) -> f64 {
        self.lr * self.schedule
    }
}

impl ReferenceUpdate {
    /// Before the first step of the parameter `name`, in a run of this seed. Panics on a zeroth-order method.
    pub fn new(rule: &Rule, shape: &[usize], name: &str, seed: u64) -> Self {
        let (is_matrix, [m, n]) = match *shape {
            [m, n] => (true, [m, n]),
            [n] => (false, [1, n]),
            _ => panic!("a matrix or a vector is wanted, got {shape:?}"),
        };
        let len = m * n;
        let random = [random::stream(name), random::word_of_seed(seed)];
        Self(match rule.clone() {
            Rule::Passes(program) => {
                let mut buffer = vec![0.0; len];
                Box::new(move |w, step| step_of_passes(&program, &mut buffer, w, step, [m, n]))
            }
            Rule::Adamw(c) => {
                let AdamwConfig { beta1, beta2, eps, weight_decay } = c;
                let (hyper, mut state) = (adamw::AdamW { beta1, beta2, eps, weight_decay }, adamw::State::new(len));
                Box::new(move |w, step| adamw::step(&hyper, &mut state, w, &step.clipped(), step.rate()))
            }
            Rule::AdamNonzero(c) => {
                let hyper = adam_nonzero::AdamNonzero {
                    beta1: c.beta1,
                    beta2: c.beta2,
                    eps: c.eps,
                    weight_decay: c.weight_decay,
                    start_scale: if c.start == SecondMomentStart::Data || is_matrix { c.start_scale } else { 0.0 },
                    bias_correction: c.bias_correction,
                    start_batches: (c.start == SecondMomentStart::Data).then_some(c.start_batches),
                };
                let mut state = adam_nonzero::State::new(len);
                Box::new(move |w, step| {
                    adam_nonzero::step(&hyper, &mut state, w, &step.clipped(), [m, n], step.rate(), random);
                })
            }
            Rule::Adafactor(c) => adafactor_of(&c, is_matrix, [m, n]),
            Rule::Adalomo(c) => adafactor_of(&c.as_adafactor(), is_matrix, [m, n]),
            Rule::Apollo(c) => {
                let hyper = apollo::Apollo {
                    rank: rank_for(c.rank, m.min(n)),
                    update_interval: c.update_interval,
                    scale: c.scale,
                    whole: c.scale_of == ScaleOf::Tensor,
                    growth_limit: c.growth_limit,
                    beta1: c.beta1,
                    beta2: c.beta2,
                    eps: c.eps,
                    weight_decay: c.weight_decay,
                };
                let mut state = apollo::State::new(m, n, hyper.rank);
                Box::new(move |w, step| {
                    apollo::step(&hyper, &mut state, w, &step.clipped(), [m, n], step.rate(), random);
                })
            }
            // The gradient is given: where it was taken is not seen here.
            Rule::ExtrapolatedSgd(c) => {
                Box::new(move |w, step| extrapolated_sgd::step(w, &step.clipped(), step.rate(), c.weight_decay))
            }
            Rule::Fira(c) => galore_of(&c.galore, Some(c.growth_limit), [m, n]),
            Rule::Galore(c) => galore_of(&c, None, [m, n]),
            Rule::HFac(c) => {
                let HFacConfig { beta1, beta2, eps, clip_threshold, weight_decay } = c;
                let hyper = h_fac::HFac { beta1, beta2, eps, clip_threshold, weight_decay };
                let mut state = h_fac::State::new(m, n);
                Box::new(move |w, step| h_fac::step(&hyper, &mut state, w, &step.clipped(), step.rate()))
            }
            Rule::Lion(c) => {
                let hyper = lion::Lion { beta1: c.beta1, beta2: c.beta2, weight_decay: c.weight_decay };
                let mut exp_avg = vec![0.0; len];
                Box::new(move |w, step| lion::step(&hyper, &mut exp_avg, w, &step.clipped(), step.rate()))
            }
            Rule::Racs(c) => {
                let RacsConfig { iterations, beta, scale, growth_limit, weight_decay } = c;
                let hyper = racs::Racs { iterations, beta, scale, growth_limit, weight_decay };
                let mut state = racs::State::new(m, n);
                Box::new(move |w, step| racs::step(&hyper, &mut state, w, &step.clipped(), step.rate()))
            }
            Rule::Adazeta(_) | Rule::Mezo(_) | Rule::Subzero(_) => {
                panic!("a zeroth-order method takes losses, not a gradient")
            }
            Rule::Sgd(c) => {
                let hyper = sgd::Sgd { momentum: c.momentum, weight_decay: c.weight_decay, nesterov: c.nesterov };
                let mut state = sgd::State::default();
                Box::new(move |w, step| sgd::step(&hyper, &mut state, w, &step.clipped(), step.rate()))
            }
        })
    }

    /// One step of w along the gradient, both `[m·n]`, which is multiplied by `clip` first, at `lr` times `schedule`.
    pub fn step(&mut self, w: &mut [f64], gradient: &[f64], clip: f64, lr: f64, schedule: f64) {
        (self.0)(w, Step { gradient, clip, lr, schedule });
    }
}

fn adafactor_of(c: &AdafactorConfig, is_matrix: bool, [m, n]: [usize; 2]) -> Box<Method> {
    let hyper = adafactor::Adafactor {
        decay_rate: c.decay_rate,
        eps1: c.eps1,
        eps2: c.eps2,
        clip_threshold: c.clip_threshold,
        relative_step: c.relative_step,
        scale_parameter: c.scale_parameter,
        weight_decay: c.weight_decay,
    };
    let mut state = adafactor::State::new(if is_matrix { m } else { 0 }, n);
    Box::new(move |w, step| adafactor::step(&hyper, &mut state, w, &step.clipped(), step.lr, step.schedule))
}

fn galore_of(c: &GaloreConfig, growth_limit: Option<f64>, [m, n]: [usize; 2]) -> Box<Method> {
    let GaloreConfig { rank, update_interval, scale, beta1, beta2, eps, weight_decay } = *c;
    let rank = rank_for(rank, m.min(n));
    let hyper = galore::Galore { rank, update_interval, scale, growth_limit, beta1, beta2, eps, weight_decay };
    let mut state = galore::State::new(m, n, rank);
    Box::new(move |w, step| galore::step(&hyper, &mut state, w, &step.clipped(), [m, n], step.rate()))
}

fn step_of_passes(program: &PassProgram, buffer: &mut [f64], w: &mut [f64], step: Step<'_>, shape: [usize; 2]) {
    let before = program.momentum > 0.0 && program.momentum_placement == MomentumPlacement::Before;
    // Passes do not see the clip factor; an average of gradients does.
    let input = if before {
        momentum::average(buffer, &step.clipped(), program.momentum, program.nesterov)
    } else {
        step.gradient.to_vec()
    };
    let mut x = normalized(program, &input, shape);
    if program.momentum > 0.0 && !before {
        x = momentum::average(buffer, &x, program.momentum, program.nesterov);
    }
    for (w, x) in w.iter_mut().zip(x) {
        *w -= step.rate() * (program.scale * x + program.weight_decay * *w);
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
