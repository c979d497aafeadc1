//! A pass over a gradient, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::keys::did_you_mean;
use crate::{Error, Result};

/// A normalization of a gradient with m rows (output units) and n columns.
///
/// After every pass except `max` the matrix has ‖X‖_F = √(m·n), unless it has zero rows or columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Scales every row to an L2 norm of √n.
    Row,
    /// Scales every column to an L2 norm of √m.
    Column,
    /// Subtracts each row's mean and divides by its standard deviation: SWAN's GradNorm.
    Standardize,
    /// (XXᵀ)^(-1/2)·X·√max(m, n): brings every singular value to √max(m, n), as closely as the steps allow.
    Spectral(Spectral),
    /// Replaces every element by its sign.
    Sign,
    /// Scales the whole matrix to ‖X‖_F = √(m·n).
    Frobenius,
    /// Scales the whole matrix to max|X| = 1.
    Max,
}

/// How the spectral pass is computed: Newton–Schulz steps of one polynomial sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spectral {
    /// The polynomials.
    pub variant: SpectralVariant,
    /// Number of steps.
    pub steps: u32,
}

/// The polynomials of a Newton–Schulz iteration; `reference::newton_schulz` has the coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpectralVariant {
    /// X ← (3X − XXᵀX)/2: converges to 1 for every singular value, slowly from small ones.
    Cubic,
    /// Muon's quintic: fast, but ends between 0.68 and 1.13 instead of at 1.
    Muon,
    /// Polar Express (arXiv 2505.16932): the optimal quintic for each step.
    PolarExpress,
    /// Muon's quintic, with two final steps of (2, −1.5, 0.5) that bring the values to 1.
    MuonRefined,
}

impl SpectralVariant {
    const ALL: [Self; 4] = [Self::Cubic, Self::Muon, Self::PolarExpress, Self::MuonRefined];

    /// The name in CONFIG.toml and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Muon => "muon",
            Self::PolarExpress => "polar-express",
            Self::MuonRefined => "muon-refined",
        }
    }

    /// The default number of steps: the source's own.
    fn default_steps(self) -> u32 {
        match self {
            Self::Cubic | Self::MuonRefined => 10,
            Self::Muon => 5,
            Self::PolarExpress => 8,
        }
    }
}

impl Pass {
    /// The words that begin a pass.
    const WORDS: [&str; 7] = ["row", "column", "standardize", "spectral", "sign", "frobenius", "max"];

    pub(crate) fn list() -> String {
        Self::WORDS.join(", ")
    }

    /// Parses a list of names, or several in one string for the command line: `row,column`.
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
            Some(_) => Err(format!("`{word}`: expected spectral:VARIANT:STEPS")),
        }
    }
}

impl FromStr for Pass {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Self::parse(word).map_err(|message| Error::config("passes", message))
    }
}

/// As written in settings: `row`, `spectral:muon:5`.
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
            ("spectral:muon:5:1", "expected spectral:VARIANT:STEPS"),
        ];
        for (word, expected) in cases {
            let message = word.parse::<Pass>().unwrap_err().to_string();
            assert!(message.contains(expected), "{word}: {message}");
        }
    }
}
