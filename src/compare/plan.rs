//! The plan of a comparison, and whether a directory has the same comparison.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::files::{read_json, write_json};
use super::sweep::{LrFactors, LrSweep, factor_words};
use crate::config::{ModelConfig, OptimizerConfig, RunConfig, optimizer_names};
use crate::data::dataset::DataIdentity;
use crate::files::is_unused;
use crate::{Error, Result};

/// Optimizers, factors and seeds over one configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything except the optimizer; its seed is the first one.
    pub config: RunConfig,
    /// Optimizers of the catalog, in the order of the report.
    pub optimizers: Vec<String>,
    /// Zeroth-order optimizers that fine-tune the reference's trained model; empty if all runs start from a trained
    /// model.
    pub fine_tuners: Vec<String>,
    /// Factors on the learning rates of every optimizer.
    pub factors: LrSweep,
    /// Seeds: `train.seed`, + 1, + 2 …
    pub n_seeds: u64,
}

/// One training run of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunId {
    /// The optimizer's name in the catalog.
    pub optimizer: String,
    /// Factors on its own learning rates.
    pub factors: LrFactors,
    /// Determines the initial weights and the batches.
    pub seed: u64,
}

/// Stands for the whole catalog.
const ALL: &str = "all";

impl Plan {
    /// Checks the arguments of a comparison; duplicate names, factors and seeds count once.
    ///
    /// Errors: an unknown optimizer, a factor that is not above 0, nothing to compare, or anything that
    /// [`RunConfig::validate`] rejects in one of the runs.
    pub fn new(config: RunConfig, optimizers: &[String], mut factors: LrSweep, n_seeds: u64) -> Result<Self> {
        let refuse = |key: &str, message: String| Err(Error::config(key, message));
        if optimizers.is_empty() {
            return refuse("--optimizers", "name at least one".into());
        }
        for (flag, factors) in [("--lr-sweep", &factors.linear), ("--rest-lr-sweep", &factors.rest)] {
            if factors.is_empty() {
                return refuse(flag, "give at least one factor: 1 is the optimizer's own learning rate".into());
            }
            if let Some(wrong) = factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
                return refuse(flag, format!("a factor must be finite and above 0, got {wrong}"));
            }
        }
        if n_seeds == 0 {
            return refuse("--seeds", "at least 1".into());
        }
        factors.sort();
        // The runs share LLaMA itself; adapters come with the optimizer that trains them.
        let config = RunConfig { model: ModelConfig { adapter: None, ..config.model }, ..config };
        let mut plan = Self { config, optimizers: Vec::new(), fine_tuners: Vec::new(), factors, n_seeds };
        let all: Vec<String> = optimizer_names().iter().map(|&name| name.to_owned()).collect();
        let named = optimizers.iter().flat_map(|name| if name == ALL { &all[..] } else { std::slice::from_ref(name) });
        for name in named {
            let found = OptimizerConfig::named(name).map_err(|error| match error {
                Error::Config { message, .. } => Error::config("--optimizers", message),
                other => other,
            })?;
            let fine_tunes = found.zeroth_order().is_some() && plan.config.train.init_from.is_none();
            let names = if fine_tunes { &mut plan.fine_tuners } else { &mut plan.optimizers };
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        if plan.optimizers.is_empty() {
            let message = format!(
                "{} takes losses and no gradient, and fine-tunes a trained model: name one with `--from`, or another \
                 optimizer that trains it first",
                plan.fine_tuners.join(", ")
            );
            return refuse("--optimizers", message);
        }
        for optimizer in plan.all() {
            for factors in plan.factors_of(optimizer).points() {
                plan.run_config(&plan.run(optimizer, factors, plan.last_seed()))?.validate()?;
            }
        }
        Ok(plan)
    }

    /// All optimizers in the order in which they run: fine-tuning ones last.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.optimizers.iter().chain(&self.fine_tuners)
    }

    /// Whether the optimizer starts from the reference's trained model.
    pub fn fine_tunes(&self, optimizer: &str) -> bool {
        self.fine_tuners.iter().any(|name| name == optimizer)
    }

    /// The factors to try for an optimizer; one that trains only adapters has no rest.
    pub fn factors_of(&self, optimizer: &str) -> LrSweep {
        let has_no_rest = OptimizerConfig::named(optimizer).is_ok_and(|own| own.adapter().is_some());
        let mut factors = self.factors.clone();
        if has_no_rest {
            factors.rest = vec![LrFactors::OWN.rest];
        }
        factors
    }

    /// The runs that choose each optimizer's factors: every pair, with the first seed.
    pub fn sweep(&self) -> impl Iterator<Item = RunId> + '_ {
        self.all().flat_map(|optimizer| self.sweep_of(optimizer))
    }

    /// The sweep of one optimizer.
    pub fn sweep_of(&self, optimizer: &str) -> Vec<RunId> {
        let seed = self.config.train.seed;
        self.factors_of(optimizer).points().map(|factors| self.run(optimizer, factors, seed)).collect()
    }

    /// One optimizer's runs at one pair of factors: every seed, in order.
    pub fn seeds_at(&self, optimizer: &str, factors: LrFactors) -> impl Iterator<Item = RunId> + '_ {
        let optimizer = optimizer.to_owned();
        self.seeds().map(move |seed| self.run(&optimizer, factors, seed))
    }

    /// All seeds.
    pub fn seeds(&self) -> impl Iterator<Item = u64> + use<> {
        self.config.train.seed..=self.last_seed()
    }

    /// The number of runs, if every optimizer has factors at which it does not diverge.
    pub fn n_runs(&self) -> usize {
        let further_seeds = self.n_seeds as usize - 1;
        self.all().map(|optimizer| self.factors_of(optimizer).n_points() + further_seeds).sum()
    }

    /// The reference, against whose final loss the others are timed: Adam, else AdamW, else the first optimizer.
    pub fn reference(&self) -> &str {
        let named = |wanted: &str| self.optimizers.iter().find(|name| *name == wanted);
        named("adam").or(named("adamw")).unwrap_or(&self.optimizers[0])
    }

    /// A run's whole configuration. The starting point of a fine-tuning run is known once the reference has ended.
    ///
    /// Errors: the catalog does not have the optimizer.
    pub fn run_config(&self, id: &RunId) -> Result<RunConfig> {
        let optimizer = id.factors.on(OptimizerConfig::named(&id.optimizer)?);
        let mut config = self.config.clone().with_optimizer(optimizer);
        config.train.seed = id.seed;
        config.eval.text_tokens = 0; // losses are compared
        // The results are bit-identical; the optimizer's purpose shows in the memory.
        let train = &mut config.train;
        if config.optimizer.zeroth_order().is_some() {
            // There is neither a backward pass to update in nor a gradient to analyze.
            train.fused_update = false;
            config.spectra.every = 0;
            return Ok(config);
        }
        train.fused_update |= config.optimizer.is_fused() && train.n_micro_batches() == 1 && train.max_grad_norm == 0.0;
        Ok(config)
    }

    /// Rejects a directory with another comparison or anything else; part of this comparison is fine.
    ///
    /// Errors: the first difference, by name.
    pub fn check_folder(&self, folder: &Path, adapter: &str) -> Result<()> {
        let kept = PlanFile::of(self, adapter, None);
        let Some(found) = PlanFile::read(folder)? else {
            let refuse =
                || Error::checkpoint(folder, "holds something other than a comparison: choose another `--out`");
            return if is_unused(folder) { Ok(()) } else { Err(refuse()) };
        };
        kept.refuse_difference(&found, folder)
    }

    /// Claims the directory for this comparison; `data` identifies text and tokenizer.
    ///
    /// Errors: see [`Plan::check_folder`]; also different data, or a directory that cannot be written.
    pub(super) fn claim(&self, folder: &Path, adapter: &str, data: DataIdentity) -> Result<()> {
        self.check_folder(folder, adapter)?;
        let mut kept = PlanFile::of(self, adapter, Some(data));
        let found = PlanFile::read(folder)?;
        kept.start = found.as_ref().and_then(|found| found.start.clone());
        if let (Some(then), Some(now)) = (found.and_then(|found| found.trained_on), &kept.trained_on)
            && then != *now
        {
            let message = format!(
                "its runs were trained on {then}, and the data is now {now}: restore that text and tokenizer, or \
                 choose another `--out`"
            );
            return Err(Error::checkpoint(folder, message));
        }
        write_json(&folder.join(PLAN), &kept)
    }

    /// The run whose weights the fine-tuning runs start from; `None` before it is chosen.
    pub(super) fn start(&self, folder: &Path) -> Result<Option<RunId>> {
        Ok(PlanFile::read(folder)?.and_then(|kept| kept.start))
    }

    /// Fixes that run: factors added later do not change the starting point of runs that have ended.
    pub(super) fn choose_start(&self, folder: &Path, start: &RunId) -> Result<()> {
        let Some(mut kept) = PlanFile::read(folder)? else { return Ok(()) };
        kept.start = Some(start.clone());
        write_json(&folder.join(PLAN), &kept)
    }

    /// The model that the comparison in a directory started from; `None` if there is no comparison or no model.
    pub fn first_model(folder: &Path) -> Result<Option<PathBuf>> {
        let kept = PlanFile::read(folder)?;
        Ok(kept.and_then(|kept| kept.settings["train"]["init_from"].as_str().map(PathBuf::from)))
    }

    fn run(&self, optimizer: &str, factors: LrFactors, seed: u64) -> RunId {
        RunId { optimizer: optimizer.to_owned(), factors, seed }
    }

    fn last_seed(&self) -> u64 {
        self.config.train.seed.saturating_add(self.n_seeds - 1)
    }
}

impl RunId {
    /// The run's directory in the comparison directory.
    pub fn folder(&self, comparison: &Path) -> PathBuf {
        comparison.join("runs").join(self.to_string())
    }
}

/// `sinkgd-x0.5-rest1-seed0`.
impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [linear, rest] = [self.factors.linear, self.factors.rest].map(factor_words);
        write!(f, "{}-x{linear}-rest{rest}-seed{}", self.optimizer, self.seed)
    }
}

const PLAN: &str = "plan.json";

/// The plan as saved in the directory.
#[derive(Serialize, Deserialize)]
struct PlanFile {
    adapter: String,
    optimizers: Vec<String>,
    lr_sweep: LrSweep,
    n_seeds: u64,
    /// The configuration, without settings that differ between runs or do not affect results.
    settings: Value,
    /// The training data; `None` in plans of earlier versions.
    #[serde(default)]
    trained_on: Option<DataIdentity>,
    /// The run whose weights the fine-tuning runs start from.
    #[serde(default)]
    start: Option<RunId>,
}

impl PlanFile {
    fn of(plan: &Plan, adapter: &str, trained_on: Option<DataIdentity>) -> Self {
        Self {
            adapter: adapter.to_owned(),
            optimizers: plan.all().cloned().collect(),
            lr_sweep: plan.factors.clone(),
            n_seeds: plan.n_seeds,
            settings: shared_settings(&plan.config),
            trained_on,
            start: None,
        }
    }

    /// Errors: a plan of an earlier version with a single factor for all rates, because its run names now mean
    /// something else.
    fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(PLAN);
        let Some(found) = read_json::<Value>(&path)? else { return Ok(None) };
        if found.get("lr_sweep").is_none() && found.get("factors").is_some() {
            let message = "holds a comparison of an earlier multinorm, where one factor moved every learning rate of an \
                           optimizer; now there are two (--lr-sweep, --rest-lr-sweep). Its report.html stays as it is: \
                           choose another `--out`";
            return Err(Error::checkpoint(folder, message));
        }
        serde_json::from_value(found).map(Some).map_err(|error| Error::checkpoint(&path, error.to_string()))
    }

    /// Additional optimizers, factors and seeds are not differences.
    fn refuse_difference(&self, found: &Self, folder: &Path) -> Result<()> {
        let words = |factors: &[f64]| factors.iter().copied().map(factor_words).collect::<Vec<_>>();
        let left_out = |flag: &str, of: &[String], now: &[String]| {
            let missing = of.iter().find(|name| !now.contains(name))?;
            Some(format!("the command's {flag} leaves out {missing}, which it compares"))
        };
        // Tokens are compared instead of the location of their text.
        let compared = |settings: &Value| {
            let mut settings = settings.clone();
            settings["data"].as_object_mut().map(|data| data.remove("source"));
            settings
        };
        let difference = difference("", &compared(&found.settings), &compared(&self.settings))
            .or_else(|| left_out("--optimizers", &found.optimizers, &self.optimizers))
            .or_else(|| left_out("--lr-sweep", &words(&found.lr_sweep.linear), &words(&self.lr_sweep.linear)))
            .or_else(|| left_out("--rest-lr-sweep", &words(&found.lr_sweep.rest), &words(&self.lr_sweep.rest)))
            .or_else(|| {
                let fewer = self.n_seeds < found.n_seeds;
                fewer.then(|| format!("it has {} seeds, the command's --seeds says {}", found.n_seeds, self.n_seeds))
            })
            .or_else(|| {
                let other = found.adapter != self.adapter;
                other.then(|| format!("its runs are of the adapter {}, this is {}", found.adapter, self.adapter))
            });
        difference.map_or(Ok(()), |difference| {
            let remedy = "repeat the command that began it (more optimizers, factors or seeds may be added), or choose \
                          another `--out`";
            Err(Error::checkpoint(folder, format!("holds another comparison: {difference}; {remedy}")))
        })
    }
}

/// The configuration shared by all runs.
pub(super) fn shared_settings(config: &RunConfig) -> Value {
    let mut settings = json!(config);
    let sections = settings.as_object_mut().expect("a configuration has sections");
    sections.remove("optimizer");
    // These do not affect results: how often a run is saved, and where tokens are cached.
    sections.remove("checkpoint");
    sections["data"].as_object_mut().expect("[data] has keys").remove("cache_dir");
    settings
}

/// The first key at which the command's settings differ from the directory's.
fn difference(key: &str, found: &Value, now: &Value) -> Option<String> {
    if let (Value::Object(found), Value::Object(now)) = (found, now) {
        let keys: BTreeSet<&String> = found.keys().chain(now.keys()).collect();
        let dotted = |inner: &str| if key.is_empty() { inner.to_owned() } else { format!("{key}.{inner}") };
        let at = |values: &serde_json::Map<String, Value>, inner: &str| values.get(inner).cloned().unwrap_or_default();
        return keys.into_iter().find_map(|inner| difference(&dotted(inner), &at(found, inner), &at(now, inner)));
    }
    (found != now).then(|| format!("its {key} is {found}, the command says {now}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunDefaults;

    fn plan(sets: &[&str], optimizers: &[&str], linear: &[f64], n_seeds: u64) -> Result<Plan> {
        plan_of_grid(sets, optimizers, linear, &[1.0], n_seeds)
    }

    fn plan_of_grid(sets: &[&str], optimizers: &[&str], linear: &[f64], rest: &[f64], n_seeds: u64) -> Result<Plan> {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        let config = RunConfig::load(None, &sets, RunDefaults::Software)?;
        let optimizers: Vec<String> = optimizers.iter().map(|&name| name.to_owned()).collect();
        Plan::new(config, &optimizers, LrSweep { linear: linear.to_vec(), rest: rest.to_vec() }, n_seeds)
    }

    #[test]
    fn runs_have_names_and_configurations_of_their_own() {
        let plan = plan(&["train.seed=7"], &["sgd", "adam", "sgd"], &[2.0, 0.5, 2.0, 1e-9], 2).unwrap();
        let names: Vec<String> = plan.sweep().map(|id| id.to_string()).collect();
        assert_eq!(names[..3], ["sgd-x1e-9-rest1-seed7", "sgd-x0.5-rest1-seed7", "sgd-x2-rest1-seed7"]);
        assert_eq!((names.len(), plan.n_runs(), plan.reference()), (6, 8, "adam"));
        let last = plan.seeds_at("adam", LrFactors { linear: 2.0, rest: 1.0 }).last().unwrap();
        assert_eq!(last.to_string(), "adam-x2-rest1-seed8");
        let config = plan.run_config(&last).unwrap();
        assert_eq!((config.train.seed, config.optimizer.linear.lr, config.optimizer.norm.lr), (8, 2e-3, 2e-3));
    }

    #[test]
    fn every_pair_of_factors_is_a_run_at_the_first_seed() {
        let grid = |optimizers: &[&str]| plan_of_grid(&[], optimizers, &[2.0, 1.0], &[1.0, 0.1, 0.1], 3).unwrap();
        let plan = grid(&["sinkgd", "adam"]);
        let names: Vec<String> = plan.sweep_of("sinkgd").iter().map(RunId::to_string).collect();
        let wanted = ["x1-rest0.1", "x2-rest0.1", "x1-rest1", "x2-rest1"].map(|point| format!("sinkgd-{point}-seed0"));
        assert_eq!(names, wanted);
        // The same number for an optimizer with one rule, and two more seeds at the best pair.
        assert_eq!((plan.sweep().count(), plan.n_runs()), (8, 12));
        let rates = |id: &RunId| {
            let config = plan.run_config(id).unwrap().optimizer;
            [config.linear.lr, config.embedding.lr, config.head.lr, config.norm.lr]
        };
        assert_eq!(rates(&plan.sweep_of("sinkgd")[1]), [0.04, 0.002, 0.002, 0.002]);
        assert_eq!(rates(&plan.sweep_of("adam")[3]), [0.002; 4], "one rate, twice as large");
        assert_eq!(rates(&plan.sweep_of("adam")[1]), [0.002, 0.0002, 0.0002, 0.0002]);
        // AdaZeta trains only adapters.
        let tuning = grid(&["adam", "adazeta", "mezo"]);
        let counts = ["adam", "adazeta", "mezo"].map(|name| tuning.sweep_of(name).len());
        assert_eq!((counts, tuning.n_runs()), ([4, 2, 4], 16));
    }

    #[test]
    fn words_that_cannot_be_are_refused() {
        let cases = [
            (plan(&[], &[], &[1.0], 1), "--optimizers: name at least one"),
            (
                plan(&[], &["adm"], &[1.0], 1),
                "--optimizers: no optimizer is called `adm`; the optimizers are adafactor",
            ),
            (plan(&[], &["adm"], &[1.0], 1), "did you mean `adam`?"),
            (plan(&["train.max_grad_norm=-1"], &["all"], &[1.0], 1), "train.max_grad_norm"),
            (plan(&[], &["adam"], &[], 1), "--lr-sweep: give at least one factor"),
            (plan(&[], &["adam"], &[1.0, 0.0], 1), "--lr-sweep: a factor must be finite and above 0, got 0"),
            (plan(&[], &["adam"], &[f64::NAN], 1), "got NaN"),
            (plan_of_grid(&[], &["adam"], &[1.0], &[], 1), "--rest-lr-sweep: give at least one factor"),
            (
                plan_of_grid(&[], &["adam"], &[1.0], &[1.0, -1.0], 1),
                "--rest-lr-sweep: a factor must be finite and above 0, got -1",
            ),
            (plan_of_grid(&[], &["sinkgd"], &[1.0], &[1e-323], 1), "optimizer.rest.lr"),
            (plan(&[], &["adam"], &[1.0], 0), "--seeds: at least 1"),
            (plan(&[], &["scion"], &[1e-320], 1), "optimizer.lr"),
        ];
        for (plan, expected) in cases {
            let message = plan.unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    fn data(name: &str) -> DataIdentity {
        DataIdentity { name: name.into(), train_tokens: 9, validation_tokens: 1, sha256: name.into() }
    }

    #[test]
    fn a_folder_is_gone_on_with_by_the_same_plan_or_a_larger_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new");
        let begun = plan(&[], &["adam", "sgd"], &[1.0, 2.0], 2).unwrap();
        begun.claim(&folder, "gpu", data("text")).unwrap();
        begun.check_folder(&folder, "gpu").unwrap();
        let larger =
            plan_of_grid(&["checkpoint.every=7"], &["sinkgd", "sgd", "adam"], &[0.5, 1.0, 2.0], &[0.25, 1.0], 3)
                .unwrap();
        larger.claim(&folder, "gpu", data("text")).unwrap();
        let all = ["adam", "sgd", "sinkgd"];
        let grid = |linear: &[f64], rest: &[f64]| plan_of_grid(&[], &all, linear, rest, 3).unwrap();
        let (linear, rest) = ([0.5, 1.0, 2.0], [0.25, 1.0]);
        let cases = [
            (larger.check_folder(&folder, "cpu"), "its runs are of the adapter gpu, this is cpu"),
            (
                larger.claim(&folder, "gpu", data("book")),
                "trained on text (9 training and 1 validation tokens, sha256 text), and the data is now book",
            ),
            (begun.check_folder(&folder, "gpu"), "--optimizers leaves out sinkgd"),
            (grid(&[1.0], &rest).check_folder(&folder, "gpu"), "command's --lr-sweep leaves out 0.5"),
            (grid(&linear, &[1.0]).check_folder(&folder, "gpu"), "command's --rest-lr-sweep leaves out 0.25"),
            (plan_of_grid(&[], &all, &linear, &rest, 1).unwrap().check_folder(&folder, "gpu"), "it has 3 seeds"),
            (
                plan_of_grid(&["train.steps=9"], &all, &linear, &rest, 3).unwrap().check_folder(&folder, "gpu"),
                "its train.steps is 300, the command says 9",
            ),
            (begun.check_folder(dir.path(), "gpu"), "holds something other than a comparison"),
        ];
        for (refused, expected) in cases {
            let message = refused.unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_folder_of_one_factor_for_all_rates_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(&[], &["adam"], &[1.0], 1).unwrap();
        plan.claim(dir.path(), "gpu", data("text")).unwrap();
        let path = dir.path().join(PLAN);
        let mut kept: Value = read_json(&path).unwrap().unwrap();
        // The format before there were two factors.
        let sections = kept.as_object_mut().unwrap();
        sections.remove("lr_sweep");
        sections.insert("factors".into(), json!([1.0]));
        sections.insert("start".into(), json!({"optimizer": "adam", "factor": 1.0, "seed": 0}));
        write_json(&path, &kept).unwrap();
        let refusals = [
            plan.check_folder(dir.path(), "gpu"),
            plan.claim(dir.path(), "gpu", data("text")),
            Plan::first_model(dir.path()).map(drop),
        ];
        for refused in refusals {
            let message = refused.unwrap_err().to_string();
            assert!(
                message.contains("of an earlier multinorm, where one factor moved every learning rate"),
                "{message}"
            );
        }
    }
}
