//! Structural pruning: which groups of heads and which channels a model can do without, learned from forward passes
//! alone (arXiv 2406.10576), or chosen by a measure of the weights.
//!
//! A unit is a group of query heads with the key head that they share, or a channel of a feed-forward layer. The learned
//! method keeps a score in [0, 1] per unit. A step draws masks from the scores, measures the loss with each on one batch,
//! moves the scores against the score function estimate of the gradient, and projects them onto the budget.

mod cut;
mod dir;
mod learn;
mod measure;
mod pruner;
mod selection;
mod settings;

pub use cut::{cut, equal_shape, zeroed};
pub use dir::{PruneDir, PruneState, Pruned, TextSource};
pub use learn::Subject;
pub use measure::{Measure, initial_scores, measure};
pub use pruner::{Progress, Pruner, mean_squares};
pub use selection::Selection;
pub use settings::{PruneSettings, Scope, Shape, Start};
