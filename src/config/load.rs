//! Combines a default run, the user's CONFIG.toml and `--set` into one [`RunConfig`].

use std::path::Path;

use toml::{Table, Value};

use super::run::{
    CheckpointConfig, DistributedConfig, EvalConfig, RunConfig, ScheduleConfig, SpectraConfig, TrainConfig,
};
use crate::optim::OptimizerConfig;
use crate::settings::{DataConfig, ModelConfig, Origin, Section, did_you_mean};
use crate::{Error, Result};

/// The default run, which fills in what the user does not set; chosen by the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunDefaults {
    /// Minutes on a software adapter of about 15 GFLOP/s: `defaults/software.toml`.
    Software,
    /// A run worth a GPU: `defaults/gpu.toml`.
    Gpu,
}

impl RunDefaults {
    fn toml(self) -> &'static str {
        match self {
            Self::Software => include_str!("defaults/software.toml"),
            Self::Gpu => include_str!("defaults/gpu.toml"),
        }
    }
}

impl RunConfig {
    /// Reads `toml_text` (the file's name and contents) and then `sets` over the default run.
    ///
    /// 1. The file's values replace the default run's, key by key.
    ///    Only a `[model]` or `[optimizer]` (with its `rest`) in the file replaces the default's whole section,
    ///    because half of one model or optimizer makes no sense in another.
    /// 2. Each set is `section.key=value`; the value is TOML, or a plain string if it is not valid TOML.
    ///    The last of several wins.
    ///    Setting `model.preset`, or an optimizer's `name` or `passes`, first clears the section,
    ///    for the same reason; the other sets apply on top, in any order.
    ///
    /// Errors: a key or section that does not exist, a value of the wrong type, or an invalid run.
    pub fn load(toml_text: Option<(&Path, &str)>, sets: &[String], defaults: RunDefaults) -> Result<Self> {
        let mut sections = Sections::new();
        sections.merge(parse("the default run", defaults.toml())?, Origin::Defaults)?;
        if let Some((path, text)) = toml_text {
            let file = path.display().to_string();
            let table = parse(&file, text)?;
            for name in ["model", "optimizer"].into_iter().filter(|&name| table.contains_key(name)) {
                sections.clear(name);
            }
            sections.merge(table, Origin::File(file))?;
        }
        let sets = sets.iter().map(|set| parse_set(set)).collect::<Result<Vec<_>>>()?;
        for (section, key, _) in &sets {
            match (*section, key.as_str()) {
                ("model", "preset") => sections.clear(section),
                (_, "name" | "passes") if is_optimizer(section) => sections.clear(section),
                // One key for what the file may have written as two.
                (_, "betas") if is_optimizer(section) => {
                    ["beta1", "beta2"].iter().for_each(|beta| sections.at(section).remove(beta));
                }
                _ => {}
            }
        }
        for (section, key, value) in sets {
            sections.put(section, key, value, &Origin::Set)?;
        }
        let run = sections.read()?;
        run.validate()?;
        Ok(run)
    }
}

const SECTIONS: [&str; 13] = [
    "model",
    "data",
    "optimizer",
    "optimizer.rest",
    "optimizer.embedding",
    "optimizer.head",
    "optimizer.norm",
    "schedule",
    "train",
    "eval",
    "checkpoint",
    "spectra",
    "distributed",
];

fn is_optimizer(section: &str) -> bool {
    section.starts_with("optimizer")
}

/// The merged values of all [`SECTIONS`], in that order.
struct Sections([Section; SECTIONS.len()]);

impl Sections {
    fn new() -> Self {
        Self(SECTIONS.map(Section::new))
    }

    fn at(&mut self, name: &'static str) -> &mut Section {
        let index = SECTIONS.iter().position(|&section| section == name);
        &mut self.0[index.expect("section names are checked where they enter")]
    }

    fn clear(&mut self, name: &'static str) {
        self.at(name).clear();
        if name == "optimizer" {
            SECTIONS.into_iter().filter(|section| is_optimizer(section)).for_each(|section| self.at(section).clear());
        }
    }

    fn merge(&mut self, table: Table, origin: Origin) -> Result<()> {
        let file = match &origin {
            Origin::File(file) => file,
            _ => "the default run",
        };
        for (name, value) in table {
            let Value::Table(values) = value else {
                let message = format!("is in no section; the sections are {}", list_of_sections());
                return Err(Error::config(format!("{file}: {name}"), message));
            };
            let section = section_name(&name).map_err(|message| Error::config(format!("{file}: [{name}]"), message))?;
            for (key, value) in values {
                self.put(section, key, value, &origin)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, section: &'static str, key: String, value: Value, origin: &Origin) -> Result<()> {
        let below = SECTIONS.into_iter().find(|name| name.strip_prefix("optimizer.") == Some(key.as_str()));
        let Some(below) = below.filter(|_| section == "optimizer") else {
            self.at(section).put(key, value, origin.clone());
            return Ok(());
        };
        for (key, value) in origin.table(below, value)? {
            self.at(below).put(key, value, origin.clone());
        }
        Ok(())
    }

    fn read(self) -> Result<RunConfig> {
        let [
            model,
            data,
            optimizer,
            rest,
            embedding,
            head,
            norm,
            schedule,
            train,
            eval,
            checkpoint,
            spectra,
            distributed,
        ] = self.0;
        let optimizer = OptimizerConfig::read(optimizer, [rest, embedding, head, norm])?;
        let model = ModelConfig::read(model)?;
        Ok(RunConfig {
            model: ModelConfig { adapter: optimizer.adapter(), ..model },
            data: DataConfig::read(data)?,
            schedule: ScheduleConfig::read(schedule)?,
            train: TrainConfig::read(train, optimizer.is_fused())?,
            optimizer,
            eval: EvalConfig::read(eval)?,
            checkpoint: CheckpointConfig::read(checkpoint)?,
            spectra: SpectraConfig::read(spectra)?,
            distributed: DistributedConfig::read(distributed)?,
        })
    }
}

fn parse(file: &str, text: &str) -> Result<Table> {
    text.parse::<Table>().map_err(|error| Error::config(file, error.to_string().trim_end()))
}

/// Splits `optimizer.rest.lr=0.1` into section, key and value.
fn parse_set(set: &str) -> Result<(&'static str, String, Value)> {
    let refuse = |message: String| Error::config(format!("--set {set}"), message);
    let parts = set.split_once('=').and_then(|(path, value)| Some((path.trim().rsplit_once('.')?, value)));
    let Some(((section, key), value)) = parts else {
        return Err(refuse("expected section.key=value, for example train.steps=100".to_owned()));
    };
    let section = section_name(section).map_err(refuse)?;
    let value = value.trim();
    Ok((section, key.to_owned(), value.parse().unwrap_or_else(|_| Value::String(value.to_owned()))))
}

fn section_name(name: &str) -> Result<&'static str, String> {
    let known = SECTIONS.into_iter().find(|&section| section == name);
    known.ok_or_else(|| format!("no section is called [{name}]; {}", did_you_mean(name, &SECTIONS)))
}

fn list_of_sections() -> String {
    SECTIONS.map(|name| format!("[{name}]")).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PRESETS, Rule};

    fn load(file: &str, sets: &[&str]) -> Result<RunConfig> {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        RunConfig::load(Some((Path::new("run.toml"), file)), &sets, RunDefaults::Software)
    }

    #[test]
    fn both_default_runs_are_whole() {
        for defaults in [RunDefaults::Software, RunDefaults::Gpu] {
            let run = RunConfig::load(None, &[], defaults).unwrap();
            let empty = RunConfig::load(Some((Path::new("run.toml"), "")), &[], defaults).unwrap();
            assert_eq!(run, empty, "an empty file changes nothing");
        }
    }

    #[test]
    fn a_resolved_run_loads_as_itself() {
        let mut cases: Vec<(&str, Vec<String>)> = vec![
            ("[optimizer]\nname = 'sgd'\nmomentum = 0.9\nnesterov = true", vec![]),
            ("[optimizer]\nname = 'adamw'\nbetas = [0.5, 0.75]\n[optimizer.rest]\nname = 'sinkgd'\nlr = 0.3", vec![]),
            ("[optimizer]\npasses = ['column']\niterations = 3\nscale = 1e-12\nweight_decay = 0.1", vec![]),
            (
                "[optimizer]\nname = 'scion'\nhead = {name = 'row', row_threshold = 0.5, scale_rule = 'gradient-norm'}",
                vec![],
            ),
            ("[data]\nsource = ['a \"b\".txt', 'c']\ncache_dir = 'x/y'\n[schedule]\nkind = 'constant'", vec![]),
            ("[train]\nseed = 9223372036854775807\nmax_grad_norm = 0.1\nsteps = 7\nbatch_size = 1", vec![]),
            ("[train]\nrecompute = 'layer'", vec![]),
        ];
        cases.extend(PRESETS.map(|preset| ("", vec![format!("model.preset={preset}")])));
        for (file, sets) in cases {
            let run = RunConfig::load(Some((Path::new("run.toml"), file)), &sets, RunDefaults::Software).unwrap();
            let text = run.to_toml();
            // With the other defaults: nothing may come from them.
            let again = RunConfig::load(Some((Path::new("config.toml"), &text)), &[], RunDefaults::Gpu).unwrap();
            assert_eq!(run, again, "{text}");
        }
    }

    #[test]
    fn the_file_lies_over_the_defaults() {
        let plain = load("", &[]).unwrap();
        let run = load("[train]\nsteps = 3\n[data]\nsource = 'mine.txt'", &[]).unwrap();
        assert_eq!((run.train.steps, run.train.seed), (3, plain.train.seed));
        assert_eq!((run.data.source, run.model), (vec!["mine.txt".to_owned()], plain.model));
        let model = "vocab_size = 512\nhidden_size = 64\nintermediate_size = 96\nnum_hidden_layers = 2";
        let run = load(&format!("[model]\n{model}\nnum_attention_heads = 2"), &[]).unwrap();
        assert_eq!((run.model.num_key_value_heads, run.model.head_dim, run.model.tie_word_embeddings), (2, 32, false));
        let run = load("[model]\npreset = '20m'\nhidden_size = 128\nnum_attention_heads = 8", &[]).unwrap();
        assert_eq!((run.model.intermediate_size, run.model.num_key_value_heads, run.model.head_dim), (688, 8, 16));
        let run = load("[model]\npreset = 'tiny'\nnum_attention_heads = 8", &[]).unwrap();
        assert_eq!((run.model.num_key_value_heads, run.model.head_dim), (2, 16));
    }

    #[test]
    fn sets_lie_over_the_file() {
        let file = "[model]\npreset = '20m'\nhidden_size = 128\n[optimizer]\nlr = 0.5\nscale = 1\nrest = {lr = 0.25}";
        let run = load(file, &["model.num_hidden_layers=2", "optimizer.rest.lr=0.125", "train.steps=1"]).unwrap();
        assert_eq!((run.model.hidden_size, run.model.num_hidden_layers, run.train.steps), (128, 2, 1));
        assert_eq!((run.optimizer.linear.lr, run.optimizer.norm.lr), (0.5, 0.125));
        let run = load(file, &["optimizer.lr=2", "optimizer.name=adamw", "model.preset=60m"]).unwrap();
        assert_eq!((run.optimizer.linear.lr, run.optimizer.head.lr, run.model.hidden_size), (2.0, 2.0, 512));
        let run = load(file, &["optimizer.rest.name = sgd"]).unwrap();
        assert_eq!((run.optimizer.linear.lr, run.optimizer.embedding.lr), (0.5, 0.5));
        assert!(matches!(run.optimizer.head.rule, Rule::Sgd(_)));
        for (file, set, betas) in [
            ("beta1 = 0.5\nbeta2 = 0.5", "optimizer.betas=[0, 0.25]", (0.0, 0.25)),
            ("betas = [0.5, 0.5]", "optimizer.beta2=0.25", (0.5, 0.25)),
        ] {
            let run = load(&format!("[optimizer]\nname = 'adam'\n{file}"), &[set]).unwrap();
            let Rule::Adamw(adamw) = run.optimizer.linear.rule else { panic!("adam is {:?}", run.optimizer.linear) };
            assert_eq!((adamw.beta1, adamw.beta2), betas, "{set}");
        }
        let run = load("", &["data.source=['a', 'b']", "data.tokenizer=my tok/tokenizer.json"]).unwrap();
        assert_eq!((run.data.source.len(), run.data.tokenizer.as_str()), (2, "my tok/tokenizer.json"));
        let run = load("", &["train.steps=1", "train.steps=2", "data.source=a=b", "optimizer.passes=row"]).unwrap();
        assert_eq!((run.train.steps, run.data.source[0].as_str()), (2, "a=b"));
    }

    #[test]
    fn says_where_and_what_is_near() {
        let cases: [(&str, &[&str], &str); 15] = [
            ("[train]\nstepz = 1", &[], "run.toml: [train] stepz: unknown key; did you mean `steps`?"),
            ("[model]\nhiden_size = 1", &[], "run.toml: [model] hiden_size: unknown key; did you mean `hidden_size`?"),
            ("[model]\nhidden_size = 64", &[], "model.vocab_size: missing: set it, or start from a preset: tiny, 9m"),
            (
                "[model]\npreset = '21m'",
                &[],
                "run.toml: [model] preset: no preset is called `21m`; the presets are tiny",
            ),
            ("[trian]\nsteps = 1", &[], "run.toml: [trian]: no section is called [trian]; did you mean `train`?"),
            ("steps = 1", &[], "run.toml: steps: is in no section; the sections are [model] [data]"),
            (
                "[train]\nsteps = 'ten'",
                &[],
                "[train] steps: expected a whole number that is not negative, got the string \"ten\"",
            ),
            ("[train]\nsteps = 1.5", &[], "expected a whole number that is not negative, got 1.5"),
            ("[schedule]\nwarmup_fraction = true", &[], "[schedule] warmup_fraction: expected a number, got true"),
            ("[data]\nsource = 3", &[], "[data] source: expected a string or a list of strings, got 3"),
            ("[train\n", &[], "run.toml: TOML parse error at line 1"),
            ("", &["train.seq_length=1"], "--set train.seq_length: unknown key; did you mean `sequence_length`?"),
            ("", &["trian.steps=1"], "--set trian.steps=1: no section is called [trian]; did you mean `train`?"),
            ("", &["steps=1"], "--set steps=1: expected section.key=value"),
            (
                "",
                &["train.steps=many"],
                "--set train.steps: expected a whole number that is not negative, got the string \"many\"",
            ),
        ];
        for (file, sets, expected) in cases {
            let message = load(file, sets).expect_err(expected).to_string();
            assert!(message.contains(expected), "{file} {sets:?}: {message}");
        }
        let message = load("[eval]\nfoo = 1", &[]).unwrap_err().to_string();
        assert_eq!(
            message,
            "run.toml: [eval] foo: unknown key; known: every, max_tokens, batch_size, prompt, text_tokens"
        );
    }
}
