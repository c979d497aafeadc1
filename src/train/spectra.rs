//! What an optimizer's passes do to a sampled gradient, singular value by singular value.
//!
//! The CPU repeats the passes in f64, from the gradient and state that the device had; the kernel tests verify that the
//! device does the same. So a run waits only for the copy of the samples.

use std::borrow::Cow;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::samples::GradientSample;
use crate::config::{MomentumPlacement, Pass, PassProgram, Rule};
use crate::normalize::Entry;
use crate::optim::{SeenStep, reference_pass, sequence};
use crate::reference::passes::{column_norms, drop_rows, row_norms};
use crate::spectrum::{
    Balance, BalancePicture, Convergence, Quantities, Spectrum, converge, map_singular_values, observed_rate, spread,
};

/// One line of a run's spectra.jsonl.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpectrumRecord {
    /// After this step, counted from 1.
    pub step: u64,
    /// Hugging Face's name.
    pub parameter: String,
    /// [m, n].
    pub shape: [usize; 2],
    /// The gradient, then every pass; a momentum is a separate entry, and so is a rule that is not a list of passes.
    pub passes: Vec<Entry>,
}

/// A sample followed through its rule, with everything a panel shows about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Followed {
    /// The gradient, then every pass.
    pub record: SpectrumRecord,
    /// The factor by which an iteration shrinks a small deviation ([`Balance::rate_of`]), for the matrix that enters
    /// the passes; `None` if they are not lists of rows and columns, or if there is no limit.
    pub rate_predicted: Option<f64>,
    /// See [`observed_rate`]; computed in f64, as far as f32 matrices allow.
    pub rate_observed: Option<f64>,
    /// The iteration continued beyond the optimizer's own rounds, from the matrix that enters the passes: after a
    /// preceding momentum, and without the rows that the optimizer drops. `None` if its passes do more than scale rows
    /// and columns, or if no matrix was kept.
    pub convergence: Option<Convergence>,
    /// Where row and column passes converge from the gradient; `None` if there is no limit, or if no matrix was kept.
    /// Its squares are transferred separately.
    pub balance: Option<BalancePicture>,
    /// The lengths at each entry of the record; empty if no matrix was kept. They are transferred to a panel
    /// separately, as [`Frame::lengths`].
    #[serde(skip)]
    pub frames: Vec<Frame>,
    /// Pictures of X at each entry, concatenated, each of [`thumbnail_shape`]; transferred separately, as bytes.
    #[serde(skip)]
    pub thumbnails: Vec<i8>,
}

/// The lengths of the rows and columns of a matrix X (m×n).
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// ‖row‖/√n, `[m]`.
    pub rows: Vec<f32>,
    /// ‖column‖/√m, `[n]`.
    pub columns: Vec<f32>,
}

impl Frame {
    fn of(x: &[f64], [m, n]: [usize; 2]) -> Self {
        let over = |norms: Vec<f64>, target: f64| norms.into_iter().map(|norm| (norm / target) as f32).collect();
        Self {
            rows: over(row_norms(x, m, n), (n as f64).sqrt()),
            columns: over(column_norms(x, m, n), (m as f64).sqrt()),
        }
    }

    /// How far the less equal side is from equal lengths: the larger of [`Quantities::row_spread`] and
    /// [`Quantities::column_spread`].
    pub fn deviation(&self) -> f64 {
        let squares =
            |lengths: &[f32]| -> Vec<f64> { lengths.iter().map(|&length| f64::from(length).powi(2)).collect() };
        spread(&squares(&self.rows)).max(spread(&squares(&self.columns)))
    }

    /// The numbers of all frames, concatenated: rows, then columns.
    pub fn lengths(frames: &[Self]) -> Vec<f32> {
        frames.iter().flat_map(|frame| [&frame.rows[..], &frame.columns]).flatten().copied().collect()
    }

    /// The frames of matrices `[m, n]` from [`Frame::lengths`].
    pub fn from_lengths(lengths: &[f32], [m, n]: [usize; 2]) -> Vec<Self> {
        let frame = |of: &[f32]| Self { rows: of[..m].to_vec(), columns: of[m..].to_vec() };
        lengths.chunks_exact(m + n).map(frame).collect()
    }
}

/// Rounds for which to follow the iteration, wherever the optimizer stops.
const ROUNDS: usize = 100;
/// Most rows and columns of a thumbnail.
const THUMBNAIL: usize = 96;
/// An entry of this many root mean squares of its matrix is ±127 in a thumbnail; larger ones are clipped.
pub const THUMBNAIL_LIMIT: f32 = 3.0;

/// Rows and columns of the thumbnails of a matrix `[m, n]`.
pub fn thumbnail_shape(shape: [usize; 2]) -> [usize; 2] {
    shape.map(|size| size.min(THUMBNAIL))
}

/// x `[m, n]` as a small picture of [`thumbnail_shape`]: the entry of largest magnitude of each block, where ±127
/// represents ±[`THUMBNAIL_LIMIT`] root mean squares of x.
fn thumbnail(x: &[f64], shape @ [m, n]: [usize; 2]) -> Vec<i8> {
    let [height, width] = thumbnail_shape(shape);
    let mut largest = vec![0.0_f64; height * width];
    for (row, values) in x.chunks_exact(n).enumerate() {
        let line = &mut largest[row * height / m * width..][..width];
        for (column, value) in values.iter().enumerate() {
            let pixel = &mut line[column * width / n];
            if value.abs() > pixel.abs() {
                *pixel = *value;
            }
        }
    }
    let rms = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt();
    let full = if rms > 0.0 { 127.0 / (f64::from(THUMBNAIL_LIMIT) * rms) } else { 0.0 };
    largest.into_iter().map(|x| (x * full).round().clamp(-127.0, 127.0) as i8).collect()
}

impl Followed {
    /// Computes one singular value decomposition per pass, like [`SpectrumRecord::of`].
    pub fn of(sample: &GradientSample) -> Self {
        Self::along(sample, RecordBuilder::with_spectra(sample))
    }

    /// The same without singular values: for a large matrix this takes seconds instead of a minute.
    pub fn without_spectra(sample: &GradientSample) -> Self {
        Self::along(sample, RecordBuilder { spectrum: |_, _| None, ..RecordBuilder::with_spectra(sample) })
    }

    fn along(sample: &GradientSample, mut builder: RecordBuilder<'_>) -> Self {
        let (mut frames, mut thumbnails) = (Vec::new(), Vec::new());
        walk(sample, |stop| {
            frames.push(Frame::of(stop.x, sample.shape));
            thumbnails.extend(thumbnail(stop.x, sample.shape));
            builder.push(&stop);
            ControlFlow::Continue(())
        });
        let balance = Balance::of(&sample.gradient, sample.shape);
        let mut followed = Self { frames, thumbnails, ..Self::from(builder.finish(sample)) };
        if let Rule::Passes(program) = &sample.rule {
            followed.predict(program, sample, balance.as_ref());
        }
        Self { balance: balance.map(BalancePicture::from), ..followed }
    }

    /// `balance` is that of the gradient.
    fn predict(&mut self, program: &PassProgram, sample: &GradientSample, balance: Option<&Balance>) {
        let ends: Vec<&Quantities> = (1..=program.iterations)
            .filter_map(|iteration| {
                self.record.passes.iter().rfind(|entry| entry.iteration == iteration && entry.pass != MOMENTUM)
            })
            .map(|entry| &entry.quantities)
            .collect();
        self.rate_observed = observed_rate(&ends, &program.passes);
        let scales = |pass: &Pass| matches!(pass, Pass::Row | Pass::Column | Pass::Frobenius | Pass::Max);
        if !program.passes.iter().all(scales) {
            return;
        }
        let entering = entering(program, sample);
        let own = match &entering {
            Cow::Borrowed(_) => None,
            Cow::Owned(x) => Some(Balance::of(x, sample.shape)),
        };
        let balance = own.as_ref().map_or(balance, Option::as_ref);
        self.rate_predicted = balance.and_then(|balance| balance.rate_of(&program.passes));
        self.convergence = converge(&entering, sample.shape, &program.passes, ROUNDS, balance);
    }
}

/// What a line of an earlier run's spectra.jsonl still tells: the matrix was not kept, so there are no rates.
impl From<SpectrumRecord> for Followed {
    fn from(record: SpectrumRecord) -> Self {
        Self {
            record,
            rate_predicted: None,
            rate_observed: None,
            convergence: None,
            balance: None,
            frames: Vec::new(),
            thumbnails: Vec::new(),
        }
    }
}

/// X after a pass, with its quantities.
#[derive(Clone, Debug, PartialEq)]
pub struct PassSeen {
    /// The pass, and the quantities after it.
    pub entry: Entry,
    /// X, `[m, n]`.
    pub x: Vec<f64>,
    /// The lengths of its rows and columns.
    pub frame: Frame,
}

/// The gradient `[m, n]` itself, then X after each of `passes`, computed in f64 on the CPU; for matrices small enough
/// to look at.
///
/// # Panics
/// If the matrix is empty, or its length is not m·n.
pub fn follow_passes(gradient: &[f32], shape: [usize; 2], passes: &[Pass]) -> Vec<PassSeen> {
    let mut builder = RecordBuilder::new(gradient, shape);
    let mut see = |name: &str, iteration: u32, x: &[f64]| {
        let entry = builder.push(&Stop { name, iteration, x }).clone();
        PassSeen { entry, x: x.to_vec(), frame: Frame::of(x, shape) }
    };
    let mut seen = vec![see("gradient", 0, &widen(gradient))];
    for (at, pass) in passes.iter().enumerate() {
        let x = after(*pass, &seen[at].x, shape);
        seen.push(see(&pass.to_string(), at as u32 + 1, &x));
    }
    seen
}

impl SpectrumRecord {
    /// Follows a sample through its rule. Computes one singular value decomposition per pass: O(m·n·min(m, n)) each.
    pub fn of(sample: &GradientSample) -> Self {
        let mut builder = RecordBuilder::with_spectra(sample);
        walk(sample, |stop| {
            builder.push(&stop);
            ControlFlow::Continue(())
        });
        builder.finish(sample)
    }

    /// How often the list of passes ran.
    pub fn rounds(&self) -> usize {
        let passes = self.passes.iter().filter(|entry| entry.pass != MOMENTUM);
        passes.map(|entry| entry.iteration as usize).max().unwrap_or(0)
    }

    /// Number of entries between the gradient and the first pass: 1 with a momentum before the passes, otherwise 0.
    pub fn steps_before_passes(&self) -> usize {
        self.passes.iter().skip(1).take_while(|entry| entry.iteration == 0).count()
    }
}

/// Builds a record's entries.
struct RecordBuilder<'a> {
    gradient: &'a [f32],
    shape: [usize; 2],
    spectrum: fn(&[f32], [usize; 2]) -> Option<Spectrum>,
    entries: Vec<Entry>,
    /// X at the last entry.
    narrow: Vec<f32>,
}

impl<'a> RecordBuilder<'a> {
    fn new(gradient: &'a [f32], shape: [usize; 2]) -> Self {
        let spectrum = |x: &[f32], shape| Some(Spectrum::of(x, shape));
        Self { gradient, shape, spectrum, entries: Vec::new(), narrow: Vec::new() }
    }

    fn with_spectra(sample: &'a GradientSample) -> Self {
        Self::new(&sample.gradient, sample.shape)
    }

    fn push(&mut self, stop: &Stop<'_>) -> &Entry {
        let before = std::mem::replace(&mut self.narrow, narrow(stop.x));
        let previous = (!self.entries.is_empty()).then_some(&before[..]);
        let mut quantities = Quantities::of(&self.narrow, self.shape, previous, self.gradient);
        quantities.spectrum = (self.spectrum)(&self.narrow, self.shape);
        self.entries.push(Entry { pass: stop.name.to_owned(), iteration: stop.iteration, quantities });
        self.entries.last().expect("just pushed")
    }

    fn finish(self, sample: &GradientSample) -> SpectrumRecord {
        let GradientSample { step, parameter, shape, .. } = sample;
        SpectrumRecord { step: *step, parameter: parameter.clone(), shape: *shape, passes: self.entries }
    }
}

/// The entry of a momentum.
const MOMENTUM: &str = "momentum";

/// A point in a matrix's path through a rule: the gradient itself, or after a pass, a momentum, or a whole step.
pub(super) struct Stop<'a> {
    name: &'a str,
    iteration: u32,
    /// X, `[m, n]`.
    x: &'a [f64],
}

/// Follows a sample through its rule, and calls `look` with the gradient and then with X after every half-step until it
/// breaks; returns the last X.
pub(super) fn walk(sample: &GradientSample, mut look: impl FnMut(Stop<'_>) -> ControlFlow<()>) -> Vec<f64> {
    let [m, n] = sample.shape;
    assert_eq!(sample.gradient.len(), m * n, "a matrix {m}×{n}");
    let mut x = widen(&sample.gradient);
    let show = |name: &str, iteration, x: &[f64]| look(Stop { name, iteration, x });
    // Whether or not it broke, x is where the walk ended.
    let _ = walk_on(sample, &mut x, show);
    x
}

fn walk_on(
    sample: &GradientSample,
    x: &mut Vec<f64>,
    mut show: impl FnMut(&str, u32, &[f64]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    show("gradient", 0, x)?;
    let Rule::Passes(program) = &sample.rule else {
        let GradientSample { step: number, gradient, clip, states, .. } = sample;
        let seen = SeenStep { number: *number, gradient, clip: *clip, states };
        if let Some((name, step)) = sample.rule.seen_step(&seen) {
            *x = step;
            show(name, 1, x)?;
        }
        return ControlFlow::Continue(());
    };
    if let Some(averaged) = averaged_before(program, sample) {
        *x = averaged;
        show(MOMENTUM, 0, x)?;
    }
    drop_small_rows(program, x, sample.shape);
    for iteration in 1..=program.iterations {
        let before = x.clone();
        for pass in &program.passes {
            *x = after(*pass, x, sample.shape);
            show(&pass.to_string(), iteration, x)?;
        }
        if iteration > 1 && program.tolerance > 0.0 && change(x, &before) <= program.tolerance {
            break;
        }
    }
    if let Some(averaged) = averaged_after(program, sample, x) {
        *x = averaged;
        show(MOMENTUM, program.iterations, x)?;
    }
    ControlFlow::Continue(())
}

/// The matrix that enters a program's passes: the gradient itself, or the result of a momentum and a row threshold.
fn entering<'a>(program: &PassProgram, sample: &'a GradientSample) -> Cow<'a, [f32]> {
    let averaged = averaged_before(program, sample);
    if averaged.is_none() && program.row_threshold == 0.0 {
        return Cow::Borrowed(&sample.gradient);
    }
    let mut x = averaged.unwrap_or_else(|| widen(&sample.gradient));
    drop_small_rows(program, &mut x, sample.shape);
    Cow::Owned(narrow(&x))
}

/// What a momentum before the passes hands to them; `None` without one.
fn averaged_before(program: &PassProgram, sample: &GradientSample) -> Option<Vec<f64>> {
    let buffer = sample.states.first().filter(|_| program.momentum_placement == MomentumPlacement::Before)?;
    let rest = (1.0 - program.momentum) * f64::from(sample.clip);
    let ahead = |(m, g): (&f32, &f32)| match program.nesterov {
        true => program.momentum * f64::from(*m) + rest * f64::from(*g),
        false => f64::from(*m),
    };
    Some(buffer.iter().zip(&sample.gradient).map(ahead).collect())
}

/// What a momentum after the passes makes of x; `None` without one.
fn averaged_after(program: &PassProgram, sample: &GradientSample, x: &[f64]) -> Option<Vec<f64>> {
    let buffer = sample.states.first().filter(|_| program.momentum_placement == MomentumPlacement::After)?;
    let ahead = |(m, x): (&f32, &f64)| match program.nesterov {
        true => program.momentum * f64::from(*m) + (1.0 - program.momentum) * x,
        false => f64::from(*m),
    };
    Some(buffer.iter().zip(x).map(ahead).collect())
}

fn drop_small_rows(program: &PassProgram, x: &mut Vec<f64>, [m, n]: [usize; 2]) {
    if program.row_threshold > 0.0 {
        *x = drop_rows(x, m, n, program.row_threshold);
    }
}

fn after(pass: Pass, x: &[f64], shape @ [m, n]: [usize; 2]) -> Vec<f64> {
    let Pass::Spectral(kind) = pass else { return reference_pass(pass, x, shape) };
    // Newton–Schulz applies a polynomial to every singular value, so one decomposition and one product give the same
    // result.
    let (steps, norm) = (kind.steps as usize, x.iter().map(|x| x * x).sum::<f64>().sqrt());
    if norm == 0.0 {
        return x.to_vec();
    }
    let target = (m.max(n) as f64).sqrt();
    map_singular_values(x, m, n, |sigma| target * sequence(kind.variant).of_value(sigma / norm, steps))
}

fn change(x: &[f64], before: &[f64]) -> f64 {
    (x.iter().zip(before).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / x.len() as f64).sqrt()
}

fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

/// Rounds to f32, as a device would store it.
pub(super) fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OptimizerConfig;

    fn sample(rule: &Rule, n_states: usize) -> GradientSample {
        let shape @ [m, n] = [5, 8];
        let wave = |seed: f32| (0..m * n).map(|i| (i as f32 * seed).sin() + 0.1).collect::<Vec<f32>>();
        let states = (0..n_states).map(|state| wave(0.7 + state as f32).iter().map(|x| x.abs()).collect()).collect();
        let (gradient, rule) = (wave(1.3), rule.clone());
        GradientSample { step: 3, parameter: "w".into(), shape, rule, gradient, clip: 0.5, states }
    }

    fn passes(record: &SpectrumRecord) -> Vec<&str> {
        record.passes.iter().map(|entry| entry.pass.as_str()).collect()
    }

    #[test]
    fn every_rule_has_its_path() {
        let cases = [
            ("sgd", 0, vec!["gradient"]),
            ("adamw", 2, vec!["gradient", "adamw"]),
            ("lion", 1, vec!["gradient", "lion"]),
            ("signsgd", 0, vec!["gradient", "sign"]),
            ("muon", 1, vec!["gradient", "momentum", "spectral:muon:5"]),
            ("swan", 0, vec!["gradient", "standardize", "spectral:cubic:10", "frobenius"]),
        ];
        for (name, n_states, path) in cases {
            let rule = OptimizerConfig::named(name).unwrap().linear.rule;
            assert_eq!(passes(&SpectrumRecord::of(&sample(&rule, n_states))), path, "{name}");
        }
        let sinkgd = OptimizerConfig::named("sinkgd").unwrap().linear.rule;
        let record = SpectrumRecord::of(&sample(&sinkgd, 0));
        assert_eq!(passes(&record).len(), 11);
        for entry in &record.passes {
            assert_eq!(entry.quantities.spectrum.as_ref().unwrap().singular_values.len(), 5);
        }
        let last = &record.passes[10].quantities;
        assert!((last.frobenius - 1.0).abs() < 1e-6 && last.column_deviation_max < 1e-6, "{last:?}");
    }

    #[test]
    fn all_that_is_told_of_a_sample_agrees() {
        let rule = |name| OptimizerConfig::named(name).unwrap().linear.rule;
        let sample = sample(&rule("sinkgd"), 0);
        let followed = Followed::of(&sample);
        let seen = follow_passes(&sample.gradient, sample.shape, &[Pass::Row, Pass::Column].repeat(5));
        for (frame, entry) in followed.frames.iter().zip(&followed.record.passes) {
            let spread = entry.quantities.row_spread().max(entry.quantities.column_spread());
            assert!((frame.deviation() - spread).abs() < 1e-6, "{}, {spread}", frame.deviation());
        }
        assert_eq!(followed.thumbnails.len(), 11 * 5 * 8);
        let without = Followed::without_spectra(&sample);
        assert_eq!((&without.frames, &without.convergence), (&followed.frames, &followed.convergence));
        assert!(without.record.passes.iter().all(|entry| entry.quantities.spectrum.is_none()));
        let convergence = followed.convergence.as_ref().unwrap();
        for (of, entry) in convergence.deviations.iter().zip(&followed.record.passes) {
            let wanted = [entry.quantities.row_spread(), entry.quantities.column_spread()];
            let off = of.iter().zip(wanted).fold(0.0_f64, |off, (of, wanted)| off.max((f64::from(*of) - wanted).abs()));
            assert!(off < 1e-6, "{of:?}, {wanted:?}");
        }
        for (entry, seen) in followed.record.passes.iter().zip(&seen) {
            assert_eq!((&entry.pass, &entry.quantities), (&seen.entry.pass, &seen.entry.quantities));
        }
        assert!(seen[10].frame.columns.iter().all(|norm| (norm - 1.0).abs() < 1e-6), "{:?}", seen[10].frame);
        assert!(followed.rate_predicted.is_some() && followed.rate_observed.is_some());
        let json = serde_json::to_string(&followed).unwrap();
        let back: Followed = serde_json::from_str(&json).unwrap();
        assert_eq!(Frame::from_lengths(&Frame::lengths(&followed.frames), sample.shape), followed.frames);
        assert_eq!(back.record.passes[10].quantities.spectrum, followed.record.passes[10].quantities.spectrum);
        for (name, n_states) in [("swan", 0), ("muon", 1), ("adam", 2), ("signsgd", 0)] {
            let other = Followed::of(&self::sample(&rule(name), n_states));
            assert!(other.convergence.is_none() && other.rate_predicted.is_none(), "{name}");
        }
    }

    #[test]
    fn convergence_is_that_of_the_matrix_that_enters_the_passes() {
        let rule = |name| OptimizerConfig::named(name).unwrap().linear.rule;
        let Rule::Passes(mut after) = rule("sinkgd") else { panic!("SinkGD is a list of passes") };
        (after.momentum, after.momentum_placement) = (0.9, MomentumPlacement::After);
        for (rule, first) in [(rule("balanced-momentum"), 2), (Rule::Passes(after), 1)] {
            let mut sample = sample(&rule, 1);
            let n = sample.shape[1];
            // Below balanced-momentum's threshold.
            for x in [&mut sample.gradient, &mut sample.states[0]] {
                x[n..2 * n].iter_mut().for_each(|x| *x *= 1e-6);
            }
            let followed = Followed::of(&sample);
            let rounds = if first == 2 { 1 } else { 5 };
            assert_eq!((followed.record.steps_before_passes() + 1, followed.record.rounds()), (first, rounds));
            let convergence = followed.convergence.as_ref().expect("rows and columns only");
            let passes = followed.record.passes[first..].iter().filter(|entry| entry.pass != "momentum");
            for (of, Entry { quantities, pass, .. }) in convergence.deviations[1..].iter().zip(passes) {
                for (of, wanted) in of.iter().zip([quantities.row_spread(), quantities.column_spread()]) {
                    assert!((f64::from(*of) - wanted).abs() < 1e-6, "{pass}: {of}, not {wanted}");
                }
            }
            assert!(convergence.rate.is_some_and(|rate| rate > 0.0 && rate < 1.0));
            assert_eq!(convergence.rate, followed.rate_predicted);
        }
    }

    #[test]
    fn a_thumbnail_keeps_the_largest_entry_of_each_block_with_its_sign() {
        let (m, n) = (150, 20);
        let mut x = vec![0.01; m * n];
        (x[0], x[n * 75 + 7]) = (-9.0, 4.0);
        let small = thumbnail(&x, [m, n]);
        assert_eq!((thumbnail_shape([m, n]), small.len()), ([96, 20], 96 * 20));
        assert_eq!((small[0], small[75 * 96 / 150 * 20 + 7]), (-127, 127), "beyond three times the root mean square");
        assert!(small.iter().filter(|pixel| pixel.abs() > 3).count() == 2);
        assert_eq!(thumbnail(&[0.0; 6], [2, 3]), [0; 6]);
    }

    #[test]
    fn the_short_way_through_newton_schulz_is_the_long_one() {
        let sample = sample(&OptimizerConfig::named("swan").unwrap().linear.rule, 0);
        let x = widen(&sample.gradient);
        for pass in ["spectral:muon:5", "spectral:cubic:10", "spectral:polar-express:8"] {
            let pass = pass.parse().unwrap();
            let [short, long] = [after, reference_pass].map(|after| after(pass, &x, sample.shape));
            let error = short.iter().zip(&long).fold(0.0_f64, |e, (a, b)| e.max((a - b).abs()));
            assert!(error < 1e-10, "{pass}: {error}");
        }
    }
}
