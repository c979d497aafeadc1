//! A dynamic loss scale (Micikevicius et al., 2018, arXiv 1710.03740, section 3.2).

/// The scale, and the counters that determine it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// The factor on gradients of activations.
    pub scale: f64,
    /// Good steps in a row since the scale last changed.
    pub good: u64,
    /// Number of skipped steps.
    pub skipped: u64,
}

impl LossScale {
    /// Updates the scale after a step: halved if its gradients overflowed, doubled after `growth` good steps, between
    /// `least` and `most`.
    pub fn after(self, overflowed: bool, growth: u64, [least, most]: [f64; 2]) -> Self {
        let Self { scale, good, skipped } = self;
        match overflowed {
            true => Self { scale: (scale / 2.0).max(least), good: 0, skipped: skipped + 1 },
            false if good + 1 == growth => Self { scale: (scale * 2.0).min(most), good: 0, skipped },
            false => Self { scale, good: good + 1, skipped },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_doubles_and_stays_within_its_bounds() {
        let mut scale = LossScale { scale: 4.0, good: 0, skipped: 0 };
        let mut seen = Vec::new();
        for overflowed in [false, false, true, true, true, true, false, false, false] {
            scale = scale.after(overflowed, 2, [1.0, 8.0]);
            seen.push(scale.scale);
        }
        assert_eq!(seen, [4.0, 8.0, 4.0, 2.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(scale, LossScale { scale: 2.0, good: 1, skipped: 4 });
    }
}
