//! The lab's state: the text, the runs, and what has been seen of them. No widgets and no mathematics here.

mod arrivals;
mod background;
mod news;
mod player;
mod run_view;
mod saves;
mod shown;

pub use arrivals::{Arrival, FolderRun, Text};
pub use player::{Moment, Player};
pub use run_view::{Look, RunView};
pub use saves::{CARD, Picture, is_taking};

pub use crate::platform::SyntheticMatrix;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use eframe::egui::{ColorImage, Context};
use multinorm::config::RunConfig;
use multinorm::data::dataset::Dataset;
use multinorm::gpu::{Gpu, Profile};
use multinorm::train::{Snapshot, SpectrumRecord};
use multinorm::{Error, Result};

use self::arrivals::Opened;
use self::background::{AtlasQueue, Directions, RateMap};
use crate::engine::{Command, Event, Watch};
use crate::platform::{self, EngineThread, Follower};
use crate::settings::{FIRST_PARAMETER, Settings, matrices};

/// Time between two frames on a software adapter, which also has to train the model.
const SOFTWARE_FRAME_REST: Duration = Duration::from_millis(500);
/// How many earlier runs stay on the loss plot.
const EARLIER_KEPT: usize = 6;

/// The minimum time between two frames without user input.
pub fn frame_rest(profile: &Profile) -> Duration {
    if profile.software { SOFTWARE_FRAME_REST } else { Duration::ZERO }
}

/// What the lab is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// The trainers are being built.
    Building,
    /// Not training.
    Paused,
    /// Training.
    Running,
    /// All steps are done.
    Finished,
    /// Showing a run's folder that cannot be resumed.
    Record {
        /// What is missing.
        why: String,
    },
    /// Stopped by an error.
    Failed {
        /// What went wrong and what to do.
        message: String,
        /// Whether the device is lost, so that a new one is needed.
        device_lost: bool,
    },
}

impl Status {
    /// One word, or the message.
    pub fn describe(&self) -> String {
        match self {
            Self::Building => "preparing".into(),
            Self::Paused => "paused".into(),
            Self::Running => "training".into(),
            Self::Finished => "finished".into(),
            Self::Record { why } => format!("recorded run; it cannot be resumed: {why}"),
            Self::Failed { message, .. } => message.clone(),
        }
    }

    /// Whether nothing can train.
    fn is_stuck(&self) -> bool {
        matches!(self, Self::Record { .. } | Self::Failed { .. })
    }
}

/// A picture that was taken, and its purpose.
type Screenshot = (Arc<ColorImage>, Picture, Context);

/// The state behind every view.
pub struct Lab {
    /// The current settings.
    pub settings: Settings,
    /// The settings of an empty link.
    pub default: Settings,
    /// The settings that the lab's own runs were built with; if `settings` differ, a new start is needed.
    pub built: Settings,
    /// The configuration of each run.
    pub configs: Vec<RunConfig>,
    /// The names of the runs' matrices.
    pub matrices: Vec<String>,
    /// The current status.
    pub status: Status,
    /// The runs side by side.
    pub runs: Vec<RunView>,
    /// Earlier runs, for comparison.
    pub earlier: Vec<RunView>,
    /// A file whose matrices are shown in place of the runs.
    pub opened: Option<Opened>,
    /// A run's folder shown in place of the lab's own runs.
    pub folder: Option<String>,
    /// The spectra that the opened run recorded.
    recorded: Vec<SpectrumRecord>,
    /// Playback of the passes.
    pub player: Player,
    /// Shown before the model has made its first step: a gradient from an earlier run.
    pub recorded_look: Look,
    directions: Directions,
    /// The map of rates.
    pub map: RateMap,
    /// A matrix generated on the map.
    pub made: Option<SyntheticMatrix>,
    /// Shape and heaviness of the last one requested.
    pub wanted_matrix: Option<([usize; 2], f64)>,
    is_making: bool,
    atlas: AtlasQueue,
    /// The step at which the current trainers started; they have no gradient until the next one.
    built_at: u64,
    /// Whether they made a step only for its gradients.
    has_peeked: bool,
    /// The newest generation number, of runs or of a file.
    generation: u64,
    /// The generation of the current runs.
    generation_of_runs: u64,
    /// The text to train on.
    pub dataset: Arc<Dataset>,
    /// The text that the lab started with.
    pub own_text: Arc<Dataset>,
    /// The latest message, such as where a file was saved.
    pub notice: String,
    /// The adapter that trains.
    pub gpu: Arc<Gpu>,
    /// The prompt for generated text.
    pub prompt: String,
    /// Whether runs should train as soon as they are built.
    goes: bool,
    commands: flume::Sender<Command>,
    /// Ends once `commands` is dropped, which must be declared before it.
    engine: EngineThread,
    events: flume::Receiver<(u64, Event)>,
    follower: Follower,
    /// The settings last written to the address.
    shown_link: Option<(Settings, Settings)>,
    /// The number of looks in progress.
    pub looking: usize,
    arrivals: (flume::Sender<Arrival>, flume::Receiver<Arrival>),
    wanted_picture: Option<Picture>,
    /// Whether to draw a card, to take its picture.
    pub wants_card: bool,
    screenshots: (flume::Sender<Screenshot>, flume::Receiver<Screenshot>),
    /// The run whose weights the user asked to save, if any.
    saving: Option<usize>,
}

impl Lab {
    /// A lab on a device. Training starts right away, unless a run's folder is opened.
    pub fn new(
        gpu: Arc<Gpu>,
        dataset: Arc<Dataset>,
        settings: Settings,
        first: Option<Arrival>,
        wake: impl Fn() + Clone + Send + 'static,
    ) -> Self {
        let default = Settings::default_for(gpu.profile.software);
        let (commands, to_engine) = flume::unbounded();
        let (from_engine, events) = flume::unbounded();
        let engine = platform::serve(gpu.clone(), to_engine, from_engine, wake.clone());
        let mut lab = Self {
            built: settings.clone(),
            configs: Vec::new(),
            matrices: Vec::new(),
            settings,
            default,
            status: Status::Building,
            runs: Vec::new(),
            earlier: Vec::new(),
            opened: None,
            folder: None,
            recorded: Vec::new(),
            player: Player::default(),
            recorded_look: shown::recorded_look(),
            directions: Directions::default(),
            map: RateMap::default(),
            made: None,
            wanted_matrix: None,
            is_making: false,
            atlas: AtlasQueue::default(),
            built_at: 0,
            has_peeked: false,
            generation: 0,
            generation_of_runs: 0,
            own_text: dataset.clone(),
            dataset,
            notice: String::new(),
            gpu,
            prompt: "It was".into(),
            goes: true,
            commands,
            engine,
            events,
            follower: Follower::new(wake),
            shown_link: None,
            looking: 0,
            arrivals: flume::unbounded(),
            wanted_picture: None,
            wants_card: false,
            screenshots: flume::unbounded(),
            saving: None,
        };
        if !matches!(first, Some(Arrival::Run(_))) {
            let step = lab.settings.step;
            lab.reset();
            lab.settings.step = step; // the link's step belongs to these runs
        }
        if let Some(first) = first {
            lab.open(first);
        }
        lab
    }

    /// Moves the lab to another device: everything seen stays, and the runs continue from the last snapshot.
    pub fn move_to(&mut self, gpu: Arc<Gpu>, wake: impl Fn() + Clone + Send + 'static) {
        let (commands, to_engine) = flume::unbounded();
        let (from_engine, events) = flume::unbounded();
        let engine = platform::serve(gpu.clone(), to_engine, from_engine, wake.clone());
        self.follower = Follower::new(wake);
        // Dropping the old command sender ends the old engine.
        (self.gpu, self.commands, self.events) = (gpu, commands, events);
        self.engine = engine;
        let from: Vec<Snapshot> = self.runs.iter().filter_map(|run| run.snapshot.clone()).collect();
        let from = if from.len() == self.runs.len() { from } else { Vec::new() };
        let step = from.first().map_or(0, |snapshot| snapshot.step);
        for run in &mut self.runs {
            run.steps.retain(|(report, _)| report.step <= step);
            run.evaluations.retain(|(at, ..)| *at <= step);
            run.looks.retain(|look| look.step() <= step);
        }
        self.notice = match step {
            0 => "the device was lost before the first snapshot; the runs restart from step 0".into(),
            _ => format!("the device was lost; the runs continue from step {step}"),
        };
        self.map.forget();
        self.is_making = false;
        self.build(from, false);
    }

    fn send(&self, command: Command) {
        let _ = self.commands.send(command); // if the engine is gone, it has reported why
    }

    /// Whether the settings call for different runs than the current ones.
    pub fn wants_reset(&self) -> bool {
        self.folder.is_none() && !self.settings.same_run(&self.built)
    }

    /// Starts new runs from the settings, from step 0 with the same seed; the old ones stay on the plot.
    pub fn reset(&mut self) {
        self.retire();
        (self.folder, self.settings.step) = (None, None);
        self.recorded.clear();
        self.built = self.settings.clone();
        let vocab_size = self.dataset.vocab_size;
        let configs: Result<Vec<_>> =
            self.built.optimizers.iter().map(|optimizer| self.built.config(optimizer, vocab_size)).collect();
        match configs {
            Ok(configs) => self.set_configs(configs),
            Err(error) => return self.fail(error),
        }
        if !self.matrices.contains(&self.settings.parameter) {
            self.notice = format!("the model has no matrix {}; {FIRST_PARAMETER} is shown", self.settings.parameter);
            self.settings.parameter = FIRST_PARAMETER.into();
        }
        let label = |optimizer: &str| {
            let of = &self.built;
            let rate = if of.lr_factor == 1.0 { String::new() } else { format!(" ×{}", of.lr_factor) };
            format!("{optimizer}{rate} {} seed {}", of.model, of.seed)
        };
        let view = |optimizer: &String| RunView {
            optimizer: optimizer.clone(),
            label: label(optimizer),
            ..RunView::default()
        };
        self.runs = self.built.optimizers.iter().map(view).collect();
        self.player.restart();
        self.build(Vec::new(), false);
    }

    fn set_configs(&mut self, configs: Vec<RunConfig>) {
        self.matrices = configs.first().map(matrices).unwrap_or_default();
        self.configs = configs;
    }

    /// A new generation number, for new runs or a new file.
    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Forgets pending questions; their answers would be about earlier runs.
    fn forget_questions(&mut self) {
        self.looking = 0;
        (self.atlas, self.directions) = (AtlasQueue::default(), Directions::default());
    }

    /// Moves the current runs to the earlier ones.
    fn retire(&mut self) {
        let before = std::mem::take(&mut self.runs).into_iter().filter(|run| run.steps.len() > 1);
        self.earlier.extend(before.map(|run| RunView {
            snapshot: None,
            looks: VecDeque::new(),
            tiles: Vec::new(),
            sweeps: VecDeque::new(),
            ..run
        }));
        let surplus = self.earlier.len().saturating_sub(EARLIER_KEPT);
        self.earlier.drain(..surplus);
    }

    /// Builds trainers for the runs. With `peek` they make one step only for its gradients, which is undone later.
    fn build(&mut self, from: Vec<Snapshot>, peek: bool) {
        for run in &mut self.runs {
            run.secs_before = run.steps.last().map_or(0.0, |(_, secs)| *secs);
        }
        self.status = Status::Building;
        self.forget_questions();
        self.generation_of_runs = self.next_generation();
        self.built_at = from.first().map_or(0, |snapshot| snapshot.step);
        self.has_peeked = peek;
        let (configs, dataset, generation) = (self.configs.clone(), self.dataset.clone(), self.generation_of_runs);
        self.send(Command::Build { configs, dataset, from, peek, generation });
        self.watch();
    }

    fn fail(&mut self, error: Error) {
        let device_lost = matches!(error, Error::DeviceLost { .. });
        self.status = Status::Failed { message: error.to_string(), device_lost };
    }

    /// Every run's CONFIG.toml, as `multinorm train` reads it.
    pub fn configuration(&self) -> Vec<String> {
        self.configs.iter().map(RunConfig::to_toml).collect()
    }

    /// A link to the current view. Settings that only take effect after a new start are not included.
    pub fn link(&self) -> String {
        self.settings.with_runs_of(&self.built).to_query(&self.default)
    }

    /// Tells the engine what to watch.
    pub fn watch(&self) {
        let steps = self.configs.first().map_or(0, |config| config.train.steps);
        let watch = Watch {
            parameter: self.settings.parameter.clone(),
            every: self.settings.every,
            evaluate_every: (steps / 20).max(5),
            write_every: (steps / 20).max(10),
            prompt: self.prompt.clone(),
        };
        self.send(Command::Watch(watch));
    }

    /// Trains, or pauses after the current step.
    pub fn run(&mut self, running: bool) {
        if self.status.is_stuck() {
            return;
        }
        self.goes = running;
        self.status = if running { Status::Running } else { Status::Paused };
        self.send(Command::Run(running));
    }

    /// Makes one step of every run.
    pub fn step(&mut self) {
        if self.status.is_stuck() {
            return;
        }
        self.goes = false;
        self.status = Status::Paused;
        self.send(Command::Step);
        self.send(Command::Look);
    }

    /// Times the kernels of the next step.
    pub fn time(&self) {
        self.send(Command::Time);
    }

    /// Switches to another parameter and looks at it right away.
    pub fn look_into(&mut self, parameter: &str) {
        let is_kept = self.recorded.iter().any(|record| record.parameter == parameter);
        if matches!(self.status, Status::Record { .. }) && !is_kept {
            self.notice = format!("this run kept no gradient of {parameter}");
            return;
        }
        self.settings.parameter = parameter.into();
        self.settings.step = None;
        self.made = None;
        self.player.restart();
        self.show_recorded();
        self.watch();
        self.send(Command::Look);
    }

    /// Where to send a dropped file.
    pub fn inbox(&self) -> flume::Sender<Arrival> {
        self.arrivals.0.clone()
    }
}
