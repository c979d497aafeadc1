//! What passes do to a matrix, in numbers: norms, angles, singular values and the rate of convergence.
//!
//! Plain code on the CPU in f64, for matrices that a device computed in f32 or that come from anywhere else.
//!
//! ```
//! use multinorm::spectrum::{effective_rank, singular_values};
//!
//! let sigma = singular_values(&[3.0, 0.0, 4.0, 5.0], 2, 2);
//! assert!((sigma[0] - 45f64.sqrt()).abs() < 1e-12 && (sigma[1] - 5f64.sqrt()).abs() < 1e-12);
//! assert!(effective_rank(&sigma) < 2.0);
//! ```

mod balance;
mod convergence;
mod limit;
mod newton_schulz;
mod picture;
mod quantities;
mod rate;
mod rate_map;
mod singular;

pub use balance::Balance;
pub use convergence::{Convergence, converge};
pub use newton_schulz::{Arithmetic, newton_schulz_path};
pub use picture::BalancePicture;
pub(crate) use quantities::spread;
pub use quantities::{Quantities, Spectrum, rms};
pub use rate::{NOISE_FLOOR, observed_rate, predicted_rate};
pub use rate_map::{Cell, Map, Synthetic, rate_of_independent, rate_of_rank, synthetic, with_heaviness};
pub use singular::{effective_rank, map_singular_values, singular_direction, singular_values};
