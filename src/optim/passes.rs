//! Multi-normalized gradient descent (arXiv 2502.06742, algorithms 1 and 2): `W ← W − lr · α · passes(G)`.
//!
//! SinkGD (algorithms 3 and 4) is `row, column` five times. Without momentum it is stateless.

use std::str::FromStr;

use serde::Serialize;

use super::group::{Group, GroupState};
use super::iterate::{Iterate, sequence};
use super::method::{Method, ReferenceParameter, ReferenceStep, Step, not_in_a_page};
use super::update::{Parameter, StateSpec, StepTensors};
use crate::gpu::{Class, DType, Recorder};
use crate::kernels::momentum::{Average, average};
use crate::kernels::scaled::{StepConstants, apply, apply_momentum};
use crate::reference::newton_schulz::spectral;
use crate::reference::{momentum, passes};
use crate::settings::{Pass, Section, Spectral, SpectralVariant, check};
use crate::{Error, Result};

/// Bytes of scratch that simultaneous updates of several parameters may take together.
const SCRATCH_BYTES: u64 = 64 << 20;

/// `W ← W − lr · (scale · rule · passes(G) + weight_decay · W)`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassProgram {
    /// One iteration, in order.
    pub passes: Vec<Pass>,
    /// How often the list runs; with a tolerance, at most how often.
    pub iterations: u32,
    /// The list ends after the iteration, from the second on, that changed X by at most this, root mean square; 0 runs
    /// all.
    pub tolerance: f64,
    /// Decay β of the averaged matrix M ← β·M + (1 − β)·X; 0 for none.
    pub momentum: f64,
    /// Whether M averages the gradients before the passes, or the results of the passes.
    pub momentum_placement: MomentumPlacement,
    /// Nesterov momentum: uses β·M + (1 − β)·X instead of M.
    pub nesterov: bool,
    /// Rows whose norm is at most this fraction of the mean row norm are zeroed before the passes; 0 keeps all.
    pub row_threshold: f64,
    /// The paper's α, a factor in addition to the learning rate.
    pub scale: f64,
    /// A further factor on the update.
    pub scale_rule: ScaleRule,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

/// Where the momentum is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentumPlacement {
    /// The passes normalize the averaged gradient.
    Before,
    /// The normalized gradients are averaged.
    After,
}

/// A factor on the update that depends on the parameter's shape [m, n] or on the gradient.
///
/// Those of Muon, Moonlight and Scion expect a matrix in the unit of its last pass: singular values of 1 after
/// `spectral`, rows of norm 1 after `row`, columns of norm 1 after `column`, and the matrix unchanged after any other
/// pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleRule {
    /// 1: the step has a root mean square of 1.
    Rms,
    /// √max(1, m/n) (Muon).
    Muon,
    /// 0.2·√max(m, n) (Moonlight; PyTorch's `match_rms_adamw`).
    MatchRms,
    /// √(m/n) (Scion's hidden layers).
    Scion,
    /// 1/n (Scion's last layer, after `sign`).
    FanIn,
    /// ‖G‖_F / ‖X‖_F: gives the update the gradient's norm.
    GradientNorm,
}

impl ScaleRule {
    const ALL: [Self; 6] = [Self::Rms, Self::Muon, Self::MatchRms, Self::Scion, Self::FanIn, Self::GradientNorm];

    fn name(self) -> &'static str {
        match self {
            Self::Rms => "rms",
            Self::Muon => "muon",
            Self::MatchRms => "match-rms",
            Self::Scion => "scion",
            Self::FanIn => "fan-in",
            Self::GradientNorm => "gradient-norm",
        }
    }

    /// The factor on X of shape [m, n] after the pass `last`; `None` for [`Self::GradientNorm`], which depends on more
    /// than the shape.
    pub fn factor(self, last: Pass, m: usize, n: usize) -> Option<f64> {
        let [m, n] = [m as f64, n as f64];
        let unit = match last {
            Pass::Spectral(_) => m.max(n).sqrt().recip(),
            Pass::Row => n.sqrt().recip(),
            Pass::Column => m.sqrt().recip(),
            _ => 1.0,
        };
        match self {
            Self::Rms => Some(1.0),
            Self::Muon => Some(unit * (m / n).max(1.0).sqrt()),
            Self::MatchRms => Some(unit * 0.2 * m.max(n).sqrt()),
            Self::Scion => Some(unit * (m / n).sqrt()),
            Self::FanIn => Some(unit / n),
            Self::GradientNorm => None,
        }
    }
}

impl FromStr for ScaleRule {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name);
        let rule = Self::ALL.into_iter().find(|rule| rule.name() == word);
        rule.ok_or_else(|| format!("no scale rule is called `{word}`; the rules are {}", names.join(", ")))
    }
}

impl FromStr for MomentumPlacement {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "before" => Ok(Self::Before),
            "after" => Ok(Self::After),
            _ => Err(format!("must be before or after (the passes), got `{word}`")),
        }
    }
}

impl Method for PassProgram {
    fn title(&self) -> &'static str {
        "a list of passes"
    }

    fn describe(&self) -> String {
        let list = if self.iterations > 1 { plain_words(&self.passes) } else { list_words(&self.passes) };
        let momentum = if self.momentum > 0.0 { format!("momentum {}, ", self.momentum) } else { String::new() };
        let times = if self.iterations > 1 { format!(" × {}", self.iterations) } else { String::new() };
        format!("{momentum}{list}{times}")
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("iterations", &mut self.iterations)?;
        section.set("tolerance", &mut self.tolerance)?;
        section.set("momentum", &mut self.momentum)?;
        section.set_word("momentum_placement", &mut self.momentum_placement)?;
        section.set("nesterov", &mut self.nesterov)?;
        section.set("row_threshold", &mut self.row_threshold)?;
        section.set("scale", &mut self.scale)?;
        section.set_word("scale_rule", &mut self.scale_rule)?;
        section.set("weight_decay", &mut self.weight_decay)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        if self.passes.is_empty() {
            return Err(Error::config(key("passes"), format!("is empty; the passes are {}", Pass::list())));
        }
        check::iterations(&key("iterations"), self.iterations)?;
        check::not_negative(&key("tolerance"), self.tolerance)?;
        check::from_0_below_1(&key("momentum"), self.momentum)?;
        if self.nesterov && self.momentum == 0.0 {
            return Err(Error::config(key("nesterov"), "looks ahead along the momentum, which is 0"));
        }
        check::not_negative(&key("row_threshold"), self.row_threshold)?;
        check::positive(&key("scale"), self.scale)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }

    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        let momentum = (self.momentum > 0.0).then(|| StateSpec::new("momentum_buffer", parameter.shape));
        Ok(momentum.into_iter().collect())
    }

    fn state_formula(&self) -> String {
        if self.momentum > 0.0 { "m·n" } else { "0" }.into()
    }

    /// A Newton–Schulz step has two products with X and, unless cubic, one of a k×k matrix with itself.
    fn products_formula(&self) -> String {
        let steps = |quintic_only: bool| -> u32 {
            let of = |pass: &Pass| match pass {
                Pass::Spectral(Spectral { variant: SpectralVariant::Cubic, .. }) if quintic_only => 0,
                Pass::Spectral(Spectral { steps, .. }) => *steps,
                _ => 0,
            };
            self.iterations * self.passes.iter().map(of).sum::<u32>()
        };
        match [steps(false), steps(true)] {
            [0, _] => String::new(),
            [all, 0] => format!("{}·k·m·n", 2 * all),
            [all, quintic] => format!("{}·k·m·n + {quintic}·k³", 2 * all),
        }
    }

    fn is_row_wise(&self) -> bool {
        let of_rows = |pass: &Pass| matches!(pass, Pass::Row | Pass::Standardize | Pass::Sign);
        let scale_knows_no_rows = matches!(self.scale_rule, ScaleRule::Rms | ScaleRule::FanIn);
        self.tolerance == 0.0 && self.row_threshold == 0.0 && scale_knows_no_rows && self.passes.iter().all(of_rows)
    }

    fn parameters_per_update(&self, count: usize, bytes: u64) -> usize {
        // Each matrix converges at its own rate.
        if self.tolerance > 0.0 {
            return 1;
        }
        let is_spectral = |pass: &Pass| matches!(pass, Pass::Spectral(_));
        // Newton–Schulz steps alternate between two copies and need two square matrices; other passes need column sums
        // per block of eight rows, or several matrices.
        let scratch = if self.passes.iter().any(is_spectral) {
            6 * bytes
        } else if self.writes_matrices() {
            2 * bytes
        } else {
            bytes / 8 + 1
        };
        count.min((SCRATCH_BYTES / scratch).max(1) as usize)
    }

    /// Momentum, passes and step: SinkGD with L iterations costs L + 1 reads of G, one read and one write of W.
    /// Errors: a matrix too wide for the passes.
    fn record(
        &self,
        rec: &mut Recorder,
        group: &Group<'_>,
        states: &[GroupState],
        step: StepTensors<'_>,
        lr: f64,
    ) -> Result<()> {
        let momentum = states.first();
        let hyper = Average { beta: self.momentum, nesterov: self.nesterov };
        let gradient = match (momentum, self.momentum_placement) {
            (Some(state), MomentumPlacement::Before) => {
                let lookahead = rec.transient(Class::Scratch, DType::F32, "averaged gradient", &group.gradient.shape);
                average(rec, &group.gradient, &state.tensor, &lookahead, step.statistics, hyper);
                lookahead
            }
            _ => group.gradient.clone(),
        };
        let mut iterate = Iterate::batch(&gradient, group.names.len(), &group.shape)?;
        if self.row_threshold > 0.0 {
            iterate.drop_rows(rec, self.row_threshold);
        }
        if self.tolerance > 0.0 {
            iterate.passes_until_settled(rec, &self.passes, self.iterations as usize, self.tolerance);
        } else {
            iterate.passes(rec, &self.unrolled());
        }
        let [m, n] = iterate.x.shape();
        let factor = match self.scale_rule.factor(self.last(), m, n) {
            Some(factor) => factor,
            None => {
                iterate.rescale_to_norm(rec, &gradient);
                1.0
            }
        };
        let constants = StepConstants { lr, scale: self.scale * factor, weight_decay: self.weight_decay };
        let StepTensors { statistics, step } = step;
        match (momentum, self.momentum_placement) {
            (Some(state), MomentumPlacement::After) => {
                let tensors = [&group.weight, &state.tensor];
                apply_momentum(rec, &iterate.x, tensors, statistics, step, constants, hyper);
            }
            _ => apply(rec, &iterate.x, &group.weight, statistics, step, constants),
        }
        Ok(())
    }

    fn reference(&self, parameter: &ReferenceParameter) -> Box<ReferenceStep> {
        not_in_a_page();
        let (program, sides) = (self.clone(), parameter.sides);
        let mut buffer = vec![0.0; parameter.len()];
        Box::new(move |w, step| program.step_in_f64(&mut buffer, w, step, sides))
    }
}

impl PassProgram {
    /// A list of passes with default settings.
    pub(super) fn bare(passes: Vec<Pass>) -> Self {
        Self {
            passes,
            iterations: 1,
            tolerance: 0.0,
            momentum: 0.0,
            momentum_placement: MomentumPlacement::Before,
            nesterov: false,
            row_threshold: 0.0,
            scale: 1.0,
            scale_rule: ScaleRule::Rms,
            weight_decay: 0.0,
        }
    }

    /// Every pass in order, with iterations unrolled.
    pub fn unrolled(&self) -> Vec<Pass> {
        self.passes.repeat(self.iterations as usize)
    }

    fn last(&self) -> Pass {
        *self.passes.last().expect("a list of passes is not empty")
    }

    fn averages_gradients(&self) -> bool {
        self.momentum > 0.0 && self.momentum_placement == MomentumPlacement::Before
    }

    /// Whether passes need scratch matrices of the gradient's size.
    fn writes_matrices(&self) -> bool {
        let last = self.passes.len() - 1;
        let writes = |(at, pass): (usize, &Pass)| match pass {
            Pass::Standardize => true,
            Pass::Sign => at < last || self.iterations > 1,
            _ => false,
        };
        self.averages_gradients() || self.passes.iter().enumerate().any(writes)
    }

    fn step_in_f64(&self, buffer: &mut [f64], w: &mut [f64], step: Step<'_>, sides: [usize; 2]) {
        // The passes are invariant to the clip factor; an average of gradients is not.
        let input = if self.averages_gradients() {
            momentum::average(buffer, &step.clipped(), self.momentum, self.nesterov)
        } else {
            step.gradient.to_vec()
        };
        let mut x = self.normalized(&input, sides);
        if self.momentum > 0.0 && !self.averages_gradients() {
            x = momentum::average(buffer, &x, self.momentum, self.nesterov);
        }
        for (w, x) in w.iter_mut().zip(x) {
            *w -= step.rate() * (self.scale * x + self.weight_decay * *w);
        }
    }

    /// The result of the list on its input, including the scale rule.
    fn normalized(&self, input: &[f64], [m, n]: [usize; 2]) -> Vec<f64> {
        let mut x = match self.row_threshold {
            0.0 => input.to_vec(),
            threshold => passes::drop_rows(input, m, n, threshold),
        };
        for iteration in 0..self.iterations {
            let before = x.clone();
            x = self.passes.iter().fold(x, |x, pass| reference_pass(*pass, &x, [m, n]));
            let change = x.iter().zip(&before).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / (m * n) as f64;
            if iteration > 0 && self.tolerance > 0.0 && change.sqrt() <= self.tolerance {
                break;
            }
        }
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let factor = match self.scale_rule {
            ScaleRule::GradientNorm if norm(&x) > 0.0 => norm(input) / norm(&x),
            rule => rule.factor(self.last(), m, n).unwrap_or(0.0),
        };
        x.iter().map(|x| factor * x).collect()
    }
}

/// One pass over x, m×n.
pub fn reference_pass(pass: Pass, x: &[f64], [m, n]: [usize; 2]) -> Vec<f64> {
    match pass {
        Pass::Row => passes::row(x, m, n),
        Pass::Column => passes::column(x, m, n),
        Pass::Standardize => passes::standardize(x, m, n),
        Pass::Sign => passes::sign(x),
        Pass::Frobenius => passes::frobenius(x),
        Pass::Max => passes::max(x),
        Pass::Spectral(kind) => spectral(x, m, n, sequence(kind.variant), kind.steps as usize),
    }
}

/// `row, column`; for a list with a repeated prefix, `(row, column) × 5, row`.
fn list_words(passes: &[Pass]) -> String {
    let times = |n: usize| passes.chunks_exact(n).take_while(|again| *again == &passes[..n]).count();
    let Some(n) = (1..=passes.len() / 2).find(|&n| times(n) > 1 && passes.len() - n * times(n) < n) else {
        return plain_words(passes);
    };
    let rest = &passes[n * times(n)..];
    let more = if rest.is_empty() { String::new() } else { format!(", {}", plain_words(rest)) };
    format!("({}) × {}{more}", plain_words(&passes[..n]), times(n))
}

fn plain_words(passes: &[Pass]) -> String {
    passes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_repeats_itself_is_told_in_short() {
        for (list, expected) in [
            ("row,column", "row, column"),
            ("row,column,row", "row, column, row"),
            ("row,column,row,column,row", "(row, column) × 2, row"),
            ("sign,sign,sign", "(sign) × 3"),
            ("row,row,sign", "row, row, sign"),
        ] {
            assert_eq!(list_words(&Pass::parse_list(&[list.into()]).unwrap()), expected);
        }
    }

    #[test]
    fn scale_rules_are_their_sources() {
        let spectral: Pass = "spectral:muon:5".parse().unwrap();
        // Muon on 8×2: UVᵀ·√4, and X is UVᵀ·√8.
        let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-15, "{a:?}, {b}");
        close(ScaleRule::Muon.factor(spectral, 8, 2), 2.0 / 8f64.sqrt());
        close(ScaleRule::Muon.factor(spectral, 2, 8), 1.0 / 8f64.sqrt());
        // Rows of norm 1, times √(m/n).
        close(ScaleRule::Muon.factor(Pass::Row, 8, 2), 2.0 / 2f64.sqrt());
        close(ScaleRule::MatchRms.factor(spectral, 8, 2), 0.2);
        close(ScaleRule::Scion.factor(spectral, 2, 8), 0.5 / 8f64.sqrt());
        close(ScaleRule::FanIn.factor(Pass::Sign, 2, 8), 0.125);
        close(ScaleRule::Rms.factor(spectral, 2, 8), 1.0);
        assert_eq!(ScaleRule::GradientNorm.factor(spectral, 2, 8), None);
    }
}
