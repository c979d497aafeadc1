//! What becomes of a sampled gradient in its optimizer's passes, singular value by singular value.
//!
//! The passes are repeated on the CPU in f64, from the gradient and the state that the device had; the kernels' tests
//! hold the device to the same. So a run waits for nothing but the copy of what is sampled.

use serde::{Deserialize, Serialize};

use super::samples::GradientSample;
use crate::config::{MomentumPlacement, Pass, PassProgram, Rule};
use crate::normalize::Entry;
use crate::optim::{SeenStep, reference_pass, sequence};
use crate::reference::passes::{column_norms, drop_rows, row_norms};
use crate::spectrum::{
    Balance, Convergence, Quantities, Spectrum, converge, map_singular_values, observed_rate, predicted_rate,
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
    /// The gradient, then every pass; a momentum is a step of its own, and so is a rule that is no list of passes.
    pub passes: Vec<Entry>,
}

/// A sample followed through its rule, with all that a panel shows of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Followed {
    /// The gradient, then every pass.
    pub record: SpectrumRecord,
    /// See [`predicted_rate`]: of the last X, by iteration.
    pub rate_predicted: Option<f64>,
    /// See [`observed_rate`]; here in f64, as far as it can be read off float32's matrices.
    pub rate_observed: Option<f64>,
    /// r of X = diag(r)·G·diag(c), `[m]`; empty where a pass did more than scale rows and columns.
    pub row_scaling: Vec<f64>,
    /// c, `[n]`; empty with it.
    pub column_scaling: Vec<f64>,
    /// The iteration beyond the optimizer's own rounds; none where its passes do more than scale rows and columns, and where
    /// no matrix was kept.
    pub convergence: Option<Convergence>,
    /// Where row and column passes lead from the gradient, as a picture ([`Balance::into_picture`]); none where they lead nowhere, and where no
    /// matrix was kept.
    pub balance: Option<Balance>,
    /// What each entry of the record looks like; empty where no matrix was kept.
    pub frames: Vec<Frame>,
    /// Pictures of all frames, one after the other, each of [`thumbnail_shape`]; on their way to a panel they travel as
    /// bytes, beside the rest.
    #[serde(skip)]
    pub thumbnails: Vec<i8>,
}

/// A matrix X (m×n) as one looks at it: the lengths of its rows and columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

impl Frame {
    /// How far the worse side is from one length: the root mean square of |length/ρ − 1| over its rows or columns that are
    /// not zero, ρ the root mean square of their lengths.
    pub fn deviation(&self) -> f64 {
        let spread = |lengths: &[f32]| {
            let live: Vec<f64> =
                lengths.iter().map(|length| f64::from(*length)).filter(|length| *length > 0.0).collect();
            let mean = |values: &dyn Fn(f64) -> f64| live.iter().map(|x| values(*x)).sum::<f64>() / live.len() as f64;
            if live.is_empty() {
                return 0.0;
            }
            let target = mean(&|length| length * length).sqrt();
            mean(&|length| (length / target - 1.0).powi(2)).sqrt()
        };
        spread(&self.rows).max(spread(&self.columns))
    }
}

/// Rounds that the iteration is followed, wherever the optimizer stops.
const ROUNDS: usize = 100;
/// Rows and columns of a thumbnail at most.
const THUMBNAIL: usize = 96;

/// Rows and columns of the thumbnails of a matrix `[m, n]`.
pub fn thumbnail_shape(shape: [usize; 2]) -> [usize; 2] {
    shape.map(|size| size.min(THUMBNAIL))
}

/// x `[m, n]` as a small picture of [`thumbnail_shape`]: of each block of entries the largest by magnitude, over three times
/// the root mean square of x, as −127 to 127.
pub fn thumbnail(x: &[f64], shape @ [m, n]: [usize; 2]) -> Vec<i8> {
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
    let full = if rms > 0.0 { 127.0 / (3.0 * rms) } else { 0.0 };
    largest.into_iter().map(|x| (x * full).round().clamp(-127.0, 127.0) as i8).collect()
}

impl Followed {
    /// Takes one singular value decomposition a pass, as [`SpectrumRecord::of`].
    pub fn of(sample: &GradientSample) -> Self {
        Self::along(Path::through(sample, Detail::Every), sample)
    }

    /// The same without singular values: of a large matrix in seconds, where they take a minute.
    pub fn without_spectra(sample: &GradientSample) -> Self {
        Self::along(Path::through(sample, Detail::Until(usize::MAX)), sample)
    }

    fn along(path: Path<'_>, sample: &GradientSample) -> Self {
        let (rate_predicted, rate_observed) = match &sample.rule {
            Rule::Passes(program) => {
                let ends: Vec<&Quantities> = (1..=program.iterations)
                    .filter_map(|iteration| path.entries.iter().rfind(|entry| entry.iteration == iteration))
                    .map(|entry| &entry.quantities)
                    .collect();
                let predicted = predicted_rate(&path.narrow, path.shape, &program.passes);
                (predicted, observed_rate(&ends, &program.passes))
            }
            _ => (None, None),
        };
        let [row_scaling, column_scaling] = path.scalings.clone().unwrap_or_default();
        let (frames, thumbnails) = (path.frames.clone(), path.thumbnails.clone());
        let record = path.record(sample);
        let balance = Balance::of(&sample.gradient, sample.shape);
        let convergence = match &sample.rule {
            // A momentum before the passes makes another matrix of the gradient.
            Rule::Passes(program) if sample.states.is_empty() && program.row_threshold == 0.0 => {
                converge(&sample.gradient, sample.shape, &program.passes, ROUNDS, balance.as_ref())
            }
            _ => None,
        };
        let balance = balance.map(Balance::into_picture);
        Self {
            record,
            convergence,
            balance,
            rate_predicted,
            rate_observed,
            row_scaling,
            column_scaling,
            frames,
            thumbnails,
        }
    }
}

/// What a line of an earlier run's spectra.jsonl still tells: the matrix was not kept, and with it neither scalings nor
/// rates.
impl From<SpectrumRecord> for Followed {
    fn from(record: SpectrumRecord) -> Self {
        Self {
            record,
            rate_predicted: None,
            rate_observed: None,
            row_scaling: Vec::new(),
            column_scaling: Vec::new(),
            convergence: None,
            balance: None,
            frames: Vec::new(),
            thumbnails: Vec::new(),
        }
    }
}

/// X after a pass, and what is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PassSeen {
    /// The pass, and the quantities after it.
    pub entry: Entry,
    /// X, `[m, n]`.
    pub x: Vec<f64>,
    /// The lengths of its rows and columns.
    pub frame: Frame,
}

/// The gradient `[m, n]` itself, then X after each of `passes`, in f64 on the CPU: for matrices that one can look at.
///
/// Panics on an empty matrix, and on a length that is not m·n.
pub fn follow_passes(gradient: &[f32], shape: [usize; 2], passes: &[Pass]) -> Vec<PassSeen> {
    let mut path = Path::begin(gradient, shape, Detail::Every);
    let mut seen = Vec::with_capacity(passes.len() + 1);
    let mut look = |path: &Path<'_>| {
        let (entry, frame) = path.entries.last().zip(path.frames.last()).expect("the gradient's at least");
        seen.push(PassSeen { entry: entry.clone(), x: path.x.clone(), frame: frame.clone() });
    };
    look(&path);
    for (at, pass) in (1..).zip(passes) {
        path.pass(*pass, at);
        look(&path);
    }
    seen
}

impl SpectrumRecord {
    /// Follows a sample through its rule. Takes one singular value decomposition a pass: O(m·n·min(m, n)) each.
    pub fn of(sample: &GradientSample) -> Self {
        Path::through(sample, Detail::Every).record(sample)
    }
}

/// Of which matrices on a path the singular values are wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Detail {
    /// Of all.
    Every,
    /// Of none, and the path ends after so many entries beyond the gradient.
    Until(usize),
}

/// A matrix on its way, and what was told of it.
pub(super) struct Path<'a> {
    pub shape: [usize; 2],
    gradient: &'a [f32],
    pub x: Vec<f64>,
    pub narrow: Vec<f32>,
    pub entries: Vec<Entry>,
    frames: Vec<Frame>,
    thumbnails: Vec<i8>,
    /// r and c as long as X is diag(r)·G·diag(c).
    scalings: Option<[Vec<f64>; 2]>,
    detail: Detail,
}

impl<'a> Path<'a> {
    fn begin(gradient: &'a [f32], shape @ [m, n]: [usize; 2], detail: Detail) -> Self {
        assert_eq!(gradient.len(), m * n, "a matrix {m}×{n}");
        let mut path = Self {
            shape,
            gradient,
            x: gradient.iter().map(|&g| g.into()).collect(),
            narrow: gradient.to_vec(),
            entries: Vec::new(),
            frames: Vec::new(),
            thumbnails: Vec::new(),
            scalings: Some([vec![1.0; m], vec![1.0; n]]),
            detail,
        };
        path.tell("gradient", 0, None);
        path
    }

    fn record(self, sample: &GradientSample) -> SpectrumRecord {
        let GradientSample { step, parameter, shape, .. } = sample;
        SpectrumRecord { step: *step, parameter: parameter.clone(), shape: *shape, passes: self.entries }
    }

    pub fn through(sample: &'a GradientSample, detail: Detail) -> Self {
        let mut path = Self::begin(&sample.gradient, sample.shape, detail);
        match &sample.rule {
            Rule::Passes(program) => path.follow(program, sample),
            rule => {
                let GradientSample { step: number, gradient, clip, states, .. } = sample;
                let seen = SeenStep { number: *number, gradient, clip: *clip, states };
                if let Some((name, x)) = rule.seen_step(&seen) {
                    path.step(name, 1, x);
                }
            }
        }
        path
    }

    /// A step that is no pass: nothing is known of r and c after it.
    fn step(&mut self, name: &str, iteration: u32, x: Vec<f64>) {
        if self.has_ended() {
            return;
        }
        self.scalings = None;
        self.become_x(name, iteration, x);
    }

    fn has_ended(&self) -> bool {
        matches!(self.detail, Detail::Until(entries) if self.entries.len() > entries)
    }

    fn pass(&mut self, pass: Pass, iteration: u32) {
        if self.has_ended() {
            return;
        }
        let x = self.after(pass);
        let [m, n] = self.shape;
        // A zero row stays zero, and its scaling counts as 0.
        let multiply = |scaling: &mut Vec<f64>, before: Vec<f64>, after: Vec<f64>| {
            for (scaling, (before, after)) in scaling.iter_mut().zip(before.into_iter().zip(after)) {
                *scaling *= if before > 0.0 { after / before } else { 0.0 };
            }
        };
        match (&mut self.scalings, pass) {
            (Some([r, _]), Pass::Row) => multiply(r, row_norms(&self.x, m, n), row_norms(&x, m, n)),
            (Some([_, c]), Pass::Column) => multiply(c, column_norms(&self.x, m, n), column_norms(&x, m, n)),
            (Some([r, _]), Pass::Frobenius | Pass::Max) => {
                let factor = self.x.iter().zip(&x).find(|(before, _)| **before != 0.0).map_or(0.0, |(b, a)| a / b);
                r.iter_mut().for_each(|r| *r *= factor);
            }
            (scalings, _) => *scalings = None,
        }
        self.become_x(&pass.to_string(), iteration, x);
    }

    fn become_x(&mut self, name: &str, iteration: u32, x: Vec<f64>) {
        let narrow = x.iter().map(|&x| x as f32).collect();
        let before = std::mem::replace(&mut self.narrow, narrow);
        self.x = x;
        self.tell(name, iteration, Some(&before));
    }

    fn tell(&mut self, name: &str, iteration: u32, before: Option<&[f32]>) {
        let mut quantities = Quantities::of(&self.narrow, self.shape, before, self.gradient);
        quantities.spectrum = (self.detail == Detail::Every).then(|| Spectrum::of(&self.narrow, self.shape));
        self.frames.push(Frame::of(&self.x, self.shape));
        self.thumbnails.extend(thumbnail(&self.x, self.shape));
        self.entries.push(Entry { pass: name.to_owned(), iteration, quantities });
    }

    fn follow(&mut self, program: &PassProgram, sample: &GradientSample) {
        let momentum = sample.states.first().map(|buffer| (buffer, program.momentum_placement));
        if let Some((buffer, MomentumPlacement::Before)) = momentum {
            let rest = (1.0 - program.momentum) * f64::from(sample.clip);
            let ahead = |(m, g): (&f32, &f32)| match program.nesterov {
                true => program.momentum * f64::from(*m) + rest * f64::from(*g),
                false => f64::from(*m),
            };
            self.step("momentum", 0, buffer.iter().zip(&sample.gradient).map(ahead).collect());
        }
        let [m, n] = self.shape;
        if program.row_threshold > 0.0 {
            self.x = drop_rows(&self.x, m, n, program.row_threshold);
            self.scalings = None;
        }
        for iteration in 1..=program.iterations {
            let before = self.x.clone();
            for pass in &program.passes {
                self.pass(*pass, iteration);
            }
            if iteration > 1 && program.tolerance > 0.0 && change(&self.x, &before) <= program.tolerance {
                break;
            }
        }
        if let Some((buffer, MomentumPlacement::After)) = momentum {
            let ahead = |(m, x): (&f32, &f64)| match program.nesterov {
                true => program.momentum * f64::from(*m) + (1.0 - program.momentum) * x,
                false => f64::from(*m),
            };
            let averaged = buffer.iter().zip(&self.x).map(ahead).collect();
            self.step("momentum", program.iterations, averaged);
        }
    }

    fn after(&self, pass: Pass) -> Vec<f64> {
        let Pass::Spectral(kind) = pass else { return reference_pass(pass, &self.x, self.shape) };
        // Newton–Schulz moves every singular value by a polynomial: a decomposition and one product give the same.
        let [m, n] = self.shape;
        let (steps, norm) = (kind.steps as usize, self.x.iter().map(|x| x * x).sum::<f64>().sqrt());
        if norm == 0.0 {
            return self.x.clone();
        }
        let target = (m.max(n) as f64).sqrt();
        map_singular_values(&self.x, m, n, |sigma| target * sequence(kind.variant).of_value(sigma / norm, steps))
    }
}

fn change(x: &[f64], before: &[f64]) -> f64 {
    (x.iter().zip(before).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / x.len() as f64).sqrt()
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
    fn scalings_turn_the_gradient_into_the_step() {
        let rule = |name| OptimizerConfig::named(name).unwrap().linear.rule;
        let sample = sample(&rule("sinkgd"), 0);
        let followed = Followed::of(&sample);
        let seen = follow_passes(&sample.gradient, sample.shape, &[Pass::Row, Pass::Column].repeat(5));
        let n = sample.shape[1];
        for (at, x) in seen[10].x.iter().enumerate() {
            let scaled =
                followed.row_scaling[at / n] * f64::from(sample.gradient[at]) * followed.column_scaling[at % n];
            assert!((scaled - x).abs() < 1e-12, "{at}: {scaled}, not {x}");
        }
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
        assert_eq!(back.record.passes[10].quantities.spectrum, followed.record.passes[10].quantities.spectrum);
        for (name, n_states) in [("swan", 0), ("muon", 1), ("adam", 2), ("signsgd", 0)] {
            let other = Followed::of(&self::sample(&rule(name), n_states));
            assert!(other.row_scaling.is_empty() && other.rate_predicted.is_none(), "{name}");
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
        for name in ["muon", "swan", "balanced-momentum"] {
            let rule = OptimizerConfig::named(name).unwrap().linear.rule;
            let sample = sample(&rule, 1);
            let path = Path::begin(&sample.gradient, sample.shape, Detail::Every);
            for pass in ["spectral:muon:5", "spectral:cubic:10", "spectral:polar-express:8"] {
                let pass = pass.parse().unwrap();
                let [short, long] = [path.after(pass), reference_pass(pass, &path.x, path.shape)];
                let error = short.iter().zip(&long).fold(0.0_f64, |e, (a, b)| e.max((a - b).abs()));
                assert!(error < 1e-10, "{name} {pass}: {error}");
            }
        }
    }
}
