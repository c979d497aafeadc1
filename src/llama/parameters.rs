//! The parameter table: Hugging Face's names, roles, weights and gradients.

use std::ops::Range;

use crate::gpu::{Class, DType, Gpu, Profile, Recorder, Tensor, Workspace};
use crate::settings::{ModelConfig, ParameterSpec, Role};

/// One parameter: its spec, its weight and, if it is trained, its gradient. A matrix that does not fit one binding is
/// split by rows into several parts, each a `Parameter` with the same name.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name, shape and role; a part has its own shape.
    pub spec: ParameterSpec,
    /// Which rows of the matrix a part holds; `None` if it is whole.
    pub rows: Option<Range<usize>>,
    /// The weight.
    pub weight: Tensor,
    gradient: Option<Tensor>,
}

impl Parameter {
    /// The gradient. Panics in a model without gradients.
    pub fn gradient(&self) -> &Tensor {
        self.gradient.as_ref().unwrap_or_else(|| panic!("{} has no gradient", self.spec.name))
    }
}

/// How gradients are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradients {
    /// No gradients: the model is not trained, or not by gradients.
    None,
    /// Kept between replays.
    Persistent,
    /// Each lives until its update, within the backward pass; they share memory.
    Transient,
}

/// A LLaMA in a recorder.
pub struct Llama {
    /// Its sizes.
    pub config: ModelConfig,
    /// Its parameters, in the order of [`ModelConfig::parameters`]; parts of one parameter are adjacent.
    pub parameters: Vec<Parameter>,
    /// What can be updated together: every parameter with a gradient is in exactly one group. Their order does not
    /// depend on how gradients are stored.
    pub groups: Vec<ParameterGroup>,
}

/// Parameters of one shape and role whose weights are stacked in one tensor, as are their gradients.
#[derive(Clone, Debug)]
pub struct ParameterGroup {
    /// Their indices in [`Llama::parameters`], ascending.
    pub members: Vec<usize>,
    /// `[members, …]`, or the weight of the only member.
    pub weight: Tensor,
    /// The same for the gradients.
    pub gradient: Tensor,
}

impl Llama {
    /// Allocates tensors for the weights and, if requested, their gradients.
    pub fn new(rec: &mut Recorder, config: &ModelConfig, gradients: Gradients) -> Self {
        let (specs, rows): (Vec<_>, Vec<_>) =
            config.parameters().into_iter().flat_map(|spec| parts(&rec.profile, spec)).unzip();
        let mut places = vec![None; specs.len()];
        let mut groups = Vec::new();
        let mut together = members(rec, &specs);
        if gradients != Gradients::Persistent {
            together = together.into_iter().flatten().map(|member| vec![member]).collect();
        }
        for members in together {
            let first = &specs[members[0]];
            let (label, shape) = match members.len() {
                1 => (first.name.clone(), first.shape.clone()),
                n => (format!("{} and {} more", first.name, n - 1), [&[n], &first.shape[..]].concat()),
            };
            let weight = rec.persistent(Class::Parameters, DType::F32, label.clone(), &shape);
            let name = format!("gradient of {label}");
            let gradient = match gradients {
                Gradients::None => None,
                Gradients::Persistent => Some(rec.persistent(Class::Gradients, DType::F32, name, &shape)),
                Gradients::Transient => Some(rec.transient(Class::Gradients, DType::F32, name, &shape)),
            };
            for (at, &member) in members.iter().enumerate() {
                let of = |tensor: &Tensor| match members.len() {
                    1 => tensor.clone(),
                    _ => tensor.rows(at..at + 1).reshaped(&first.shape),
                };
                places[member] = Some((of(&weight), gradient.as_ref().map(of)));
            }
            groups.extend(gradient.map(|gradient| ParameterGroup { members, weight, gradient }));
        }
        let parameter = |((spec, rows), place): ((ParameterSpec, _), Option<(Tensor, Option<Tensor>)>)| {
            let (weight, gradient) = place.expect("a parameter is in a group");
            Parameter { spec, rows, weight, gradient }
        };
        let parameters = specs.into_iter().zip(rows).zip(places).map(parameter).collect();
        Self { config: config.clone(), parameters, groups }
    }

    /// Each parameter's parts, in the order of [`ModelConfig::parameters`].
    pub fn by_name(&self) -> impl Iterator<Item = &[Parameter]> {
        self.parameters.chunk_by(|a, b| a.spec.name == b.spec.name)
    }

    /// Writes the weights of all parameters, in the order of [`ModelConfig::parameters`]; missing ones are unchanged.
    pub fn write_weights<T: AsRef<[f32]>>(
        &self,
        gpu: &Gpu,
        workspace: &Workspace,
        weights: impl IntoIterator<Item = T>,
    ) {
        for (parts, values) in self.by_name().zip(weights) {
            workspace.write_all(gpu, parts.iter().map(|part| &part.weight), values.as_ref());
        }
    }

    /// What a run trains: the adapters if there are any, otherwise the whole model.
    pub fn trained(&self) -> impl Iterator<Item = &Parameter> {
        let adapters = self.config.adapter.is_some();
        self.parameters.iter().filter(move |parameter| (parameter.spec.role == Role::Adapter) == adapters)
    }
}

/// A parameter split by rows into as few parts as fit a binding, with the rows of each. All but the last have equal
/// sizes, and they start at tile boundaries of the products.
fn parts(profile: &Profile, spec: ParameterSpec) -> Vec<(ParameterSpec, Option<Range<usize>>)> {
    const STEP: usize = 128;
    let reach = profile.max_binding_bytes.min(profile.max_buffer_bytes);
    let bytes = spec.n_elements() as u64 * DType::F32.size();
    let &[rows, cols] = &spec.shape[..] else { return vec![(spec, None)] };
    if bytes <= reach || rows <= STEP {
        return vec![(spec, None)];
    }
    // Recorder::check_limits refuses rows that are too long for that.
    let most = (reach as usize / (cols * DType::F32.size() as usize) / STEP * STEP).max(STEP);
    let len = rows.div_ceil(rows.div_ceil(most)).next_multiple_of(STEP);
    let part = |start: usize| {
        let range = start..rows.min(start + len);
        (ParameterSpec { shape: vec![range.len(), cols], ..spec.clone() }, Some(range))
    };
    (0..rows).step_by(len).map(part).collect()
}

/// Which parameters can share a tensor, by index: those of one shape and role, as long as they fit a binding and each
/// starts at a valid binding offset.
fn members(rec: &Recorder, specs: &[ParameterSpec]) -> Vec<Vec<usize>> {
    let most = |spec: &ParameterSpec| {
        let bytes = spec.n_elements() as u64 * DType::F32.size();
        let reach = rec.profile.max_binding_bytes.min(rec.profile.max_buffer_bytes);
        if bytes.is_multiple_of(rec.profile.offset_alignment) { (reach / bytes).max(1) as usize } else { 1 }
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (number, spec) in specs.iter().enumerate() {
        let is_like = |group: &Vec<usize>| {
            let first = &specs[group[0]];
            (&first.shape, first.role) == (&spec.shape, spec.role) && group.len() < most(spec)
        };
        match groups.iter_mut().find(|group| is_like(group)) {
            Some(group) => group.push(number),
            None => groups.push(vec![number]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Profile;

    fn sizes(profile: &Profile, gradients: Gradients) -> Vec<usize> {
        let mut rec = Recorder::new(profile);
        let llama = Llama::new(&mut rec, &ModelConfig::preset("60m").unwrap(), gradients);
        let mut seen: Vec<usize> = llama.groups.iter().flat_map(|group| group.members.clone()).collect();
        seen.sort();
        if gradients != Gradients::None {
            assert_eq!(seen, (0..llama.parameters.len()).collect::<Vec<_>>());
        }
        for group in &llama.groups {
            for (at, &member) in group.members.iter().enumerate() {
                let Parameter { spec, weight, .. } = &llama.parameters[member];
                assert_eq!(weight.shape, spec.shape);
                let whole = [&[group.members.len()], &spec.shape[..]].concat();
                assert_eq!(*weight, group.weight.reshaped(&whole).rows(at..at + 1).reshaped(&spec.shape));
            }
        }
        llama.groups.iter().map(|group| group.members.len()).collect()
    }

    #[test]
    fn parameters_of_one_shape_and_role_lie_together_as_far_as_a_binding_reaches() {
        let mut profile = Profile::webgpu_default();
        // The embedding, the norms, q to o, gate and up, down, the head.
        assert_eq!(sizes(&profile, Gradients::Persistent), [1, 17, 32, 16, 8, 1]);
        assert_eq!(sizes(&profile, Gradients::Transient), [1; 75]);
        assert_eq!(sizes(&profile, Gradients::None), [0; 0]);
        // Norms start at multiples of 2048 bytes.
        profile.offset_alignment = 4096;
        let norms = sizes(&profile, Gradients::Persistent).iter().filter(|&&n| n == 1).count();
        assert_eq!(norms, 17 + 2);
        profile.max_binding_bytes = 9 * 512 * 512 * 4;
        assert_eq!(sizes(&profile, Gradients::Persistent).iter().filter(|&&n| n == 9).count(), 3);
    }

    #[test]
    fn a_matrix_beyond_a_binding_is_kept_in_as_few_parts_as_fit() {
        let rows_of = |shape: &[usize], max_binding_bytes| {
            let profile = Profile { max_binding_bytes, ..Profile::webgpu_default() };
            let spec = ParameterSpec { name: "w".into(), shape: shape.to_vec(), role: Role::Head };
            let parts = parts(&profile, spec);
            let mut next = 0;
            for (part, rows) in parts.iter().filter_map(|(part, rows)| Some((part, rows.clone()?))) {
                assert_eq!((rows.start, &part.shape[..]), (next, &[rows.len(), shape[1]][..]));
                next = rows.end;
            }
            assert!(parts.len() == 1 || next == shape[0]);
            parts.into_iter().map(|(part, _)| part.shape[0]).collect::<Vec<_>>()
        };
        const MIB: u64 = 1 << 20;
        assert_eq!(rows_of(&[32_000, 2048], 128 * MIB), [16_000; 2]);
        assert_eq!(rows_of(&[32_000, 2048], 250 * MIB), [32_000]);
        assert_eq!(rows_of(&[32_000, 2048], 250 * MIB - 1), [16_000; 2]);
        assert_eq!(rows_of(&[128_256, 2048], 128 * MIB), [&[16_128; 7][..], &[15_360]].concat());
        assert_eq!(rows_of(&[128_256, 2048], 1024 * MIB), [&[32_128; 3][..], &[31_872]].concat(), "buffers of 256 MiB");
        assert_eq!(rows_of(&[300, 128], 76 << 10), [128, 128, 44]);
        assert_eq!(rows_of(&[100, 128], 1 << 10), [100], "check_limits refuses it");
    }
}
