//! Range checks shared by settings. All reject NaN.

use crate::{Error, Result};

pub(crate) fn positive(key: &str, value: f64) -> Result<()> {
    check(value > 0.0 && value.is_finite(), key, "must be finite and above 0", value)
}

pub(crate) fn not_negative(key: &str, value: f64) -> Result<()> {
    check(value >= 0.0 && value.is_finite(), key, "must be finite and at least 0", value)
}

pub(crate) fn from_0_to_1(key: &str, value: f64) -> Result<()> {
    check((0.0..=1.0).contains(&value), key, "must lie between 0 and 1", value)
}

pub(crate) fn from_0_below_1(key: &str, value: f64) -> Result<()> {
    check((0.0..1.0).contains(&value), key, "must be at least 0 and below 1", value)
}

pub(crate) fn between_0_and_1(key: &str, value: f64) -> Result<()> {
    check(value > 0.0 && value < 1.0, key, "must be above 0 and below 1", value)
}

pub(crate) fn at_least_1(key: &str, value: u64) -> Result<()> {
    if value >= 1 { Ok(()) } else { Err(Error::config(key, "must be at least 1, got 0")) }
}

pub(crate) fn above_1(key: &str, value: f64) -> Result<()> {
    check(value > 1.0 && value.is_finite(), key, "must be finite and above 1", value)
}

/// Each iteration is recorded separately, and what has not converged after a thousand will not.
pub(crate) fn iterations(key: &str, value: u32) -> Result<()> {
    const MOST: u32 = 1000;
    at_least_1(key, value.into())?;
    if value <= MOST { Ok(()) } else { Err(Error::config(key, format!("must be at most {MOST}, got {value}"))) }
}

/// TOML's integers are signed, so a larger one could not be written to a run's config.toml.
pub(crate) fn fits_toml(key: &str, value: u64) -> Result<()> {
    let fits = i64::try_from(value).is_ok();
    if fits { Ok(()) } else { Err(Error::config(key, format!("must be at most {}, got {value}", i64::MAX))) }
}

fn check(holds: bool, key: &str, rule: &str, value: f64) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::config(key, format!("{rule}, got {value}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Range = fn(&str, f64) -> Result<()>;

    #[test]
    fn ranges_hold_at_their_ends() {
        let cases: [(&str, Range, &[f64], &[f64]); 6] = [
            ("above_1", above_1, &[1.0001, 1e9], &[1.0, 0.5]),
            ("positive", positive, &[1e-300, 1e9], &[0.0, -1.0]),
            ("not_negative", not_negative, &[0.0, 1e9], &[-1e-9]),
            ("from_0_to_1", from_0_to_1, &[0.0, 1.0], &[-1e-9, 1.1]),
            ("from_0_below_1", from_0_below_1, &[0.0, 0.999], &[-1e-9, 1.0]),
            ("between_0_and_1", between_0_and_1, &[1e-9, 0.999], &[0.0, 1.0]),
        ];
        for (name, range, good, bad) in cases {
            good.iter().for_each(|&x| assert!(range("k", x).is_ok(), "{name} refused {x}"));
            let never = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            bad.iter().chain(&never).for_each(|&x| assert!(range("k", x).is_err(), "{name} took {x}"));
        }
        assert!(at_least_1("k", 1).is_ok() && at_least_1("k", 0).is_err());
        assert!(fits_toml("k", i64::MAX as u64).is_ok() && fits_toml("k", u64::MAX).is_err());
    }
}
