//! Initial weights, drawn on the CPU so that every adapter starts from the same bits.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use crate::config::{ModelConfig, ParameterSpec, Role};

/// The initial values of one parameter: ones for norms, else normal with standard deviation `initializer_range`.
///
/// Each parameter has a random stream of its own, so that adding one changes no other.
pub fn initial_values(config: &ModelConfig, spec: &ParameterSpec, seed: u64) -> Vec<f32> {
    if spec.role == Role::Norm {
        return vec![1.0; spec.n_elements()];
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream(&spec.name));
    let normal = Normal::new(0.0, config.initializer_range).expect("validated: finite and not negative");
    (0..spec.n_elements()).map(|_| normal.sample(&mut rng) as f32).collect()
}

/// FNV-1a of a parameter's name.
fn stream(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
