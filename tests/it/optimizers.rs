//! Every optimizer over ten steps against its reference, and what each of them keeps.

use std::path::Path;

use multinorm::config::{
    MomentumPlacement, OptimizerConfig, Pass, PassProgram, Recipe, Role, Rule, RunConfig, RunDefaults, ScaleRule,
    optimizer_names,
};
use multinorm::gpu::Form;
use multinorm::optim::{StepTensors, Update};
use multinorm::reference::{adamw, lion, momentum, passes, sgd};

use crate::kernels::newton_schulz::reference_of as spectral;
use crate::kernels::scaled::uneven;
use crate::kernels::sgd::{clipped, schedule, statistics, step};
use crate::support::{Case, FORMS, assert_close, widen};

/// Ten steps, but for the spectral pass and for signs; the worst seen is 3e-6.
const TOLERANCE: f64 = 1e-5;

/// An optimizer in f64, put together from the reference.
enum Reference {
    Passes { program: PassProgram, buffer: Vec<f64> },
    Adamw { hyper: adamw::AdamW, state: adamw::State },
    Lion { hyper: lion::Lion, exp_avg: Vec<f64> },
    Sgd { hyper: sgd::Sgd, state: sgd::State },
}

impl Reference {
    fn new(rule: &Rule, len: usize) -> Self {
        match rule.clone() {
            Rule::Passes(program) => Self::Passes { program, buffer: vec![0.0; len] },
            Rule::Adamw(c) => Self::Adamw {
                hyper: adamw::AdamW { beta1: c.beta1, beta2: c.beta2, eps: c.eps, weight_decay: c.weight_decay },
                state: adamw::State::new(len),
            },
            Rule::Lion(c) => Self::Lion {
                hyper: lion::Lion { beta1: c.beta1, beta2: c.beta2, weight_decay: c.weight_decay },
                exp_avg: vec![0.0; len],
            },
            Rule::Sgd(c) => Self::Sgd {
                hyper: sgd::Sgd { momentum: c.momentum, weight_decay: c.weight_decay, nesterov: c.nesterov },
                state: sgd::State::default(),
            },
        }
    }

    /// `g` is the gradient after clipping.
    fn step(&mut self, w: &mut [f64], g: &[f64], raw: &[f64], [m, n]: [usize; 2], lr: f64) {
        match self {
            Self::Passes { program, buffer } => {
                let before = program.momentum > 0.0 && program.momentum_placement == MomentumPlacement::Before;
                // Passes do not see the clip factor; an average of gradients does.
                let input = if before {
                    momentum::average(buffer, g, program.momentum, program.nesterov)
                } else {
                    raw.to_vec()
                };
                let mut x = normalized(program, &input, [m, n]);
                if program.momentum > 0.0 && !before {
                    x = momentum::average(buffer, &x, program.momentum, program.nesterov);
                }
                for (w, x) in w.iter_mut().zip(x) {
                    *w -= lr * (program.scale * x + program.weight_decay * *w);
                }
            }
            Self::Adamw { hyper, state } => adamw::step(hyper, state, w, g, lr),
            Self::Lion { hyper, exp_avg } => lion::step(hyper, exp_avg, w, g, lr),
            Self::Sgd { hyper, state } => sgd::step(hyper, state, w, g, lr),
        }
    }
}

/// The passes and the scale rule.
fn normalized(program: &PassProgram, input: &[f64], [m, n]: [usize; 2]) -> Vec<f64> {
    let mut x = match program.row_threshold {
        0.0 => input.to_vec(),
        threshold => passes::drop_rows(input, m, n, threshold),
    };
    for pass in program.unrolled() {
        x = match pass {
            Pass::Row => passes::row(&x, m, n),
            Pass::Column => passes::column(&x, m, n),
            Pass::Standardize => passes::standardize(&x, m, n),
            Pass::Sign => passes::sign(&x),
            Pass::Frobenius => passes::frobenius(&x),
            Pass::Max => passes::max(&x),
            Pass::Spectral(kind) => spectral(&x, [m, n], kind),
        };
    }
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let factor = match program.scale_rule {
        ScaleRule::GradientNorm => norm(input) / norm(&x),
        rule => rule.factor(*program.passes.last().unwrap(), m, n).unwrap(),
    };
    x.iter().map(|x| factor * x).collect()
}

fn config(section: &str) -> OptimizerConfig {
    let file = format!("[optimizer]\n{section}");
    RunConfig::load(Some((Path::new("any.toml"), &file)), &[], RunDefaults::Software).unwrap().optimizer
}

/// Ten steps with gradients that change.
fn check(form: Form, what: &str, config: &OptimizerConfig, role: Role, shape: &[usize]) {
    let [m, n] = if let [m, n] = *shape { [m, n] } else { [1, shape[0]] };
    let Recipe { rule, lr } = config.recipe(role);
    let mut case = Case::new(form);
    let (weight, mut want) = case.random(shape, 1);
    let gradient = case.output(shape);
    let (statistics, numbers) = (statistics(&mut case), step(&mut case));
    let update = Update { name: "w", role, weight: &weight, gradient: &gradient };
    let shared = StepTensors { statistics: &statistics, step: &numbers };
    let states = multinorm::optim::record(&mut case.rec, config, &update, shared).unwrap();
    assert_eq!(states.is_empty(), rule.is_stateless(), "{what}: {states:?}");
    let done = case.allocate();
    let mut reference = Reference::new(rule, m * n);
    for number in 1..=10 {
        let values = uneven(m, n, u64::from(100 * number));
        done.write(&gradient, &values);
        done.write(&numbers, &[schedule(number).to_bits(), number, 0, 0]);
        done.run();
        let lr = lr * f64::from(schedule(number));
        reference.step(&mut want, &clipped(&values), &widen(&values), [m, n], lr);
    }
    assert_close(format!("{form:?} {what} {role:?} {shape:?}"), &done.read(&weight), &want, TOLERANCE);
}

#[test]
fn every_optimizer_of_the_catalog_agrees_with_its_reference_over_ten_steps() {
    for name in optimizer_names() {
        let config = OptimizerConfig::named(name).unwrap();
        for form in FORMS {
            for shape in [[7, 13], [13, 7], [1, 1], [68, 30]] {
                check(form, name, &config, Role::Linear, &shape);
            }
            check(form, name, &config, Role::Embedding, &[21, 12]);
            check(form, name, &config, Role::Head, &[21, 12]);
            check(form, name, &config, Role::Norm, &[12]);
        }
    }
}

#[test]
fn every_way_to_wrap_a_list_agrees_with_its_reference_over_ten_steps() {
    let sections = [
        "momentum = 0.75\nmomentum_placement = 'after'\nweight_decay = 0.2",
        "momentum = 0.75\nmomentum_placement = 'after'\nnesterov = true",
        "passes = 'sign'\nmomentum = 0.75\nmomentum_placement = 'after'",
        "momentum = 0.75",
        "scale_rule = 'gradient-norm'",
        "passes = 'sign'\nscale_rule = 'gradient-norm'\nmomentum = 0.5",
        "passes = 'spectral:muon:5'\nscale_rule = 'match-rms'\niterations = 1",
        "passes = 'column'\nscale_rule = 'scion'\nweight_decay = 0.2",
        "passes = 'row'\nrow_threshold = 0.7",
    ];
    for section in sections {
        let config = config(section);
        for form in FORMS {
            for shape in [[7, 13], [30, 9]] {
                check(form, section, &config, Role::Linear, &shape);
            }
        }
    }
}

#[test]
fn stateless_rules_keep_nothing() {
    for name in ["sinkgd", "swan", "signsgd", "sgd"] {
        assert!(OptimizerConfig::named(name).unwrap().linear.rule.is_stateless(), "{name}");
    }
    for name in ["muon", "scion", "row", "adamw", "lion", "balanced-momentum"] {
        assert!(!OptimizerConfig::named(name).unwrap().linear.rule.is_stateless(), "{name}");
    }
}
