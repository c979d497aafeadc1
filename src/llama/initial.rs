//! Initial weights, drawn on the CPU so that every adapter starts from the same bits.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};

use crate::settings::{ModelConfig, ParameterSpec, Role, TensorTrain};

/// The initial values of one parameter: ones for norms, zeros for biases, else normal with standard deviation `initializer_range`.
///
/// Each parameter has a random stream of its own, so that adding one changes no other.
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

/// As the authors of AdaZeta begin: a train whose matrix has variance 1/(in + out), each core an equal part of it, and a bias
/// between ±1/√out. But what is added begins at 0, in the last core and the bias on the way up: a run begins with the model
/// as it is.
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
