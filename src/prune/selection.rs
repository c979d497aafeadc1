//! Which units are kept.

use serde::{Deserialize, Serialize};

use super::measure::Measure;
use super::settings::Scope;
use crate::llama::UnitKind;
use crate::reference::prune::kept;

/// Which units of each layer are kept: groups of heads, and channels, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Indices of key heads, by layer.
    pub heads: Vec<Vec<usize>>,
    /// Indices of channels, by layer.
    pub channels: Vec<Vec<usize>>,
}

impl Selection {
    /// The units of the largest scores, `keep` of them by kind, over all layers or in each. A layer keeps at least one
    /// unit of each kind.
    pub fn of([heads, channels]: [&Measure; 2], keep: [f64; 2], scope: Scope) -> Self {
        let of = |scores: &Measure, kind: UnitKind| -> Vec<Vec<usize>> {
            let keep = keep[kind as usize];
            let flags: Vec<Vec<bool>> = match scope {
                Scope::Layer => scores.iter().map(|layer| kept(layer, keep)).collect(),
                Scope::Model => {
                    let all = kept(&scores.concat(), keep);
                    all.chunks(scores[0].len()).map(<[bool]>::to_vec).collect()
                }
            };
            flags.iter().zip(scores).map(|(flags, scores)| at_least_one(flags, scores)).collect()
        };
        Self { heads: of(heads, UnitKind::Heads), channels: of(channels, UnitKind::Channels) }
    }

    /// The largest scores of each layer, as many in every layer as Hugging Face's configuration can describe: the mean
    /// number over the layers, rounded, channels to a multiple of `multiple` if that many are left.
    pub fn equal([heads, channels]: [&Measure; 2], keep: [f64; 2], multiple: usize) -> Self {
        let of = |scores: &Measure, kind: UnitKind| {
            let units = scores[0].len();
            let wanted = (keep[kind as usize] * units as f64).round().max(1.0) as usize;
            let step = if kind == UnitKind::Channels && units >= multiple { multiple } else { 1 };
            let n = ((wanted + step / 2) / step * step).clamp(step.min(units), units);
            scores.iter().map(|scores| largest(scores, n)).collect()
        };
        Self { heads: of(heads, UnitKind::Heads), channels: of(channels, UnitKind::Channels) }
    }

    /// The kept units of a kind, by layer.
    pub fn of_kind(&self, kind: UnitKind) -> &[Vec<usize>] {
        match kind {
            UnitKind::Heads => &self.heads,
            UnitKind::Channels => &self.channels,
        }
    }
}

fn at_least_one(flags: &[bool], scores: &[f64]) -> Vec<usize> {
    let kept: Vec<usize> = (0..flags.len()).filter(|at| flags[*at]).collect();
    if kept.is_empty() { largest(scores, 1) } else { kept }
}

/// The indices of the `n` largest, ascending; of equal ones the first.
fn largest(scores: &[f64], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(n);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_takes_the_largest_scores_in_its_scope() {
        let heads = vec![vec![0.9, 0.8], vec![0.1, 0.2]];
        let channels = vec![vec![0.1, 0.2, 0.3, 0.4], vec![0.5, 0.6, 0.7, 0.8]];
        let all = [&heads, &channels];
        let model = Selection::of(all, [0.5, 0.5], Scope::Model);
        // The second layer would keep no head.
        assert_eq!(model.heads, [vec![0, 1], vec![1]]);
        assert_eq!(model.channels, [vec![3], vec![0, 1, 2, 3]]);
        let layer = Selection::of(all, [0.5, 0.5], Scope::Layer);
        assert_eq!((layer.heads, layer.channels), (vec![vec![0], vec![1]], vec![vec![2, 3]; 2]));
        let equal = Selection::equal(all, [1.0, 0.7], 1);
        assert_eq!((equal.heads, equal.channels), (vec![vec![0, 1]; 2], vec![vec![1, 2, 3]; 2]));
        assert_eq!(Selection::equal(all, [1.0, 0.6], 4).channels, vec![vec![0, 1, 2, 3]; 2]);
    }
}
