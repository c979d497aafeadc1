//! Which rule moves which parameters: a list of passes over the gradient, Adam or SGD.

use std::str::FromStr;

use serde::Serialize;

use super::check;
use super::keys::{Section, did_you_mean};
use crate::{Error, Result};

/// The names that [`Rule::named`] knows.
pub const OPTIMIZERS: [&str; 4] = ["sinkgd", "adamw", "adam", "sgd"];

/// The resolved meaning of `[optimizer]`: one rule for the matrices of attention and feed-forward, one for the rest.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(into = "OptimizerSections")]
pub struct OptimizerConfig {
    /// Peak learning rate of `rule`.
    pub lr: f64,
    /// Moves the parameters of [`Role::Linear`](super::Role::Linear).
    pub rule: Rule,
    /// Peak learning rate of `rest`.
    pub rest_lr: f64,
    /// Moves embeddings, norms and head.
    pub rest: Rule,
}

/// How a gradient becomes an update.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Rule {
    /// Adam with decoupled weight decay; without decay it is Adam.
    Adamw(AdamwConfig),
    /// Stochastic gradient descent.
    Sgd(SgdConfig),
    /// A list of normalizing passes, repeated; SinkGD is `row, column` five times.
    #[serde(untagged)]
    Passes(PassProgram),
}

/// One normalization of a gradient of m rows (output units) and n columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// Every row to an L2 norm of √n.
    Row,
    /// Every column to an L2 norm of √m.
    Column,
}

/// `W ← W − lr · (scale · passes(G) + weight_decay · W)`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassProgram {
    /// One iteration, in order.
    pub passes: Vec<Pass>,
    /// How often the list runs.
    pub iterations: u32,
    /// Decay of the averaged gradient that the passes read; 0 for none, and nothing else works yet.
    pub momentum: f64,
    /// The paper's α, on top of the learning rate.
    pub scale: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as PyTorch computes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdamwConfig {
    /// Decay of the averaged gradient.
    pub beta1: f64,
    /// Decay of the averaged square.
    pub beta2: f64,
    /// Added to the root of the averaged square.
    pub eps: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
}

/// Stochastic gradient descent, as PyTorch computes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SgdConfig {
    /// Decay of the summed gradient; 0 for none.
    pub momentum: f64,
    /// Added to the gradient, times the weight.
    pub weight_decay: f64,
    /// Whether to look one momentum step ahead.
    pub nesterov: bool,
}

impl OptimizerConfig {
    /// The optimizer of this name with its own learning rate and defaults: one of [`OPTIMIZERS`].
    pub fn named(name: &str) -> Result<Self> {
        let rule = Rule::named(name)?;
        let lr = rule.default_lr();
        Ok(Self { lr, rest: rule.default_rest(), rule, rest_lr: lr })
    }

    /// Refuses values for which an update would be undefined.
    pub fn validate(&self) -> Result<()> {
        check::positive("optimizer.lr", self.lr)?;
        self.rule.validate("optimizer")?;
        check::positive("optimizer.rest.lr", self.rest_lr)?;
        self.rest.validate("optimizer.rest")
    }

    /// `[optimizer]` is SinkGD unless it names another; `[optimizer.rest]` starts from
    /// [`Rule::default_rest`] and the same learning rate.
    pub(super) fn read(main: Section, rest: Section) -> Result<Self> {
        let (rule, lr) = Rule::read(main, Rule::sinkgd())?;
        let lr = lr.unwrap_or_else(|| rule.default_lr());
        let (rest, rest_lr) = Rule::read(rest, rule.default_rest())?;
        Ok(Self { lr, rule, rest_lr: rest_lr.unwrap_or(lr), rest })
    }
}

impl Rule {
    /// The rule of this name with its defaults: one of [`OPTIMIZERS`].
    ///
    /// `adamw` decays weights by 0.01, as in PyTorch; `adam` is the same without decay.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "sinkgd" => Ok(Self::sinkgd()),
            "adamw" => Ok(Self::Adamw(AdamwConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 })),
            "adam" => Ok(Self::adam()),
            "sgd" => Ok(Self::Sgd(SgdConfig { momentum: 0.0, weight_decay: 0.0, nesterov: false })),
            _ => Err(Error::config("optimizer.name", unknown_optimizer(name))),
        }
    }

    /// SinkGD as in its paper (arXiv 2502.06742): rows, then columns, five times, α = 0.05.
    fn sinkgd() -> Self {
        let passes = vec![Pass::Row, Pass::Column];
        Self::Passes(PassProgram { passes, iterations: 5, momentum: 0.0, scale: 0.05, weight_decay: 0.0 })
    }

    fn adam() -> Self {
        Self::Adamw(AdamwConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 })
    }

    /// The learning rate where none is given: SinkGD's paper's 0.02, PyTorch's 0.001 for Adam, 0.1 for SGD.
    fn default_lr(&self) -> f64 {
        match self {
            Self::Passes(_) => 0.02,
            Self::Adamw(_) => 1e-3,
            Self::Sgd(_) => 0.1,
        }
    }

    /// What moves embeddings, norms and head where nothing is said: the paper pairs passes with Adam;
    /// Adam and SGD move everything themselves.
    fn default_rest(&self) -> Self {
        match self {
            Self::Passes(_) => Self::adam(),
            Self::Adamw(_) | Self::Sgd(_) => self.clone(),
        }
    }

    /// `base`, or the named or listed rule with its defaults, with the section's keys on top; and `lr`.
    fn read(mut section: Section, base: Self) -> Result<(Self, Option<f64>)> {
        let name = section.get::<String>("name")?;
        let passes = section.get::<Vec<String>>("passes")?;
        let (mut rule, title) = match (name, passes) {
            (Some(_), Some(_)) => return Err(section.error("passes", "give `name` or `passes`, not both")),
            (Some(name), None) => {
                (Self::named(&name).map_err(|_| section.error("name", unknown_optimizer(&name)))?, name)
            }
            (None, Some(words)) => {
                let passes = parse_passes(&words).map_err(|message| section.error("passes", message))?;
                let Self::Passes(sinkgd) = Self::sinkgd() else { unreachable!("SinkGD is a list of passes") };
                (Self::Passes(PassProgram { passes, ..sinkgd }), "a list of passes".to_owned())
            }
            (None, None) => {
                let title = match &base {
                    Self::Passes(_) => "sinkgd",
                    Self::Adamw(_) => "adam",
                    Self::Sgd(_) => "sgd",
                };
                (base, title.to_owned())
            }
        };
        let lr = section.get("lr")?;
        match &mut rule {
            Self::Passes(program) => {
                section.set("iterations", &mut program.iterations)?;
                section.set("momentum", &mut program.momentum)?;
                section.set("scale", &mut program.scale)?;
                section.set("weight_decay", &mut program.weight_decay)?;
            }
            Self::Adamw(adamw) => {
                if let Some(betas) = section.get::<[f64; 2]>("betas")? {
                    if ["beta1", "beta2"].iter().any(|beta| section.written_together("betas", beta)) {
                        return Err(section.error("betas", "give `betas` or `beta1` and `beta2`, not both"));
                    }
                    [adamw.beta1, adamw.beta2] = betas;
                }
                section.set("beta1", &mut adamw.beta1)?;
                section.set("beta2", &mut adamw.beta2)?;
                section.set("eps", &mut adamw.eps)?;
                section.set("weight_decay", &mut adamw.weight_decay)?;
            }
            Self::Sgd(sgd) => {
                section.set("momentum", &mut sgd.momentum)?;
                section.set("weight_decay", &mut sgd.weight_decay)?;
                section.set("nesterov", &mut sgd.nesterov)?;
            }
        }
        section.finish(&format!("{title} does not use this key"))?;
        Ok((rule, lr))
    }

    fn validate(&self, section: &str) -> Result<()> {
        let key = |name: &str| format!("{section}.{name}");
        match self {
            Self::Passes(program) => {
                if program.passes.is_empty() {
                    return Err(Error::config(key("passes"), format!("is empty; the passes are {}", Pass::list())));
                }
                check::at_least_1(&key("iterations"), program.iterations.into())?;
                if program.momentum != 0.0 {
                    let message =
                        format!("a list of passes has no momentum yet, it must be 0, got {}", program.momentum);
                    return Err(Error::config(key("momentum"), message));
                }
                check::positive(&key("scale"), program.scale)?;
                check::not_negative(&key("weight_decay"), program.weight_decay)
            }
            Self::Adamw(adamw) => {
                check::from_0_below_1(&key("beta1"), adamw.beta1)?;
                check::from_0_below_1(&key("beta2"), adamw.beta2)?;
                check::positive(&key("eps"), adamw.eps)?;
                check::not_negative(&key("weight_decay"), adamw.weight_decay)
            }
            Self::Sgd(sgd) => {
                check::from_0_below_1(&key("momentum"), sgd.momentum)?;
                check::not_negative(&key("weight_decay"), sgd.weight_decay)?;
                if sgd.nesterov && sgd.momentum == 0.0 {
                    return Err(Error::config(key("nesterov"), "looks ahead along the momentum, which is 0"));
                }
                Ok(())
            }
        }
    }
}

impl Pass {
    /// Every pass there is.
    pub const ALL: [Self; 2] = [Self::Row, Self::Column];

    /// Its name in CONFIG.toml and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Column => "column",
        }
    }

    fn list() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl FromStr for Pass {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        parse_pass(word).map_err(|message| Error::config("passes", message))
    }
}

/// A list of names, or several in one string for the command line's sake: `row,column`.
fn parse_passes(words: &[String]) -> Result<Vec<Pass>, String> {
    let words = words.iter().flat_map(|word| word.split(',')).map(str::trim);
    words.filter(|word| !word.is_empty()).map(parse_pass).collect()
}

fn parse_pass(word: &str) -> Result<Pass, String> {
    let pass = Pass::ALL.into_iter().find(|pass| pass.name() == word);
    pass.ok_or_else(|| format!("no pass is called `{word}`; the passes are {}", Pass::list()))
}

fn unknown_optimizer(name: &str) -> String {
    let mut message = format!("no optimizer is called `{name}`; the optimizers are {}", OPTIMIZERS.join(", "));
    let nearest = did_you_mean(name, &OPTIMIZERS);
    if nearest.ends_with('?') {
        message = format!("{message}; {nearest}");
    }
    message
}

/// How [`OptimizerConfig`] stands in TOML: the rest last, since a table ends the plain values.
#[derive(Serialize)]
struct OptimizerSections {
    #[serde(flatten)]
    main: RuleSection,
    rest: RuleSection,
}

#[derive(Serialize)]
struct RuleSection {
    #[serde(flatten)]
    rule: Rule,
    lr: f64,
}

impl From<OptimizerConfig> for OptimizerSections {
    fn from(config: OptimizerConfig) -> Self {
        Self {
            main: RuleSection { rule: config.rule, lr: config.lr },
            rest: RuleSection { rule: config.rest, lr: config.rest_lr },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{RunConfig, RunDefaults};

    fn read(toml: &str) -> Result<OptimizerConfig> {
        let file = Some((Path::new("run.toml"), toml));
        RunConfig::load(file, &[], RunDefaults::Software).map(|run| run.optimizer)
    }

    fn adamw(beta1: f64, beta2: f64, eps: f64, weight_decay: f64) -> Rule {
        Rule::Adamw(AdamwConfig { beta1, beta2, eps, weight_decay })
    }

    fn program(passes: &[Pass], iterations: u32, scale: f64) -> Rule {
        Rule::Passes(PassProgram { passes: passes.to_vec(), iterations, momentum: 0.0, scale, weight_decay: 0.0 })
    }

    #[test]
    fn sections_resolve_to_rules() {
        let both = [Pass::Row, Pass::Column];
        let sgd = |momentum, nesterov| Rule::Sgd(SgdConfig { momentum, weight_decay: 0.0, nesterov });
        let adam = adamw(0.9, 0.999, 1e-8, 0.0);
        let decayed = adamw(0.9, 0.999, 1e-8, 0.01);
        let cases = [
            ("name = 'sinkgd'", 0.02, program(&both, 5, 0.05), 0.02, adam.clone()),
            ("lr = 1", 1.0, program(&both, 5, 0.05), 1.0, adam.clone()),
            ("passes = ['row']\niterations = 1", 0.02, program(&both[..1], 1, 0.05), 0.02, adam.clone()),
            ("passes = 'column, row'\nscale = 2", 0.02, program(&[both[1], both[0]], 5, 2.0), 0.02, adam.clone()),
            ("name = 'adamw'", 1e-3, decayed.clone(), 1e-3, decayed),
            ("name = 'adam'\nbetas = [0, 0.5]", 1e-3, adamw(0.0, 0.5, 1e-8, 0.0), 1e-3, adamw(0.0, 0.5, 1e-8, 0.0)),
            ("name = 'sgd'\nmomentum = 0.9\nnesterov = true", 0.1, sgd(0.9, true), 0.1, sgd(0.9, true)),
            ("[optimizer.rest]\neps = 1e-6", 0.02, program(&both, 5, 0.05), 0.02, adamw(0.9, 0.999, 1e-6, 0.0)),
            ("rest = {name = 'sgd', lr = 0.3}", 0.02, program(&both, 5, 0.05), 0.3, sgd(0.0, false)),
            ("name = 'sgd'\n[optimizer.rest]\nmomentum = 0.5", 0.1, sgd(0.0, false), 0.1, sgd(0.5, false)),
        ];
        for (toml, lr, rule, rest_lr, rest) in cases {
            assert_eq!(
                read(&format!("[optimizer]\n{toml}")).unwrap(),
                OptimizerConfig { lr, rule, rest_lr, rest },
                "{toml}"
            );
        }
        for name in OPTIMIZERS {
            let from_file = read(&format!("[optimizer]\nname = '{name}'")).unwrap();
            assert_eq!(OptimizerConfig::named(name).unwrap(), from_file);
        }
    }

    #[test]
    fn refuses_with_the_place_and_the_remedy() {
        let cases = [
            (
                "name = 'sgd'\nbeta1 = 0.9",
                "run.toml: [optimizer] beta1: sgd does not use this key; known: name, passes",
            ),
            ("name = 'adam'\nscale = 1", "[optimizer] scale: adam does not use this key"),
            ("itertions = 5", "[optimizer] itertions: sinkgd does not use this key; did you mean `iterations`?"),
            ("rest = {nesterov = true}", "[optimizer.rest] nesterov: adam does not use this key"),
            ("rest = 'adam'", "run.toml: [optimizer] rest: wants a section [optimizer.rest], got the string \"adam\""),
            (
                "name = 'sinkdg'",
                "[optimizer] name: no optimizer is called `sinkdg`; the optimizers are sinkgd, adamw, adam, sgd; did you mean `sinkgd`?",
            ),
            ("name = 'sinkgd'\npasses = ['row']", "give `name` or `passes`, not both"),
            ("name = 'adam'\nbetas = [0.9, 0.9]\nbeta2 = 0.9", "give `betas` or `beta1` and `beta2`, not both"),
            ("passes = ['row', 'sign']", "[optimizer] passes: no pass is called `sign`; the passes are row, column"),
            ("passes = [1]", "[optimizer] passes: wants a string or a list of strings, got the list [1]"),
            ("passes = []", "optimizer.passes: is empty; the passes are row, column"),
            ("iterations = 0", "optimizer.iterations: must be at least 1"),
            ("momentum = 0.9", "optimizer.momentum: a list of passes has no momentum yet, it must be 0, got 0.9"),
            ("momentum = nan", "optimizer.momentum: a list of passes has no momentum yet, it must be 0, got NaN"),
            ("lr = nan", "optimizer.lr: must be finite and above 0, got NaN"),
            ("scale = 0", "optimizer.scale: must be finite and above 0, got 0"),
            ("weight_decay = -1", "optimizer.weight_decay: must be finite and at least 0, got -1"),
            ("rest = {lr = 0}", "optimizer.rest.lr: must be finite and above 0"),
            ("rest = {betas = [0.9, 1]}", "optimizer.rest.beta2: must be at least 0 and below 1, got 1"),
            ("rest = {betas = 0.9}", "wants a list of two numbers, got 0.9"),
            ("name = 'adam'\neps = 0", "optimizer.eps: must be finite and above 0"),
            ("name = 'sgd'\nnesterov = true", "optimizer.nesterov: looks ahead along the momentum, which is 0"),
            ("name = 'sgd'\nnesterov = 1", "wants true or false, got 1"),
        ];
        for (toml, expected) in cases {
            let message = read(&format!("[optimizer]\n{toml}")).expect_err(expected).to_string();
            assert!(message.contains(expected), "{toml}: {message}");
        }
        assert_eq!("row".parse::<Pass>().unwrap(), Pass::Row);
        assert!("rows".parse::<Pass>().unwrap_err().to_string().contains("the passes are row, column"));
    }
}
