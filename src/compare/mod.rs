//! Optimizers side by side: the same weights, the same batches, each at its own best learning rate.
//!
//! A [`Plan`] names optimizers, factors on their learning rates, and seeds.
//! There are two factors, for the linear layers and for the rest: an optimizer may leave the rest to another rule.
//! [`run()`] makes a run's folder for each of them with [`crate::train::run`], so that a comparison that was cut short at
//! any instant goes on where it stood, and writes what is known after every run: [`Comparison`] as `compare.json`, and
//! the same as a page to look at, `report.html`.
//!
//! ```text
//! plan.json                    what this folder compares
//! variants.json                which kernels its products are made of, on a GPU that measured them
//! costs/NAME.json              memory and time of an optimizer's update
//! spectra/NAME.json            what its passes do to a gradient at the end of its best run
//! runs/NAME-x0.5-rest1-seed0/  a run's folder, with outcome.json once it has ended
//! compare.json  report.html    everything measured so far
//! losses.svg  state.svg        its most asked-for plots, to be shown elsewhere
//! ```
//!
//! Every learning rate is a factor on the optimizer's own: absolute rates mean nothing across optimizers.
//! The best pair of factors is the one with the lowest final validation loss at the first seed; the other seeds run at
//! that one. [`LrFactors`] says what a pair is to an optimizer with one rule for everything.

mod cost;
mod execute;
mod files;
mod plan;
mod record;
mod report;
mod result;
mod spectra;
mod statistics;
mod sweep;
mod throughput;

pub use cost::Cost;
pub use execute::{ComparisonFolder, Event, run};
pub use plan::{Plan, RunId};
pub use record::{Curve, Outcome, RunRecord};
pub use result::{Comparison, Corpus, Difference, OptimizerResult, Start, SweepPoint};
pub use statistics::Spread;
pub use sweep::{Edge, Edges, LrFactors, LrSweep, factor_words};
pub use throughput::{Reached, SeedToReference, ToReference};
