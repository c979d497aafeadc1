//! The learner's choices: few enough to fit in a link, and sufficient to repeat the run.

use std::fmt::Display;
use std::str::FromStr;

use multinorm::config::{OptimizerConfig, Role, RunConfig, RunDefaults, optimizer_names};
use multinorm::{Error, Result};

/// The views in tab order, each with its name in the code, on the tab and in a link.
macro_rules! panels {
    ($($(#[$doc:meta])+ $name:ident = $title:literal, $key:literal;)+) => {
        /// The views of the lab.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Panel {
            $($(#[$doc])+ $name,)+
        }

        impl Panel {
            /// All views in tab order.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The name on the tab.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)+
                }
            }

            /// The name in a link.
            pub fn key(self) -> &'static str {
                match self {
                    $(Self::$name => $key,)+
                }
            }
        }
    };
}

panels! {
    /// A gradient going through the passes, shown within its network and its training run.
    Watch = "Watch", "watch";
    /// Why a matrix converges fast or slowly.
    Why = "Why", "why";
    /// The guided lesson.
    Lesson = "Lesson", "lesson";
    /// Training settings, loss, speed and text.
    Train = "Train", "train";
    /// How the polynomials move a singular value.
    NewtonSchulz = "Newton–Schulz", "newton-schulz";
    /// Bytes by class, optimizer and preset.
    Memory = "Memory", "memory";
}

impl Panel {
    /// The number of views with a tab; the others are in a menu.
    pub const FIRST: usize = 4;
}

/// A model small enough to train live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The name in a link and in the list.
    pub key: &'static str,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: [usize; 2],
}

/// The models on offer: the smallest for a software adapter, the largest for a GPU and some patience.
pub const SIZES: [Size; 4] = [
    Size { key: "micro", hidden: 32, intermediate: 88, layers: 2, heads: [2, 1] },
    Size { key: "mini", hidden: 64, intermediate: 176, layers: 3, heads: [4, 2] },
    Size { key: "tiny", hidden: 128, intermediate: 352, layers: 4, heads: [4, 2] },
    Size { key: "small", hidden: 256, intermediate: 688, layers: 6, heads: [8, 4] },
];

/// Everything that determines what is trained and what is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The selected view.
    pub panel: Panel,
    /// One or two names of the catalog; two train side by side from the same start.
    pub optimizers: Vec<String>,
    /// A factor on every learning rate of each optimizer.
    pub lr_factor: f64,
    /// One of [`SIZES`].
    pub model: String,
    /// Tokens per sequence.
    pub sequence_length: usize,
    /// Sequences per step.
    pub batch_size: usize,
    /// Whether activations use half precision.
    pub half_precision: bool,
    /// Determines initial weights and batches.
    pub seed: u64,
    /// Steps of the learning-rate schedule, after which training stops.
    pub steps: u64,
    /// The parameter whose gradient is watched.
    pub parameter: String,
    /// Steps between two looks.
    pub every: u64,
    /// The step whose gradient is shown; `None` for the newest.
    pub step: Option<u64>,
    /// Passes done in what is shown, 0 for the gradient; `None` while they play.
    pub half_step: Option<usize>,
    /// The highlighted singular value, 0 for the largest.
    pub sigma: Option<usize>,
    /// Step of the lesson.
    pub lesson: usize,
}

/// The parameter to watch at first; every model of [`SIZES`] has it.
pub const FIRST_PARAMETER: &str = "model.layers.0.mlp.down_proj.weight";

impl Settings {
    /// The initial settings for this kind of adapter.
    pub fn default_for(software: bool) -> Self {
        Self {
            panel: Panel::Watch,
            optimizers: vec!["sinkgd".into()],
            lr_factor: 1.0,
            model: if software { "micro" } else { "tiny" }.into(),
            sequence_length: if software { 32 } else { 128 },
            batch_size: if software { 4 } else { 16 },
            half_precision: false,
            seed: 0,
            steps: if software { 400 } else { 2000 },
            parameter: FIRST_PARAMETER.into(),
            every: 10,
            step: None,
            half_step: None,
            sigma: None,
            lesson: 0,
        }
    }

    /// A link such as `panel=why&optimizer=sinkgd,adam&seed=3`: the settings that differ from `default`, in a fixed
    /// order.
    pub fn to_query(&self, default: &Self) -> String {
        fn word<T: ToString>(value: Option<T>) -> String {
            value.map_or(String::new(), |value| value.to_string())
        }
        let words = |settings: &Self| {
            [
                ("panel", settings.panel.key().to_owned()),
                ("optimizer", settings.optimizers.join(",")),
                ("lr", settings.lr_factor.to_string()),
                ("model", settings.model.clone()),
                ("sequence", settings.sequence_length.to_string()),
                ("batch", settings.batch_size.to_string()),
                ("precision", settings.precision().to_owned()),
                ("seed", settings.seed.to_string()),
                ("steps", settings.steps.to_string()),
                ("parameter", settings.parameter.clone()),
                ("every", settings.every.to_string()),
                ("step", word(settings.step)),
                ("half_step", word(settings.half_step)),
                ("sigma", word(settings.sigma)),
                ("lesson", settings.lesson.to_string()),
            ]
        };
        let pairs = words(self).into_iter().zip(words(default));
        let differs = pairs.filter(|(own, other)| own.1 != other.1);
        differs.map(|((key, value), _)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
    }

    /// Applies a link to `default`; invalid values are left unchanged and reported.
    pub fn from_query(query: &str, default: &Self) -> (Self, Vec<String>) {
        let (mut settings, mut complaints) = (default.clone(), Vec::new());
        for pair in query.trim_start_matches(['#', '?']).split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let Err(error) = settings.set(key, &decoded(value)) {
                complaints.push(error.to_string());
            }
        }
        (settings, complaints)
    }

    /// Sets one value by its key in a link.
    ///
    /// Errors: an unknown key or an invalid value; nothing changes then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        fn number<T: FromStr + PartialOrd + Display>(key: &str, value: &str, range: [T; 2]) -> Result<T> {
            let [least, most] = range;
            let wrong = format!("must be a number from {least} to {most}, got `{value}`");
            value.parse().ok().filter(|x| *x >= least && *x <= most).ok_or_else(|| Error::config(key, wrong))
        }
        fn or_none<T: FromStr + PartialOrd + Display>(key: &str, value: &str, range: [T; 2]) -> Result<Option<T>> {
            if value.is_empty() { Ok(None) } else { number(key, value, range).map(Some) }
        }
        match key {
            "panel" => {
                let keys: Vec<&str> = Panel::ALL.iter().map(|panel| panel.key()).collect();
                // Links of earlier versions.
                let key_now = if matches!(value, "spectrum" | "fixed-point") { "watch" } else { value };
                let found = Panel::ALL.iter().copied().find(|panel| panel.key() == key_now);
                let wrong = || Error::config(key, format!("must be one of {}, got `{value}`", keys.join(", ")));
                self.panel = found.ok_or_else(wrong)?;
            }
            "optimizer" => {
                let names: Vec<String> = value.split(',').map(str::to_owned).collect();
                if names.len() > 2 {
                    return Err(Error::config(key, format!("must be one or two names, got {}", names.len())));
                }
                for name in &names {
                    if OptimizerConfig::named(name)?.zeroth_order().is_some() {
                        let wrong =
                            format!("{name} computes no gradient to show; use it in `multinorm train` to fine-tune");
                        return Err(Error::config(key, wrong));
                    }
                }
                self.optimizers = names;
            }
            "lr" => self.lr_factor = number(key, value, [1e-4, 1e4])?,
            "model" => {
                if !SIZES.iter().any(|size| size.key == value) {
                    let keys: Vec<&str> = SIZES.iter().map(|size| size.key).collect();
                    return Err(Error::config(key, format!("must be one of {}, got `{value}`", keys.join(", "))));
                }
                self.model = value.into();
            }
            "sequence" => self.sequence_length = number(key, value, [8, 512])?,
            "batch" => self.batch_size = number(key, value, [1, 64])?,
            "precision" => {
                self.half_precision = match value {
                    "f32" => false,
                    "f16" => true,
                    _ => return Err(Error::config(key, format!("must be f32 or f16, got `{value}`"))),
                }
            }
            "seed" => self.seed = number(key, value, [0, u64::from(u32::MAX)])?,
            "steps" => self.steps = number(key, value, [10, 1_000_000])?,
            "parameter" => self.parameter = value.into(),
            "every" => self.every = number(key, value, [1, 100_000])?,
            "step" => self.step = or_none(key, value, [1, 1_000_000])?,
            "half_step" => self.half_step = or_none(key, value, [0, 200])?,
            "sigma" => self.sigma = or_none(key, value, [0, 100_000])?,
            "lesson" => self.lesson = number(key, value, [0, 100])?,
            _ => return Err(Error::config(key, "is not a known setting")),
        }
        Ok(())
    }

    /// The model's size.
    pub fn size(&self) -> Size {
        *SIZES.iter().find(|size| size.key == self.model).expect("set() lets no other size in")
    }

    /// The precision in CONFIG.toml's words.
    fn precision(&self) -> &'static str {
        if self.half_precision { "f16" } else { "f32" }
    }

    /// Whether both settings describe the same run; if not, a new start is needed.
    pub fn same_run(&self, other: &Self) -> bool {
        let view = |settings: &Self| Self {
            panel: Panel::Train,
            parameter: String::new(),
            every: 1,
            step: None,
            half_step: None,
            sigma: None,
            lesson: 0,
            ..settings.clone()
        };
        view(self) == view(other)
    }

    /// The runs of `other` with the view of these settings.
    pub fn with_runs_of(&self, other: &Self) -> Self {
        let Self { panel, parameter, every, step, half_step, sigma, lesson, .. } = self.clone();
        Self { panel, parameter, every, step, half_step, sigma, lesson, ..other.clone() }
    }

    /// The run of one optimizer, as `--set` arguments for CONFIG.toml's keys.
    pub fn sets(&self, optimizer: &str, vocab_size: usize) -> Vec<String> {
        let Size { hidden, intermediate, layers, heads: [heads, kv_heads], .. } = self.size();
        vec![
            "model.preset=tiny".into(),
            format!("model.vocab_size={vocab_size}"),
            format!("model.hidden_size={hidden}"),
            format!("model.intermediate_size={intermediate}"),
            format!("model.num_hidden_layers={layers}"),
            format!("model.num_attention_heads={heads}"),
            format!("model.num_key_value_heads={kv_heads}"),
            format!("optimizer.name={optimizer}"),
            format!("train.steps={}", self.steps),
            format!("train.batch_size={}", self.batch_size),
            format!("train.micro_batch_size={}", self.batch_size),
            format!("train.sequence_length={}", self.sequence_length),
            format!("train.precision={}", self.precision()),
            "train.fused_update=false".into(), // keeps gradients available; results are bit-identical
            format!("train.seed={}", self.seed),
            format!("eval.batch_size={}", self.batch_size),
            format!("eval.max_tokens={}", (4 * self.batch_size * self.sequence_length).max(512)),
        ]
    }

    /// The full configuration of one optimizer's run.
    ///
    /// Errors: settings that contradict each other, in CONFIG.toml's terms.
    pub fn config(&self, optimizer: &str, vocab_size: usize) -> Result<RunConfig> {
        let config = RunConfig::load(None, &self.sets(optimizer, vocab_size), RunDefaults::Software)?;
        let config = config.with_optimizer(OptimizerConfig::named(optimizer)?.with_lr_factor(self.lr_factor));
        config.validate()?;
        Ok(config)
    }
}

/// Names of a run's matrices, any of which can be watched.
pub fn matrices(config: &RunConfig) -> Vec<String> {
    let specs = config.model.parameters().into_iter();
    specs.filter(|spec| spec.shape.len() == 2 && spec.role != Role::Norm).map(|spec| spec.name).collect()
}

/// The optimizers in catalog order.
pub fn optimizers() -> Vec<&'static str> {
    optimizer_names().to_vec()
}

/// The optimizers that compute gradients, which are the ones the lab offers.
pub fn optimizers_with_gradients() -> Vec<&'static str> {
    let makes = |name: &&str| OptimizerConfig::named(name).is_ok_and(|config| config.zeroth_order().is_none());
    optimizers().into_iter().filter(makes).collect()
}

/// Decodes percent escapes such as `%2C`, as browsers write them in links.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex =
            || std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], if bytes[at] == b'%' { hex() } else { None }) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_repeats_the_settings_and_says_what_is_wrong_with_it() {
        let default = Settings::default_for(true);
        let link = "#panel=why&optimizer=sinkgd%2Cadam&lr=0.5&model=mini&sequence=64&batch=8&precision=f16&seed=7&half_step=3&step=40&sigma=0";
        let (settings, complaints) = Settings::from_query(link, &default);
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!((settings.panel, &settings.optimizers[1]), (Panel::Why, &"adam".to_owned()));
        let query = settings.to_query(&default);
        assert_eq!(Settings::from_query(&query, &default).0, settings, "{query}");
        assert_eq!((settings.step, settings.half_step, settings.sigma), (Some(40), Some(3), Some(0)));
        let (plays, _) = Settings::from_query("panel=spectrum&half_step=", &settings);
        assert_eq!((plays.panel, plays.half_step), (Panel::Watch, None), "an old link, and passes that play");
        assert_eq!(default.to_query(&default), "");
        let (same, complaints) =
            Settings::from_query("optimizer=sinkdg&seed=-1&colour=red&batch=9999&precision=f8", &default);
        assert_eq!(same, default);
        assert_eq!(complaints.len(), 5, "{complaints:?}");
        assert!(
            Settings::default_for(true).set("optimizer", "mezo").unwrap_err().to_string().contains("no gradient"),
            "a zeroth-order method is refused"
        );
        assert!(
            complaints[0].contains("did you mean `sinkgd`?") && complaints[1].contains("got `-1`"),
            "{complaints:?}"
        );
    }

    #[test]
    fn every_size_and_optimizer_is_a_run() {
        for size in SIZES {
            for optimizer in optimizers_with_gradients() {
                let settings = Settings { model: size.key.into(), ..Settings::default_for(false) };
                let config = settings.config(optimizer, 512);
                let config = config.unwrap_or_else(|error| panic!("{} {optimizer}: {error}", size.key));
                assert!(matrices(&config).iter().any(|name| name == FIRST_PARAMETER));
            }
        }
    }

    #[test]
    fn a_look_is_no_new_run() {
        let settings = Settings::default_for(true);
        let looked = Settings {
            half_step: Some(4),
            step: Some(3),
            panel: Panel::Memory,
            parameter: "lm_head".into(),
            ..settings.clone()
        };
        assert!(settings.same_run(&looked));
        let other = Settings { seed: 9, ..settings.clone() };
        assert_eq!(looked.with_runs_of(&other), Settings { seed: 9, ..looked.clone() });
        assert!(!settings.same_run(&Settings { seed: 1, ..settings.clone() }));
    }
}
