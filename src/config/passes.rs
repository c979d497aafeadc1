//! A list of passes over a gradient, and what is wrapped around it.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::check;
use super::keys::{Section, did_you_mean};
use super::methods::Settings;
use crate::{Error, Result};

/// One normalization of a gradient of m rows (output units) and n columns.
///
/// After every pass but `max` the matrix has ‖X‖_F = √(m·n), unless rows or columns of it are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Every row to an L2 norm of √n.
    Row,
    /// Every column to an L2 norm of √m.
    Column,
    /// Every row minus its mean, over its standard deviation: SWAN's GradNorm.
    Standardize,
    /// (XXᵀ)^(-1/2)·X·√max(m, n): every singular value to √max(m, n), as near as the steps come.
    Spectral(Spectral),
    /// Every element to its sign.
    Sign,
    /// The whole matrix to ‖X‖_F = √(m·n).
    Frobenius,
    /// The whole matrix to max|X| = 1.
    Max,
}

/// How the spectral pass is computed: Newton–Schulz steps of one polynomial sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spectral {
    /// Which polynomials.
    pub variant: SpectralVariant,
    /// How many.
    pub steps: u32,
}

/// The polynomials of a Newton–Schulz iteration; `reference::newton_schulz` has the coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpectralVariant {
    /// X ← (3X − XXᵀX)/2: converges to 1 for every singular value, slowly from small ones.
    Cubic,
    /// Muon's quintic: fast, and ends between 0.68 and 1.13 instead of at 1.
    Muon,
    /// Polar Express (arXiv 2505.16932): the best quintic for each step.
    PolarExpress,
    /// Muon's quintic, with two steps of (2, −1.5, 0.5) at the end that bring the values to 1.
    MuonRefined,
}

impl SpectralVariant {
    const ALL: [Self; 4] = [Self::Cubic, Self::Muon, Self::PolarExpress, Self::MuonRefined];

    /// Its name in CONFIG.toml and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Muon => "muon",
            Self::PolarExpress => "polar-express",
            Self::MuonRefined => "muon-refined",
        }
    }

    /// Steps where none are given: the source's own number.
    fn default_steps(self) -> u32 {
        match self {
            Self::Cubic | Self::MuonRefined => 10,
            Self::Muon => 5,
            Self::PolarExpress => 8,
        }
    }
}

/// `W ← W − lr · (scale · rule · passes(G) + weight_decay · W)`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassProgram {
    /// One iteration, in order.
    pub passes: Vec<Pass>,
    /// How often the list runs; with a tolerance, how often at most.
    pub iterations: u32,
    /// The list ends after the iteration, from the second on, that changed X by no more than this, root mean square; 0
    /// runs them all.
    pub tolerance: f64,
    /// Decay β of the averaged matrix M ← β·M + (1 − β)·X; 0 for none.
    pub momentum: f64,
    /// Whether M averages the gradients, which the passes then normalize, or what the passes made of them.
    pub momentum_placement: MomentumPlacement,
    /// Nesterov's look-ahead: β·M + (1 − β)·X instead of M.
    pub nesterov: bool,
    /// Rows whose norm is at most this share of the mean row norm become zero before the passes; 0 keeps all.
    pub row_threshold: f64,
    /// The paper's α, on top of the learning rate.
    pub scale: f64,
    /// What else the update is multiplied by.
    pub scale_rule: ScaleRule,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

/// Where the momentum stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentumPlacement {
    /// The passes normalize the averaged gradient.
    Before,
    /// The normalized gradients are averaged.
    After,
}

/// A factor on the update that follows from the parameter's shape [m, n], or from the gradient.
///
/// Those of Muon, Moonlight and Scion are meant for a matrix in the unit of its last pass: singular values of 1 after
/// `spectral`, rows of norm 1 after `row`, columns of norm 1 after `column`; after any other pass the matrix as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleRule {
    /// 1: a root mean square of 1 goes into the step.
    Rms,
    /// √max(1, m/n) (Muon).
    Muon,
    /// 0.2·√max(m, n) (Moonlight; PyTorch's `match_rms_adamw`).
    MatchRms,
    /// √(m/n) (Scion's hidden layers).
    Scion,
    /// 1/n (Scion's last layer, after `sign`).
    FanIn,
    /// ‖G‖_F / ‖X‖_F: the update is as long as the gradient.
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

    /// The factor on X of shape [m, n] after `last`; [`Self::GradientNorm`] has none that the shape knows.
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

impl PassProgram {
    /// Every pass in order, iterations written out.
    pub fn unrolled(&self) -> Vec<Pass> {
        self.passes.repeat(self.iterations as usize)
    }
}

impl Settings for PassProgram {
    fn title(&self) -> &'static str {
        "a list of passes"
    }

    fn words(&self) -> String {
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

    fn is_stateless(&self) -> bool {
        self.momentum == 0.0
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        if self.passes.is_empty() {
            return Err(Error::config(key("passes"), format!("is empty; the passes are {}", Pass::list())));
        }
        check::at_least_1(&key("iterations"), self.iterations.into())?;
        check::not_negative(&key("tolerance"), self.tolerance)?;
        check::from_0_below_1(&key("momentum"), self.momentum)?;
        if self.nesterov && self.momentum == 0.0 {
            return Err(Error::config(key("nesterov"), "looks ahead along the momentum, which is 0"));
        }
        check::not_negative(&key("row_threshold"), self.row_threshold)?;
        check::positive(&key("scale"), self.scale)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)
    }
}

/// `row, column`; of a list that begins with some passes several times over `(row, column) × 5, row`.
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

impl Pass {
    /// The words that begin a pass.
    const WORDS: [&str; 7] = ["row", "column", "standardize", "spectral", "sign", "frobenius", "max"];

    pub(super) fn list() -> String {
        Self::WORDS.join(", ")
    }

    /// A list of names, or several in one string for the command line's sake: `row,column`.
    pub fn parse_list(words: &[String]) -> Result<Vec<Self>, String> {
        let words = words.iter().flat_map(|word| word.split(',')).map(str::trim);
        words.filter(|word| !word.is_empty()).map(Self::parse).collect()
    }

    /// `row`, `spectral`, `spectral:muon`, `spectral:muon:5`.
    fn parse(word: &str) -> Result<Self, String> {
        let mut parts = word.split(':');
        let name = parts.next().unwrap_or_default();
        let pass = match name {
            "row" => Self::Row,
            "column" => Self::Column,
            "standardize" => Self::Standardize,
            "sign" => Self::Sign,
            "frobenius" => Self::Frobenius,
            "max" => Self::Max,
            "spectral" => return Self::parse_spectral(word, parts.next(), parts.next(), parts.next()),
            _ => {
                let hint = did_you_mean(name, &Self::WORDS);
                let hint = if hint.ends_with('?') { format!("; {hint}") } else { String::new() };
                return Err(format!("no pass is called `{word}`; the passes are {}{hint}", Self::list()));
            }
        };
        match parts.next() {
            None => Ok(pass),
            Some(_) => Err(format!("`{word}`: {name} takes nothing after a colon")),
        }
    }

    fn parse_spectral(
        word: &str,
        variant: Option<&str>,
        steps: Option<&str>,
        more: Option<&str>,
    ) -> Result<Self, String> {
        let names = SpectralVariant::ALL.map(SpectralVariant::name);
        let variant = match variant {
            None => SpectralVariant::PolarExpress,
            Some(name) => SpectralVariant::ALL
                .into_iter()
                .find(|variant| variant.name() == name)
                .ok_or_else(|| format!("`{word}`: no variant is called `{name}`; they are {}", names.join(", ")))?,
        };
        let least = if variant == SpectralVariant::MuonRefined { 3 } else { 1 };
        let steps =
            match steps {
                None => variant.default_steps(),
                Some(steps) => steps.parse().ok().filter(|steps| (least..=100).contains(steps)).ok_or_else(|| {
                    format!("`{word}`: steps must be a whole number from {least} to 100, got `{steps}`")
                })?,
            };
        match more {
            None => Ok(Self::Spectral(Spectral { variant, steps })),
            Some(_) => Err(format!("`{word}`: wants spectral:VARIANT:STEPS")),
        }
    }
}

impl FromStr for Pass {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Self::parse(word).map_err(|message| Error::config("passes", message))
    }
}

/// As it is typed: `row`, `spectral:muon:5`.
impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row => f.write_str("row"),
            Self::Column => f.write_str("column"),
            Self::Standardize => f.write_str("standardize"),
            Self::Spectral(Spectral { variant, steps }) => write!(f, "spectral:{}:{steps}", variant.name()),
            Self::Sign => f.write_str("sign"),
            Self::Frobenius => f.write_str("frobenius"),
            Self::Max => f.write_str("max"),
        }
    }
}

impl Serialize for Pass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
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
    fn every_pass_is_written_as_it_is_read() {
        let list = "row, column,standardize,spectral:cubic:7,spectral:muon-refined,sign,frobenius,max";
        let passes = Pass::parse_list(&[list.into()]).unwrap();
        let written: Vec<String> = passes.iter().map(Pass::to_string).collect();
        let expected = "row column standardize spectral:cubic:7 spectral:muon-refined:10 sign frobenius max";
        assert_eq!(written.join(" "), expected);
        assert_eq!(Pass::parse_list(&written).unwrap(), passes);
        assert_eq!("spectral".parse::<Pass>().unwrap().to_string(), "spectral:polar-express:8");
    }

    #[test]
    fn refuses_words_with_the_remedy() {
        let cases = [
            ("rows", "no pass is called `rows`; the passes are row, column, standardize"),
            ("rows", "did you mean `row`?"),
            ("row:2", "`row:2`: row takes nothing after a colon"),
            ("spectral:munon", "no variant is called `munon`; they are cubic, muon, polar-express, muon-refined"),
            ("spectral:muon:0", "steps must be a whole number from 1 to 100, got `0`"),
            ("spectral:muon-refined:2", "from 3 to 100"),
            ("spectral:muon:5:1", "wants spectral:VARIANT:STEPS"),
        ];
        for (word, expected) in cases {
            let message = word.parse::<Pass>().unwrap_err().to_string();
            assert!(message.contains(expected), "{word}: {message}");
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
