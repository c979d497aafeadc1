//! Every rule in f64, built from [`crate::reference`]: defines what an update must be, step by step.

use super::Rule;
use super::method::{ReferenceParameter, ReferenceStep, Step};

/// A rule with its state for one parameter of m×n; a vector is a matrix of one row.
pub struct ReferenceUpdate(Box<ReferenceStep>);

impl ReferenceUpdate {
    /// Before the first step of the parameter `name`, in a run with this seed. Panics for a zeroth-order method.
    pub fn new(rule: &Rule, shape: &[usize], name: &str, seed: u64) -> Self {
        Self(rule.method().reference(&ReferenceParameter::new(shape, name, seed)))
    }

    /// One step of w with the gradient, both `[m·n]`, which is first multiplied by `clip`, at `lr` times `schedule`.
    pub fn step(&mut self, w: &mut [f64], gradient: &[f64], clip: f64, lr: f64, schedule: f64) {
        (self.0)(w, Step { gradient, clip, lr, schedule });
    }
}
