//! Removes units from a model.

use super::selection::Selection;
use crate::checkpoint::NamedTensor;
use crate::settings::ModelConfig;

/// The sizes of a model that keeps these units, if every layer keeps as many: only then does Hugging Face's
/// configuration describe it.
pub fn equal_shape(config: &ModelConfig, selection: &Selection) -> Option<ModelConfig> {
    let same = |layers: &[Vec<usize>]| {
        let n = layers[0].len();
        layers.iter().all(|units| units.len() == n).then_some(n)
    };
    let (groups, channels) = (same(&selection.heads)?, same(&selection.channels)?);
    let group = config.num_attention_heads / config.num_key_value_heads;
    Some(ModelConfig {
        intermediate_size: channels,
        num_attention_heads: groups * group,
        num_key_value_heads: groups,
        ..config.clone()
    })
}

/// The parameters without the units that are not kept: rows of q, k and v and columns of o, rows of gate and up and
/// columns of down, with their biases. Everything else is unchanged.
pub fn cut(config: &ModelConfig, selection: &Selection, parameters: &[NamedTensor]) -> Vec<NamedTensor> {
    parameters.iter().map(|parameter| cut_one(config, selection, parameter)).collect()
}

/// The parameters with zeros in the columns of o and down that belong to units that are not kept: the same function as
/// the smaller model, in the whole model's shape.
pub fn zeroed(config: &ModelConfig, selection: &Selection, parameters: &[NamedTensor]) -> Vec<NamedTensor> {
    let zeroed = |parameter: &NamedTensor| {
        let Some((rows, columns)) = kept(config, selection, &parameter.name) else { return parameter.clone() };
        let (Axis::Columns, kept) = (rows, columns) else { return parameter.clone() };
        let width = parameter.shape[1];
        let mut is_kept = vec![false; width];
        kept.iter().for_each(|at| is_kept[*at] = true);
        let mut values = parameter.values.clone();
        for row in values.chunks_mut(width) {
            row.iter_mut().zip(&is_kept).filter(|(_, is_kept)| !**is_kept).for_each(|(value, _)| *value = 0.0);
        }
        NamedTensor { values, ..parameter.clone() }
    };
    parameters.iter().map(zeroed).collect()
}

/// What is cut from a parameter.
enum Axis {
    /// Rows of a matrix, or elements of a bias.
    Rows,
    Columns,
}

/// Which rows or columns of a parameter are kept; `None` if all are.
fn kept(config: &ModelConfig, selection: &Selection, name: &str) -> Option<(Axis, Vec<usize>)> {
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let group = config.num_attention_heads / config.num_key_value_heads;
    let spread =
        |units: &[usize], width: usize| units.iter().flat_map(|unit| unit * width..(unit + 1) * width).collect();
    let (heads, channels) = (&selection.heads[layer], &selection.channels[layer]);
    let (queries, keys) = (group * config.head_dim, config.head_dim);
    Some(match part {
        "self_attn.q_proj.weight" | "self_attn.q_proj.bias" => (Axis::Rows, spread(heads, queries)),
        "self_attn.k_proj.weight" | "self_attn.k_proj.bias" | "self_attn.v_proj.weight" | "self_attn.v_proj.bias" => {
            (Axis::Rows, spread(heads, keys))
        }
        "self_attn.o_proj.weight" => (Axis::Columns, spread(heads, queries)),
        "mlp.gate_proj.weight" | "mlp.gate_proj.bias" | "mlp.up_proj.weight" | "mlp.up_proj.bias" => {
            (Axis::Rows, channels.clone())
        }
        "mlp.down_proj.weight" => (Axis::Columns, channels.clone()),
        _ => return None,
    })
}

fn cut_one(config: &ModelConfig, selection: &Selection, parameter: &NamedTensor) -> NamedTensor {
    let NamedTensor { name, shape, values } = parameter;
    let name = name.clone();
    match kept(config, selection, &name) {
        None => parameter.clone(),
        Some((Axis::Rows, kept)) => {
            let width = values.len() / shape[0];
            let values = kept.iter().flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect();
            let mut shape = shape.clone();
            shape[0] = kept.len();
            NamedTensor { name, shape, values }
        }
        Some((Axis::Columns, kept)) => {
            let values = values.chunks(shape[1]).flat_map(|row| kept.iter().map(|at| row[*at])).collect();
            NamedTensor { name, shape: vec![shape[0], kept.len()], values }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> (ModelConfig, Vec<NamedTensor>) {
        let config = ModelConfig {
            vocab_size: 5,
            hidden_size: 8,
            intermediate_size: 6,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 4,
            ..ModelConfig::preset("tiny").unwrap()
        };
        let mut next = 0.0;
        let mut parameter = |spec: crate::settings::ParameterSpec| {
            let values = (0..spec.n_elements()).map(|_| {
                next += 1.0;
                next
            });
            NamedTensor { name: spec.name.clone(), values: values.collect(), shape: spec.shape }
        };
        let parameters = config.parameters().into_iter().map(&mut parameter).collect();
        (config, parameters)
    }

    #[test]
    fn a_cut_model_has_the_shapes_of_its_configuration() {
        let (config, parameters) = small();
        let selection = Selection { heads: vec![vec![1], vec![0]], channels: vec![vec![0, 2, 5], vec![1, 2, 3]] };
        let smaller = equal_shape(&config, &selection).unwrap();
        assert_eq!((smaller.num_attention_heads, smaller.num_key_value_heads, smaller.intermediate_size), (2, 1, 3));
        smaller.validate().unwrap();
        let cut = cut(&config, &selection, &parameters);
        for (spec, parameter) in smaller.parameters().iter().zip(&cut) {
            assert_eq!((&spec.name, &spec.shape), (&parameter.name, &parameter.shape));
            assert_eq!(spec.n_elements(), parameter.values.len(), "{}", spec.name);
        }
        let of = |all: &[NamedTensor], name: &str| all.iter().find(|parameter| parameter.name == name).unwrap().clone();
        // The second group's query heads are rows 8 to 15 of q, and columns 8 to 15 of o.
        let (q, whole) = (of(&cut, "model.layers.0.self_attn.q_proj.weight"), &parameters);
        assert_eq!(q.values, of(whole, "model.layers.0.self_attn.q_proj.weight").values[8 * 8..]);
        let o = of(&cut, "model.layers.0.self_attn.o_proj.weight");
        assert_eq!(o.values[..8], of(whole, "model.layers.0.self_attn.o_proj.weight").values[8..16]);
        let down = of(&cut, "model.layers.1.mlp.down_proj.weight");
        assert_eq!(down.values[..3], of(whole, "model.layers.1.mlp.down_proj.weight").values[1..4]);
        let unequal = Selection { heads: vec![vec![1], vec![0, 1]], ..selection.clone() };
        assert!(equal_shape(&config, &unequal).is_none());
        let zeroed = zeroed(&config, &selection, &parameters);
        let o = of(&zeroed, "model.layers.0.self_attn.o_proj.weight");
        assert_eq!(o.values[..8], [0.0; 8]);
        assert_eq!(o.values[8..16], of(whole, "model.layers.0.self_attn.o_proj.weight").values[8..16]);
        assert_eq!(of(&zeroed, "model.norm.weight"), of(whole, "model.norm.weight"));
    }
}
