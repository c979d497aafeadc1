//! How much each unit matters by a measure of the weights that read it, and the scores that start from that.

use super::settings::{PruneSettings, Scope, Start};
use crate::llama::UnitKind;
use crate::reference::random::{normal, stream, word_of_seed};
use crate::settings::ModelConfig;

/// One number per unit, by layer.
pub type Measure = Vec<Vec<f64>>;

/// The mean over output rows of |W|·√(mean x²) of each column of `o_proj` or `down_proj`, summed over a head and
/// averaged over a group of heads; with `squares` of `None`, of |W| alone.
///
/// `weights` are those matrices `[C, columns]` by layer, and `squares` the mean squares of their input columns.
///
/// Sun et al. 2023, "A Simple and Effective Pruning Approach for Large Language Models" (arXiv 2306.11695), for units as
/// in arXiv 2406.10576.
pub fn measure(kind: UnitKind, config: &ModelConfig, weights: &[&[f32]], squares: Option<&[Vec<f64>]>) -> Measure {
    let (columns, units) = (kind.columns(config), kind.per_layer(config));
    let of_layer = |(layer, weight): (usize, &&[f32])| {
        let rows = weight.len() / columns;
        let mut sums = vec![0.0; columns];
        for row in weight.chunks(columns) {
            sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += f64::from(w.abs()));
        }
        let norm = |column: usize| squares.map_or(1.0, |squares| squares[layer][column].sqrt());
        let of_columns: Vec<f64> =
            sums.iter().enumerate().map(|(column, sum)| sum / rows as f64 * norm(column)).collect();
        // A head's channels are summed, the heads of a group averaged; a channel is one column.
        let heads = match kind {
            UnitKind::Heads => config.num_attention_heads / config.num_key_value_heads,
            UnitKind::Channels => 1,
        };
        of_columns.chunks(columns / units).map(|unit| unit.iter().sum::<f64>() / heads as f64).collect()
    };
    weights.iter().enumerate().map(of_layer).collect()
}

/// Scores in [0, 1] from a measure: per layer σ((M − mean)/sd), moved so that their mean is the fraction to keep, and
/// clamped. A constant start needs no measure; a random one takes normal numbers for it.
pub fn initial_scores(kind: UnitKind, config: &ModelConfig, settings: &PruneSettings, measure: &Measure) -> Measure {
    let keep = settings.keep(kind);
    let units = kind.per_layer(config);
    let random = |layer: usize| -> Vec<f64> {
        let stream = stream(&format!("prune {kind:?}"));
        let seed = word_of_seed(settings.seed);
        (0..units).map(|unit| normal((layer * units + unit) as u32, stream, u32::MAX, seed)).collect()
    };
    let scores = |layer: usize| match settings.start {
        Start::Constant => vec![keep; units],
        Start::Random => around(&random(layer), keep),
        Start::Wanda | Start::Magnitude => around(&measure[layer], keep),
    };
    (0..config.num_hidden_layers).map(scores).collect()
}

fn around(measure: &[f64], keep: f64) -> Vec<f64> {
    let n = measure.len() as f64;
    let mean = measure.iter().sum::<f64>() / n;
    let sd = (measure.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / n).sqrt();
    let logistic = |m: &f64| 1.0 / (1.0 + (-(m - mean) / sd.max(f64::MIN_POSITIVE)).exp());
    let scores: Vec<f64> = measure.iter().map(logistic).collect();
    let shift = keep - scores.iter().sum::<f64>() / n;
    scores.iter().map(|score| (score + shift).clamp(0.0, 1.0)).collect()
}

/// Number of scopes that `units` of all layers are divided into.
pub(super) fn scopes(scope: Scope, config: &ModelConfig) -> usize {
    match scope {
        Scope::Model => 1,
        Scope::Layer => config.num_hidden_layers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> ModelConfig {
        ModelConfig {
            hidden_size: 2,
            intermediate_size: 3,
            num_hidden_layers: 1,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 2,
            ..ModelConfig::preset("tiny").unwrap()
        }
    }

    #[test]
    fn a_measure_sums_over_heads_and_averages_over_groups() {
        let config = small();
        // Two rows; columns of head 0: 1, 2; head 1: 3, 4; heads 2 and 3 of the other group: zeros but one.
        let o = [1.0, -2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 8.0, 1.0, 2.0, 3.0, -4.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(measure(UnitKind::Heads, &config, &[&o], None), [[5.0, 2.0]]);
        let squares = vec![vec![4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.25]];
        assert_eq!(measure(UnitKind::Heads, &config, &[&o], Some(&squares)), [[5.5, 1.0]]);
        let down = [1.0, 0.0, -3.0, 1.0, 2.0, 3.0];
        assert_eq!(measure(UnitKind::Channels, &config, &[&down], None), [[1.0, 1.0, 3.0]]);
    }

    #[test]
    fn scores_start_around_the_fraction_to_keep() {
        let (config, settings) = (small(), PruneSettings { keep: [0.5; 2], ..PruneSettings::default() });
        let measure = vec![vec![1.0, 2.0, 3.0]];
        let scores = initial_scores(UnitKind::Channels, &config, &settings, &measure);
        assert!((scores[0].iter().sum::<f64>() / 3.0 - 0.5).abs() < 1e-12, "{scores:?}");
        assert!(scores[0].windows(2).all(|pair| pair[0] < pair[1]), "{scores:?}");
        // σ(√1.5) = 0.7729
        assert!((scores[0][2] - 0.772_9).abs() < 1e-4, "{scores:?}");
        let constant = PruneSettings { start: Start::Constant, ..settings.clone() };
        assert_eq!(initial_scores(UnitKind::Channels, &config, &constant, &Vec::new()), [[0.5; 3]]);
        let equal = vec![vec![2.0; 3]];
        assert_eq!(initial_scores(UnitKind::Channels, &config, &settings, &equal), [[0.5; 3]]);
    }
}
