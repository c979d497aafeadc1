//! The parameter table: Hugging Face's names, roles, weights and gradients.

use crate::gpu::{Class, DType, Recorder, Tensor};
use crate::settings::{ModelConfig, ParameterSpec, Role};

/// One parameter: what it is, its weight and, where it is trained, its gradient.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name, shape and role.
    pub spec: ParameterSpec,
    /// The weight.
    pub weight: Tensor,
    gradient: Option<Tensor>,
}

impl Parameter {
    /// The gradient. Panics in a model that was made without gradients.
    pub fn gradient(&self) -> &Tensor {
        self.gradient.as_ref().unwrap_or_else(|| panic!("{} has no gradient", self.spec.name))
    }
}

/// What becomes of gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradients {
    /// There are none: the model is not trained, or not by gradients.
    None,
    /// Each is there from one replay to the next.
    Kept,
    /// Each lives until its update, inside the backward pass; they share memory.
    Passing,
}

/// A LLaMA in a recorder.
pub struct Llama {
    /// Its sizes.
    pub config: ModelConfig,
    /// Its parameters, in the order of [`ModelConfig::parameters`].
    pub parameters: Vec<Parameter>,
    /// What can be updated together: every parameter with a gradient is in one of these. Their order does not depend on what
    /// becomes of gradients.
    pub groups: Vec<ParameterGroup>,
}

/// Parameters of one shape and role whose weights lie one after the other in one tensor, and so do their gradients.
#[derive(Clone, Debug)]
pub struct ParameterGroup {
    /// Their numbers in [`Llama::parameters`], rising.
    pub members: Vec<usize>,
    /// `[members, …]`, or that of the only member.
    pub weight: Tensor,
    /// The same of the gradients.
    pub gradient: Tensor,
}

impl Llama {
    /// Tensors for the weights and, if it is to be trained, their gradients.
    pub fn new(rec: &mut Recorder, config: &ModelConfig, gradients: Gradients) -> Self {
        let specs = config.parameters();
        let mut places = vec![None; specs.len()];
        let mut groups = Vec::new();
        let mut together = members(rec, &specs);
        if gradients != Gradients::Kept {
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
                Gradients::Kept => Some(rec.persistent(Class::Gradients, DType::F32, name, &shape)),
                Gradients::Passing => Some(rec.transient(Class::Gradients, DType::F32, name, &shape)),
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
        let parameter = |(spec, place): (ParameterSpec, Option<(Tensor, Option<Tensor>)>)| {
            let (weight, gradient) = place.expect("a parameter is in a group");
            Parameter { spec, weight, gradient }
        };
        let parameters = specs.into_iter().zip(places).map(parameter).collect();
        Self { config: config.clone(), parameters, groups }
    }

    /// What a run trains: the adapters where there are any, else the whole model.
    pub fn trained(&self) -> impl Iterator<Item = &Parameter> {
        let adapters = self.config.adapter.is_some();
        self.parameters.iter().filter(move |parameter| (parameter.spec.role == Role::Adapter) == adapters)
    }
}

/// Which parameters can lie in one tensor, by number: those of one shape and role, as far as a binding reaches and where each
/// begins where a binding may.
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
        assert_eq!(sizes(&profile, Gradients::Kept), [1, 17, 32, 16, 8, 1]);
        assert_eq!(sizes(&profile, Gradients::Passing), [1; 75]);
        assert_eq!(sizes(&profile, Gradients::None), [0; 0]);
        // Norms begin at multiples of 2048 bytes.
        profile.offset_alignment = 4096;
        let norms = sizes(&profile, Gradients::Kept).iter().filter(|&&n| n == 1).count();
        assert_eq!(norms, 17 + 2);
        profile.max_binding_bytes = 9 * 512 * 512 * 4;
        assert_eq!(sizes(&profile, Gradients::Kept).iter().filter(|&&n| n == 9).count(), 3);
    }
}
