//! Which rule updates which parameters.

use serde::Serialize;
use toml::Table;

use super::Rule;
use super::catalog::{self, Base, OfRole, ROLES};
use super::method::Directions;
use super::passes::PassProgram;
use super::rule::Recipe;
use crate::settings::{AdapterConfig, Origin, Pass, Role, Section};
use crate::{Error, Result};

/// The resolved meaning of `[optimizer]`: a rule for each role.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OptimizerConfig {
    /// Updates the matrices of attention and feed-forward.
    #[serde(flatten)]
    pub linear: Recipe,
    /// Updates the embedding, even if it is tied to the head.
    pub embedding: Recipe,
    /// Updates an untied head.
    pub head: Recipe,
    /// Updates the gains of the norms.
    pub norm: Recipe,
}

/// The sections of [`ROLES`].
const TABLES: [&str; ROLES.len()] = ["optimizer.rest", "optimizer.embedding", "optimizer.head", "optimizer.norm"];

impl OptimizerConfig {
    /// The optimizer of this name with its own learning rate and defaults: one of [`optimizer_names`](super::optimizer_names).
    pub fn named(name: &str) -> Result<Self> {
        let mut main = Section::new("optimizer");
        main.put("name".into(), name.into(), Origin::Defaults);
        let config = Self::read(main, ROLES.map(Section::new));
        config.map_err(|_| Error::config("optimizer.name", catalog::base(name).err().unwrap_or_default()))
    }

    /// Parses the `[optimizer]` of a CONFIG.toml, with its subtables and nothing else.
    ///
    /// Errors: whatever [`RunConfig::load`](crate::config::RunConfig::load) rejects in it.
    pub fn from_toml(text: &str) -> Result<Self> {
        let config = Self::parse("TOML", text)?;
        config.validate()?;
        Ok(config)
    }

    fn parse(file: &str, text: &str) -> Result<Self> {
        let parsed = text.parse::<Table>();
        let mut table = parsed.map_err(|error| Error::config(file, error.to_string().trim_end()))?;
        let optimizer = table.remove("optimizer");
        if let Some(other) = table.keys().next() {
            return Err(Error::config(
                format!("{file}: {other}"),
                "only [optimizer] and the tables below it belong here",
            ));
        }
        let origin = Origin::File(file.to_owned());
        let (mut main, mut roles) = (Section::new("optimizer"), TABLES.map(Section::new));
        let values = optimizer.map(|value| origin.table("optimizer", value)).transpose()?;
        for (key, value) in values.into_iter().flatten() {
            match ROLES.iter().position(|role| *role == key) {
                None => main.put(key, value, origin.clone()),
                Some(role) => {
                    let values = origin.table(TABLES[role], value)?;
                    values.into_iter().for_each(|(key, value)| roles[role].put(key, value, origin.clone()));
                }
            }
        }
        Self::read(main, roles)
    }

    /// The recipe for parameters of this role.
    pub fn recipe(&self, role: Role) -> &Recipe {
        match role {
            Role::Linear | Role::Adapter => &self.linear,
            Role::Embedding => &self.embedding,
            Role::Head => &self.head,
            Role::Norm | Role::Bias => &self.norm,
        }
    }

    /// Whether a matrix of this role may be passed to its rule split by rows.
    pub(crate) fn is_row_wise(&self, role: Role) -> bool {
        self.recipe(role).rule.method().is_row_wise()
    }

    /// Whether its updates should be fused into the backward pass.
    pub(crate) fn is_fused(&self) -> bool {
        self.linear.rule.method().is_fused()
    }

    /// How a gradient is estimated from losses alone, if it is; the same for all parameters, see
    /// [`OptimizerConfig::validate`].
    pub fn zeroth_order(&self) -> Option<Directions> {
        self.linear.rule.zeroth_order()
    }

    /// The adapters that are trained instead of the model, if any.
    pub fn adapter(&self) -> Option<AdapterConfig> {
        self.linear.rule.adapter()
    }

    /// Directions per step in an epoch, from 0, of a run of `epochs`; 0 if it takes a gradient.
    pub fn queries_at(&self, epoch: u64, epochs: f64) -> u32 {
        self.linear.rule.queries_at(epoch, epochs)
    }

    /// Multiplies every learning rate by `factor`.
    pub fn with_lr_factor(self, factor: f64) -> Self {
        self.with_lr_factors(factor, factor)
    }

    /// Multiplies the learning rate of the linear layers by `linear`, and those of embedding, head and norms by `rest`.
    pub fn with_lr_factors(mut self, linear: f64, rest: f64) -> Self {
        self.linear.lr *= linear;
        for recipe in [&mut self.embedding, &mut self.head, &mut self.norm] {
            recipe.lr *= rest;
        }
        self
    }

    /// Whether one rule updates all matrices: the linear layers, the embedding and the head.
    pub fn has_one_rule(&self) -> bool {
        self.linear.rule == self.embedding.rule && self.linear.rule == self.head.rule
    }

    /// Rejects values for which an update would be undefined.
    pub fn validate(&self) -> Result<()> {
        self.linear.validate("optimizer")?;
        self.validate_zeroth_order()?;
        self.others().into_iter().try_for_each(|(section, recipe)| recipe.validate(section))
    }

    /// The recipes for the rest, by the table that sets them: one table, or three.
    fn others(&self) -> Vec<(&'static str, &Recipe)> {
        if self.embedding == self.head && self.head == self.norm {
            return vec![("optimizer.rest", &self.norm)];
        }
        let (embedding, head, norm) = (&self.embedding, &self.head, &self.norm);
        vec![("optimizer.embedding", embedding), ("optimizer.head", head), ("optimizer.norm", norm)]
    }

    /// Two losses are taken for all parameters together, so none may need a gradient or another distance.
    fn validate_zeroth_order(&self) -> Result<()> {
        let title = self.linear.rule.title();
        let distance = |recipe: &Recipe| recipe.rule.zeroth_order().map(|hyper| (hyper.eps, hyper.queries));
        for (section, recipe) in self.others() {
            let other = recipe.rule.title();
            if self.adapter().is_some() && *recipe != self.linear {
                let message = format!("{title} trains only adapters, no part of the model: leave it out");
                return Err(Error::config(section, message));
            }
            let message = match (distance(&self.linear), distance(recipe)) {
                (own, its) if own == its && (own.is_none() || title == other) => continue,
                (Some(_), Some(_)) if title == other => "the same eps and queries as [optimizer] are wanted".to_owned(),
                (Some(_), _) => {
                    format!("{title} updates all parameters itself, not some with {other}: leave it out")
                }
                _ => format!(
                    "{other} takes losses and no gradient; [optimizer] must name it for all parameters, or none"
                ),
            };
            return Err(Error::config(section, message));
        }
        Ok(())
    }

    /// Reads `[optimizer]`, which is SinkGD unless it names another.
    ///
    /// A role's settings come, in order of precedence, from the user's table for the role, the user's `rest`, the
    /// catalog's table for the role, and the catalog's `rest`; for a list of passes without a name the rest uses Adam.
    /// An unspecified learning rate is that of `[optimizer]`.
    pub(crate) fn read(mut main: Section, roles: [Section; ROLES.len()]) -> Result<Self> {
        let name = main.get::<String>("name")?;
        let listed = main.has("passes");
        let sinkgd = catalog::sinkgd();
        let default_lr = sinkgd.lr.expect("the catalog gives SinkGD a rate");
        let ReadRule { rule, lr, named_lr } = read_rule(&mut main, Base { lr: None, ..sinkgd })?;
        let lr = lr.or(named_lr).unwrap_or(default_lr);
        let entry = name.unwrap_or_else(|| if listed { "" } else { "sinkgd" }.to_owned());
        let [mut rest, embedding, head, norm] = roles;
        // A rate alone applies to whatever updates the rest; anything more replaces the catalog's tables.
        let rest_lr = if rest.keys().all(|key| key == "lr") { rest.get::<f64>("lr")? } else { None };
        let replaced = if rest_lr.is_none() && rest.keys().next().is_some() {
            Some(read_rule(&mut rest, of_entry(&entry, "rest", &rule)?)?)
        } else {
            None
        };
        let resolve = |role: &str, mut section: Section| -> Result<Recipe> {
            let base = match &replaced {
                Some(read) => Base { rule: read.rule.clone(), lr: read.lr, title: read.rule.title().to_owned() },
                None => {
                    let mut base = of_entry(&entry, role, &rule)?;
                    base.lr = rest_lr.or(base.lr);
                    base
                }
            };
            let read = read_rule(&mut section, base)?;
            Ok(Recipe { rule: read.rule, lr: read.lr.unwrap_or(lr) })
        };
        Ok(Self {
            embedding: resolve("embedding", embedding)?,
            head: resolve("head", head)?,
            norm: resolve("norm", norm)?,
            linear: Recipe { rule, lr },
        })
    }
}

/// The catalog entry's defaults for a role; Adam if there is no such entry.
///
/// The learning rate is the table's own or unset: a name in a table selects a rule, not its rate.
fn of_entry(entry: &str, role: &str, main: &Rule) -> Result<Base> {
    let mut section = Section::new("catalog");
    match catalog::role(entry, role) {
        Some(OfRole::Same) => return Ok(Base { rule: main.clone(), lr: None, title: entry.to_owned() }),
        Some(OfRole::Table(table)) => {
            table.iter().for_each(|(key, value)| section.put(key.clone(), value.clone(), Origin::Defaults));
        }
        None => section.put("name".into(), "adam".into(), Origin::Defaults),
    }
    let read = read_rule(&mut section, Base { lr: None, ..catalog::sinkgd() })?;
    Ok(Base { title: read.rule.title().to_owned(), rule: read.rule, lr: read.lr })
}

/// A rule as read from a section.
struct ReadRule {
    rule: Rule,
    /// The section's learning rate, or else its base's.
    lr: Option<f64>,
    /// The learning rate that comes with the name in the section.
    named_lr: Option<f64>,
}

/// `base`, or the named or listed rule with its defaults, overridden by the section's keys.
fn read_rule(section: &mut Section, base: Base) -> Result<ReadRule> {
    let base_lr = base.lr;
    let name = section.get::<String>("name")?;
    let passes = section.get::<Vec<String>>("passes")?;
    let mut named_lr = None;
    let mut base = match (name, passes) {
        (Some(_), Some(_)) => return Err(section.error("passes", "give `name` or `passes`, not both")),
        (Some(name), None) => {
            let named = catalog::base(&name).map_err(|message| section.error("name", message))?;
            named_lr = named.lr;
            named
        }
        (None, Some(words)) => {
            let passes = Pass::parse_list(&words).map_err(|message| section.error("passes", message))?;
            let Rule::Passes(sinkgd) = catalog::sinkgd().rule else { unreachable!("SinkGD is a list of passes") };
            let rule = Rule::Passes(PassProgram { passes, ..sinkgd });
            Base { rule, lr: None, title: "a list of passes".to_owned() }
        }
        (None, None) => base,
    };
    base.rule.method_mut().read_keys(section)?;
    let lr = section.get("lr")?.or(base_lr);
    section.finish(&format!("{} does not use this key", base.title))?;
    Ok(ReadRule { rule: base.rule, lr, named_lr })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{Adamw, MomentumPlacement, ScaleRule, Sgd};

    fn read(toml: &str) -> Result<OptimizerConfig> {
        let config = OptimizerConfig::parse("run.toml", toml)?;
        config.validate()?;
        Ok(config)
    }

    fn adamw(beta1: f64, beta2: f64, eps: f64, weight_decay: f64) -> Rule {
        Rule::Adamw(Adamw { beta1, beta2, eps, weight_decay })
    }

    fn program(passes: &[Pass], iterations: u32, scale: f64) -> Rule {
        Rule::Passes(PassProgram {
            passes: passes.to_vec(),
            iterations,
            tolerance: 0.0,
            momentum: 0.0,
            momentum_placement: MomentumPlacement::Before,
            nesterov: false,
            row_threshold: 0.0,
            scale,
            scale_rule: ScaleRule::Rms,
            weight_decay: 0.0,
        })
    }

    #[test]
    fn sections_resolve_to_rules() {
        let both = [Pass::Row, Pass::Column];
        let sgd = |momentum, nesterov| Rule::Sgd(Sgd { momentum, weight_decay: 0.0, nesterov });
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
            ("rest = {lr = 0.5}", 0.02, program(&both, 5, 0.05), 0.5, adam.clone()),
            ("rest = {name = 'sgd', lr = 0.3}", 0.02, program(&both, 5, 0.05), 0.3, sgd(0.0, false)),
            ("name = 'sgd'\n[optimizer.rest]\nmomentum = 0.5", 0.1, sgd(0.0, false), 0.1, sgd(0.5, false)),
        ];
        for (toml, lr, rule, rest_lr, rest) in cases {
            let config = read(&format!("[optimizer]\n{toml}")).unwrap();
            assert_eq!(config.linear, Recipe { rule, lr }, "{toml}");
            for role in [Role::Embedding, Role::Head, Role::Norm] {
                assert_eq!(*config.recipe(role), Recipe { rule: rest.clone(), lr: rest_lr }, "{toml}: {role:?}");
            }
        }
    }

    #[test]
    fn every_name_of_the_catalog_is_a_valid_optimizer_that_its_own_toml_repeats() {
        for name in catalog::names() {
            let named = OptimizerConfig::named(name).unwrap();
            named.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(read(&format!("[optimizer]\nname = '{name}'")).unwrap(), named);
            let written = toml::to_string(&std::collections::BTreeMap::from([("optimizer", &named)])).unwrap();
            assert_eq!(read(&written).unwrap(), named, "{name}:\n{written}");
        }
    }

    #[test]
    fn roles_come_from_the_nearest_table() {
        // SCALE has momentum on the head, columns on the embedding, Adam on the norms.
        let scale = OptimizerConfig::named("scale").unwrap();
        let Rule::Passes(head) = &scale.head.rule else { panic!("{:?}", scale.head) };
        let Rule::Passes(embedding) = &scale.embedding.rule else { panic!("{:?}", scale.embedding) };
        assert_eq!((head.momentum, &embedding.passes[..]), (0.9, &[Pass::Column][..]));
        assert!(matches!(scale.norm.rule, Rule::Adamw(_)));
        // A rate alone keeps those rules.
        let with_lr = read("[optimizer]\nname = 'scale'\nrest = {lr = 0.5}").unwrap();
        assert_eq!((&with_lr.head.rule, with_lr.head.lr), (&scale.head.rule, 0.5));
        assert_eq!((&with_lr.norm.rule, with_lr.norm.lr), (&scale.norm.rule, 0.5));
        // Anything more replaces them, and a role's own table overrides it.
        let text = "[optimizer]\nname = 'scale'\nrest = {name = 'adam', lr = 0.25}\nhead = {beta1 = 0.5}";
        let replaced = read(text).unwrap();
        assert_eq!(replaced.embedding, Recipe { rule: adamw(0.9, 0.999, 1e-8, 0.0), lr: 0.25 });
        assert_eq!(replaced.head, Recipe { rule: adamw(0.5, 0.999, 1e-8, 0.0), lr: 0.25 });
    }

    #[test]
    fn factors_move_the_rates_that_they_are_for() {
        let scion = OptimizerConfig::named("scion").unwrap();
        let twice = scion.clone().with_lr_factor(2.0);
        assert_eq!((twice.linear.lr, twice.norm.lr), (2.0 * scion.linear.lr, 2.0 * scion.norm.lr));
        assert_eq!(twice.linear.rule, scion.linear.rule);
        let apart = scion.clone().with_lr_factors(2.0, 0.5);
        assert_eq!(apart.linear.lr, 2.0 * scion.linear.lr);
        for role in [Role::Embedding, Role::Head, Role::Norm] {
            assert_eq!(apart.recipe(role).lr, 0.5 * scion.recipe(role).lr, "{role:?}");
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
            ("head = {nesterov = true}", "[optimizer.head] nesterov: adam does not use this key"),
            (
                "rest = 'adam'",
                "run.toml: [optimizer] rest: expected a section [optimizer.rest], got the string \"adam\"",
            ),
            (
                "name = 'sinkdg'",
                "[optimizer] name: no optimizer is called `sinkdg`; the optimizers are adafactor, adalomo, adam, ",
            ),
            ("name = 'sinkdg'", "did you mean `sinkgd`?"),
            ("name = 'sinkgd'\npasses = ['row']", "give `name` or `passes`, not both"),
            ("name = 'adam'\nbetas = [0.9, 0.9]\nbeta2 = 0.9", "give `betas` or `beta1` and `beta2`, not both"),
            ("passes = ['row', 'sing']", "[optimizer] passes: no pass is called `sing`; the passes are row, column"),
            ("passes = [1]", "[optimizer] passes: expected a string or a list of strings, got the list [1]"),
            ("passes = []", "optimizer.passes: is empty; the passes are row, column"),
            ("iterations = 0", "optimizer.iterations: must be at least 1"),
            ("momentum = 1", "optimizer.momentum: must be at least 0 and below 1, got 1"),
            ("nesterov = true", "optimizer.nesterov: looks ahead along the momentum, which is 0"),
            ("momentum_placement = 'in'", "[optimizer] momentum_placement: must be before or after"),
            ("scale_rule = 'moun'", "[optimizer] scale_rule: no scale rule is called `moun`; the rules are rms, muon"),
            ("tolerance = -1", "optimizer.tolerance: must be finite and at least 0, got -1"),
            ("row_threshold = nan", "optimizer.row_threshold: must be finite and at least 0, got NaN"),
            ("lr = nan", "optimizer.lr: must be finite and above 0, got NaN"),
            ("scale = 0", "optimizer.scale: must be finite and above 0, got 0"),
            ("weight_decay = -1", "optimizer.weight_decay: must be finite and at least 0, got -1"),
            ("norm = {lr = 0}", "optimizer.norm.lr: must be finite and above 0"),
            ("rest = {lr = 0}", "optimizer.rest.lr: must be finite and above 0"),
            ("head = {betas = [0.9, 1]}", "optimizer.head.beta2: must be at least 0 and below 1, got 1"),
            ("rest = {betas = 0.9}", "expected a list of two numbers, got 0.9"),
            ("name = 'adam'\neps = 0", "optimizer.eps: must be finite and above 0"),
            ("name = 'lion'\nbeta2 = 1", "optimizer.beta2: must be at least 0 and below 1, got 1"),
            ("name = 'sgd'\nnesterov = true", "optimizer.nesterov: looks ahead along the momentum, which is 0"),
            ("name = 'sgd'\nnesterov = 1", "expected true or false, got 1"),
            ("name = 'adafactor'\ndecay_rate = 1", "optimizer.decay_rate: must be above 0 and below 1, got 1"),
            ("name = 'adafactor'\nmomentum = 0.9", "[optimizer] momentum: adafactor does not use this key"),
            ("name = 'adalomo'\neps1 = 0", "optimizer.eps1: must be finite and above 0, got 0"),
            ("name = 'adam-nonzero'\nstart = 'zero'", "[optimizer] start: must be data or random, got `zero`"),
            ("name = 'adam-nonzero'\nstart_batches = 0", "optimizer.start_batches: must be at least 1"),
            ("name = 'galore'\nupdate_interval = 0", "optimizer.update_interval: must be at least 1"),
            ("name = 'galore'\nrank = -1", "expected a whole number"),
            ("name = 'fira'\ngrowth_limit = 1", "optimizer.growth_limit: must be finite and above 1, got 1"),
            ("name = 'apollo'\nscale_of = 'row'", "[optimizer] scale_of: must be channel or tensor, got `row`"),
            ("name = 'apollo-mini'\nscale = 0", "optimizer.scale: must be finite and above 0, got 0"),
            ("name = 'racs'\niterations = 0", "optimizer.iterations: must be at least 1"),
            ("name = 'racs'\ngrowth_limit = 0.9", "optimizer.growth_limit: must be finite and above 1, got 0.9"),
            ("name = 'extrapolated-sgd'\nextrapolation = 0", "optimizer.extrapolation: must be finite and above 0"),
            ("name = 'h-fac'\nclip_threshold = 0", "optimizer.clip_threshold: must be finite and above 0, got 0"),
        ];
        for (toml, expected) in cases {
            let message = read(&format!("[optimizer]\n{toml}")).expect_err(expected).to_string();
            assert!(message.contains(expected), "{toml}: {message}");
        }
        let message = OptimizerConfig::named("sinkdg").unwrap_err().to_string();
        assert!(message.contains("optimizer.name: no optimizer is called `sinkdg`"), "{message}");
    }
}
