//! Axes: scale, range and ticks.

/// Scale of an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Linear.
    Linear,
    /// Linear with ticks at integers only, for counts.
    Whole,
    /// Logarithmic; values that are not positive are left out.
    Log,
}

impl Scale {
    /// Logarithmic if `log`, else linear.
    pub fn log_if(log: bool) -> Self {
        if log { Self::Log } else { Self::Linear }
    }

    /// Position of a value along the axis; `None` if it cannot be shown.
    pub(super) fn place(self, value: f64) -> Option<f64> {
        match self {
            Self::Log => (value > 0.0 && value.is_finite()).then(|| value.log10()),
            _ => value.is_finite().then_some(value),
        }
    }

    pub(super) fn value(self, place: f64) -> f64 {
        if self == Self::Log { 10f64.powf(place) } else { place }
    }
}

/// One axis.
#[derive(Clone, Copy)]
pub struct Axis<'a> {
    /// What it measures, with its unit.
    pub label: &'a str,
    /// Its scale.
    pub scale: Scale,
    /// Lower and upper end; `None` to fit the data.
    pub range: Option<[f64; 2]>,
}

impl<'a> Axis<'a> {
    /// An axis that fits the data.
    pub fn new(label: &'a str, scale: Scale) -> Self {
        Self { label, scale, range: None }
    }
}

/// Both ends of an axis as positions. If fitted to the data, with `margin` on each side as a share of the length.
pub(super) fn range(axis: Axis<'_>, values: impl Iterator<Item = f64>, margin: f64) -> [f64; 2] {
    if let Some([from, to]) = axis.range {
        return [from, to].map(|value| axis.scale.place(value).unwrap_or(0.0));
    }
    let places = values.filter_map(|value| axis.scale.place(value));
    let [from, to] = places.fold([f64::INFINITY, f64::NEG_INFINITY], |[from, to], at| [from.min(at), to.max(at)]);
    if from > to {
        return if axis.scale == Scale::Log { [-1.0, 0.0] } else { [0.0, 1.0] };
    }
    // A single value goes in the middle.
    let half = if to > from { margin * (to - from) } else { 0.5f64.max(0.1 * to.abs()) };
    [from - half, to + half]
}

/// Tick values with their labels. The range is in positions; `length` and the minimum distance `apart` are in screen
/// points.
pub(super) fn ticks(scale: Scale, [from, to]: [f64; 2], length: f32, apart: f32) -> Vec<(f64, String)> {
    let most = f64::from((length / apart).max(2.0));
    if scale == Scale::Log && to - from >= 1.0 {
        let stride = ((to - from) / most).ceil().max(1.0);
        let mut all: Vec<(f64, String)> = multiples(stride, from, to).map(|at| (10f64.powf(at), power(at))).collect();
        if to - from <= 2.2 {
            let decades = (from.floor() as i32..=to.ceil() as i32).flat_map(|at| [2.0, 5.0].map(|x| (at, x)));
            let between = decades.map(|(at, times)| times * 10f64.powi(at));
            all.extend(between.filter(|x| (from..=to).contains(&x.log10())).map(|value| (value, short(value))));
            all.sort_by(|one, other| one.0.total_cmp(&other.0));
        }
        return all;
    }
    // Within one power of ten a logarithmic axis gets the ticks of a linear one.
    let [low, high] = [from, to].map(|place| scale.value(place));
    let rough = ((high - low) / most).max(f64::MIN_POSITIVE);
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * decade).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(rough);
    let step = if scale == Scale::Whole { step.max(1.0).ceil() } else { step };
    // As many digits as it takes to tell neighbouring ticks apart.
    let (largest, place) = (low.abs().max(high.abs()), step.log10().floor());
    let words = |value: f64| match value {
        0.0 => "0".to_owned(),
        _ if (1e-3..1e6).contains(&largest) => format!("{value:.*}", (-place).clamp(0.0, 12.0) as usize),
        _ => format!("{value:.*e}", (value.abs().log10().floor() - place).clamp(0.0, 12.0) as usize),
    };
    multiples(step, low, high).map(|value| (value, words(value))).collect()
}

/// Multiples of `step` in a range.
fn multiples(step: f64, from: f64, to: f64) -> impl Iterator<Item = f64> {
    let slack = 1e-9 * (to - from).abs();
    let (first, last) = (((from - slack) / step).ceil() as i64, ((to + slack) / step).floor() as i64);
    (first..=last.min(first + 1000)).map(move |count| count as f64 * step)
}

/// A short label for a power of ten.
fn power(exponent: f64) -> String {
    if (-3.0..=4.0).contains(&exponent) { short(10f64.powf(exponent)) } else { format!("1e{exponent}") }
}

/// At most four significant digits: `1.234`, `0.0123`, `1.2e-5`, `6.14e5`.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e5).contains(&size) {
        let words = format!("{value:.2e}");
        return match words.split_once('e') {
            Some((digits, power)) if digits.contains('.') => {
                format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'))
            }
            _ => words,
        };
    }
    let digits = (3 - size.log10().floor() as i64).clamp(0, 6) as usize;
    let words = format!("{value:.digits$}");
    if words.contains('.') { words.trim_end_matches('0').trim_end_matches('.').to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let words = [0.0, 1.0, 0.02, 1234.0, 614_400.0, 1.2345e-7, -3.98765, 0.5, f64::INFINITY].map(short);
        assert_eq!(words, ["0", "1", "0.02", "1234", "6.14e5", "1.23e-7", "-3.988", "0.5", "inf"]);
    }

    #[test]
    fn every_axis_has_ticks_that_are_in_sight_and_tell_apart() {
        let cases = [
            (Scale::Linear, [0.0, 1.0]),
            (Scale::Linear, [5.5234, 5.5311]),
            (Scale::Linear, [-3.0, 1e7]),
            (Scale::Whole, [0.0, 3.0]),
            (Scale::Whole, [0.0, 4000.0]),
            (Scale::Log, [-7.0, 0.5]),
            (Scale::Log, [0.1, 0.4]),
            (Scale::Log, [-0.4, 1.3]),
            (Scale::Log, [-300.0, 12.0]),
        ];
        for (scale, range) in cases {
            for length in [90.0, 300.0, 1400.0] {
                let found = ticks(scale, range, length, 44.0);
                assert!((1..=40).contains(&found.len()), "{scale:?} {range:?} {length}: {found:?}");
                assert!(found.len() as f32 <= length / 22.0 + 2.0, "crowded: {scale:?} {range:?} {length}: {found:?}");
                for pair in found.windows(2) {
                    assert!(pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1, "{scale:?} {range:?}: {pair:?}");
                }
                for (value, words) in &found {
                    let place = scale.place(*value).unwrap();
                    assert!(place >= range[0] - 1e-6 && place <= range[1] + 1e-6, "{words}");
                    assert!(scale != Scale::Whole || !words.contains('.'), "{words}");
                }
            }
        }
    }
}
