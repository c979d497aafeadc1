//! Compares optimizers: the same initial weights, the same batches, each at its own best learning rate.
//!
//! A [`Plan`] names optimizers, factors on their learning rates, and seeds. There are two factors, one for the linear
//! layers and one for the rest, because an optimizer may use another rule for the rest. [`run()`] trains each run in
//! its own directory with [`crate::train::run`], so that an interrupted comparison can be resumed at any time. After
//! every run it writes the results so far: [`Comparison`] as `compare.json`, and the same as a web page, `report.html`.
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
//! Every learning rate is a factor on the optimizer's own: absolute rates are not comparable across optimizers. The
//! best pair of factors is the one with the lowest final validation loss with the first seed; the other seeds use that
//! pair. [`LrFactors`] describes the meaning of a pair for an optimizer with one rule for everything.

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
