//! The factors on learning rates to try, and whether the best is at an edge.

use serde::{Deserialize, Serialize};

use crate::config::OptimizerConfig;

/// The factors to try, each list ascending: every combination is a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LrSweep {
    /// Factors on the learning rate of the linear layers: the matrices of attention and feed-forward.
    pub linear: Vec<f64>,
    /// Factors on the learning rates of the rest: embedding, head and norms.
    pub rest: Vec<f64>,
}

/// A factor on each of an optimizer's own learning rates.
///
/// If one rule updates all matrices, as in Adam, the optimizer has a single learning rate in the usual sense: `linear`
/// multiplies it, and the rest's rate takes both factors. So (2, 1) is such an optimizer at twice its rate. If the rest
/// has its own rule, as in SinkGD, its rate takes only `rest`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LrFactors {
    /// Factor on the learning rate of the linear layers.
    pub linear: f64,
    /// Factor on the learning rates of embedding, head and norms.
    pub rest: f64,
}

/// The end of a sweep at which the best factor is: a better one may be beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// The best factor is the smallest one tried.
    Smallest,
    /// The best factor is the largest one tried.
    Largest,
}

/// The edge of each sweep at which the best factor is; `None` if it is inside, or if only one was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Edges {
    /// For the factors on the learning rate of the linear layers.
    pub linear: Option<Edge>,
    /// For the factors on the learning rates of the rest.
    pub rest: Option<Edge>,
}

impl LrSweep {
    /// Every pair of factors: for each factor on the rest's rate, those on the linear layers' rate.
    pub fn points(&self) -> impl Iterator<Item = LrFactors> + '_ {
        let at = |&rest: &f64| self.linear.iter().map(move |&linear| LrFactors { linear, rest });
        self.rest.iter().flat_map(at)
    }

    /// The number of pairs.
    pub fn n_points(&self) -> usize {
        self.linear.len() * self.rest.len()
    }

    /// The edges at which these factors are.
    pub fn edges(&self, best: LrFactors) -> Edges {
        Edges { linear: edge(&self.linear, best.linear), rest: edge(&self.rest, best.rest) }
    }

    /// `factors 0.5, 1, 2 on the linear layers' learning rate and 0.1, 1 on the rest's: 6 pairs`.
    pub fn describe(&self) -> String {
        let pairs = match self.n_points() {
            1 => "1 pair".to_owned(),
            n => format!("{n} pairs"),
        };
        let [linear, rest] = [&self.linear, &self.rest].map(|factors| list_words(factors));
        format!("factors {linear} on the linear layers' learning rate and {rest} on the rest's: {pairs}")
    }

    pub(super) fn sort(&mut self) {
        for factors in [&mut self.linear, &mut self.rest] {
            factors.sort_by(f64::total_cmp);
            factors.dedup();
        }
    }
}

impl LrFactors {
    /// The optimizer's own learning rates.
    pub const OWN: Self = Self { linear: 1.0, rest: 1.0 };

    /// Applies the factors to the optimizer's learning rates.
    pub fn on(self, optimizer: OptimizerConfig) -> OptimizerConfig {
        let rest = if optimizer.has_one_rule() { self.linear * self.rest } else { self.rest };
        optimizer.with_lr_factors(self.linear, rest)
    }
}

impl Edge {
    /// `smallest` or `largest`.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Smallest => "smallest",
            Self::Largest => "largest",
        }
    }
}

/// With only one factor, the best says nothing about others.
fn edge(factors: &[f64], best: f64) -> Option<Edge> {
    let [smallest, .., largest] = factors else { return None };
    if best == *smallest { Some(Edge::Smallest) } else { (best == *largest).then_some(Edge::Largest) }
}

/// `0.5`, `1`, `1e30`.
pub fn factor_words(factor: f64) -> String {
    let plain = factor.to_string();
    if plain.len() <= 6 { plain } else { format!("{factor:e}") }
}

fn list_words(factors: &[f64]) -> String {
    factors.iter().copied().map(factor_words).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;

    #[test]
    fn a_best_factor_at_an_edge_says_which_sweep_and_which_end() {
        let sweep = LrSweep { linear: vec![0.5, 1.0, 2.0], rest: vec![0.1, 0.3, 1.0] };
        let (smallest, largest) = (Some(Edge::Smallest), Some(Edge::Largest));
        for ((linear, rest), expected) in [
            ((1.0, 0.3), (None, None)),
            ((0.5, 0.3), (smallest, None)),
            ((2.0, 0.3), (largest, None)),
            ((1.0, 0.1), (None, smallest)),
            ((1.0, 1.0), (None, largest)),
            ((2.0, 0.1), (largest, smallest)),
            ((0.5, 1.0), (smallest, largest)),
        ] {
            let found = sweep.edges(LrFactors { linear, rest });
            assert_eq!((found.linear, found.rest), expected, "{linear}, {rest}");
        }
        // A single factor is not a sweep.
        let of_linear = LrSweep { linear: vec![1.0, 2.0], rest: vec![1.0] };
        let found = of_linear.edges(LrFactors::OWN);
        assert_eq!((found.linear, found.rest), (smallest, None));
    }

    #[test]
    fn every_pair_is_a_point() {
        let sweep = LrSweep { linear: vec![1.0, 2.0], rest: vec![0.5, 1.0] };
        let points: Vec<_> = sweep.points().map(|point| (point.linear, point.rest)).collect();
        assert_eq!(points, [(1.0, 0.5), (2.0, 0.5), (1.0, 1.0), (2.0, 1.0)]);
        assert_eq!(sweep.n_points(), 4);
        let words = "factors 1, 2 on the linear layers' learning rate and 0.5, 1 on the rest's: 4 pairs";
        assert_eq!(sweep.describe(), words);
    }

    #[test]
    fn the_rest_takes_both_factors_where_one_rule_moves_all_matrices() {
        let at = LrFactors { linear: 2.0, rest: 0.25 };
        for (name, one_rule) in
            [("adam", true), ("signsgd", true), ("h-fac", true), ("sinkgd", false), ("muon", false), ("scale", false)]
        {
            let own = OptimizerConfig::named(name).unwrap();
            assert_eq!(own.has_one_rule(), one_rule, "{name}");
            let moved = at.on(own.clone());
            assert_eq!(moved.linear.lr, 2.0 * own.linear.lr, "{name}");
            let rest = if one_rule { 0.5 } else { 0.25 };
            for role in [Role::Embedding, Role::Head, Role::Norm] {
                assert_eq!(moved.recipe(role).lr, rest * own.recipe(role).lr, "{name}: {role:?}");
            }
        }
    }
}
