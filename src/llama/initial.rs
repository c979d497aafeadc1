//! Initial weights, drawn on the CPU so that they are bit-identical on every adapter.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};

use crate::settings::{ModelConfig, ParameterSpec, Role, TensorTrain};

/// The initial values of a parameter: ones for norms, zeros for biases, otherwise normal with standard deviation
/// `initializer_range`.
///
/// Each parameter has its own random stream, so that adding one does not change the others.
pub fn initial_values(config: &ModelConfig, spec: &ParameterSpec, seed: u64) -> Vec<f32> {
    match spec.role {
        Role::Norm => return vec![1.0; spec.n_elements()],
        Role::Bias => return vec![0.0; spec.n_elements()],
        _ => {}
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream(&spec.name));
    if let Some(adapter) = config.adapter.filter(|_| spec.role == Role::Adapter) {
        return initial_adapter(&adapter.trains(config.hidden_size), spec, &mut rng);
    }
    let normal = Normal::new(0.0, config.initializer_range).expect("validated: finite and not negative");
    (0..spec.n_elements()).map(|_| normal.sample(&mut rng) as f32).collect()
}

/// Follows AdaZeta's authors: the train's matrix has variance 1/(in + out), spread evenly over the cores, and the bias
/// is uniform within ±1/√out. But the last core and the bias of the up projection start at 0, so that a run starts with
/// the unchanged model.
fn initial_adapter([down, up]: &[TensorTrain; 2], spec: &ParameterSpec, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let goes_up = spec.name.contains(".adapter.up.");
    let train = if goes_up { up } else { down };
    let n = spec.n_elements();
    let &[_, _, rank] = &spec.shape[..] else {
        let bound = if goes_up { 0.0 } else { 1.0 / (train.outputs() as f64).sqrt() };
        let uniform = Uniform::new_inclusive(-bound, bound).expect("an interval");
        return (0..n).map(|_| uniform.sample(rng) as f32).collect();
    };
    if goes_up && spec.name.ends_with(&format!(".cores.{}", TensorTrain::CORES - 1)) {
        return vec![0.0; n];
    }
    let variance = 1.0 / (train.inputs() + train.outputs()) as f64;
    let deviation = (variance.powf(1.0 / TensorTrain::CORES as f64) / rank as f64).sqrt();
    let normal = Normal::new(0.0, deviation).expect("finite and not negative");
    (0..n).map(|_| normal.sample(rng) as f32).collect()
}

/// FNV-1a of a parameter's name.
fn stream(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
