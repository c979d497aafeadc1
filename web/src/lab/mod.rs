//! What the lab knows: the text, the runs, what was seen of them. No widgets here, and no mathematics.

mod arrivals;
mod player;
mod run_view;
mod saves;

pub use arrivals::{Arrival, FolderRun, Text};
pub use player::{Moment, Player};
pub use run_view::{Look, RunView};
pub use saves::{CARD, Picture, is_taking};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use eframe::egui::{ColorImage, Context};
use multinorm::config::{OptimizerConfig, Role, RunConfig};
use multinorm::data::dataset::Dataset;
use multinorm::gpu::{Gpu, Profile};
use multinorm::spectrum::{Cell, Map};
use multinorm::train::{Direction, Followed, GradientSample, Snapshot, SpectrumRecord};
use multinorm::{Error, Result};
use web_time::Instant;

use self::arrivals::{OPENED, Opened};
use crate::engine::{Command, Event, Watch};
use crate::platform::{self, Done, Follower, Found, Job, Plain, PlainFound, Wanted};

pub use crate::platform::Made;
use crate::settings::{FIRST_PARAMETER, Settings, matrices};

/// Seconds between two fields of the map of rates where they take time from the training.
const MAP_REST_SECS: f64 = 0.25;
/// Between two frames on a software adapter, which has the model's steps to make as well.
const SOFTWARE_FRAME_REST: Duration = Duration::from_millis(250);
/// Runs before this one that stay on the loss plot.
const EARLIER_KEPT: usize = 6;

/// How long the screen stays as it is at the least while nobody touches it.
pub fn frame_rest(profile: &Profile) -> Duration {
    if profile.software { SOFTWARE_FRAME_REST } else { Duration::ZERO }
}

/// What the lab is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Trainers are being built.
    Building,
    /// Waiting for a word.
    Paused,
    /// Training.
    Running,
    /// All steps are done.
    Finished,
    /// A run's folder is shown that cannot be gone on with.
    Record {
        /// What is missing.
        why: String,
    },
    /// Stopped by an error, in words; a lost device needs a new one.
    Failed {
        /// What went wrong and what to do.
        message: String,
        /// Whether the device is gone.
        device_lost: bool,
    },
}

impl Status {
    /// One word for it, or the message.
    pub fn words(&self) -> String {
        match self {
            Self::Building => "preparing".into(),
            Self::Paused => "paused".into(),
            Self::Running => "training".into(),
            Self::Finished => "all steps are done".into(),
            Self::Record { why } => format!("a record: it cannot be gone on with, {why}"),
            Self::Failed { message, .. } => message.clone(),
        }
    }

    /// Whether there is nothing that could train.
    fn is_stuck(&self) -> bool {
        matches!(self, Self::Record { .. } | Self::Failed { .. })
    }
}

/// A singular value of a matrix after a pass: of which look, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct Pointed {
    /// The look's step.
    pub step: u64,
    /// The look's matrix.
    pub parameter: String,
    /// Passes done.
    pub half_step: usize,
    /// From 0 for the largest.
    pub sigma: usize,
}

/// A picture that was taken, and what it is for.
type Screenshot = (Arc<ColorImage>, Picture, Context);

/// The state behind every view.
pub struct Lab {
    /// What is chosen now.
    pub settings: Settings,
    /// What a link without words means.
    pub default: Settings,
    /// What the lab's own runs were built with; differs from the settings where a new start is due.
    pub built: Settings,
    /// What each run was built with.
    pub configs: Vec<RunConfig>,
    /// What is going on.
    pub status: Status,
    /// The runs side by side.
    pub runs: Vec<RunView>,
    /// Runs before them, for comparison.
    pub earlier: Vec<RunView>,
    /// A file that is looked into instead of the runs.
    pub opened: Option<Opened>,
    /// A run's folder that is shown in place of the lab's own runs.
    pub folder: Option<String>,
    /// What that run kept of its gradients.
    recorded: Vec<SpectrumRecord>,
    /// The walk through the passes.
    pub player: Player,
    /// What is seen before a model has made its first step: a gradient of an earlier training.
    pub recorded_look: Look,
    /// The singular direction that is pointed at, of each view, with what it is of.
    pub directions: Vec<Option<(Pointed, Direction)>>,
    /// The one that was asked for last.
    asked_direction: Option<Pointed>,
    /// The fields of the map of rates, row after row, as far as they are computed.
    pub map: Vec<Option<Cell>>,
    cell_under_way: bool,
    cell_asked: Instant,
    /// A matrix that was made on the map.
    pub made: Option<Made>,
    /// Tiles of the atlas that are on their way.
    tiles_under_way: usize,
    /// Which matrix the atlas looks at next, and after which step it looked last.
    next_tile: (usize, u64),
    /// The text.
    pub dataset: Arc<Dataset>,
    /// The text that the lab began with.
    pub own_text: Arc<Dataset>,
    /// What was said last, such as where a file went.
    pub notice: String,
    /// The adapter that trains.
    pub gpu: Arc<Gpu>,
    /// What text begins with.
    pub prompt: String,
    /// Whether runs are to train as soon as they are built.
    goes: bool,
    commands: flume::Sender<Command>,
    events: flume::Receiver<Event>,
    follower: Follower,
    told_link: String,
    /// Looks under way.
    pub looking: usize,
    arrivals: (flume::Sender<Arrival>, flume::Receiver<Arrival>),
    wanted_picture: Option<Picture>,
    /// Whether a card is to be drawn, for its picture.
    pub wants_card: bool,
    screenshots: (flume::Sender<Screenshot>, flume::Receiver<Screenshot>),
    /// Whether the next save is one that was asked for, and whose.
    saving: Option<usize>,
}

impl Lab {
    /// A lab on a device. Training begins at once, unless a run's folder is opened first.
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
        platform::serve(gpu.clone(), to_engine, from_engine, wake.clone());
        let mut lab = Self {
            built: settings.clone(),
            configs: Vec::new(),
            settings,
            default,
            status: Status::Building,
            runs: Vec::new(),
            earlier: Vec::new(),
            opened: None,
            folder: None,
            recorded: Vec::new(),
            player: Player::default(),
            recorded_look: recorded_look(),
            directions: Vec::new(),
            asked_direction: None,
            map: vec![None; Map::N_ASPECTS * Map::N_HEAVINESS],
            cell_under_way: false,
            cell_asked: Instant::now(),
            made: None,
            tiles_under_way: 0,
            next_tile: (0, 0),
            own_text: dataset.clone(),
            dataset,
            notice: String::new(),
            gpu,
            prompt: "It was".into(),
            goes: true,
            commands,
            events,
            follower: Follower::new(wake),
            told_link: String::new(),
            looking: 0,
            arrivals: flume::unbounded(),
            wanted_picture: None,
            wants_card: false,
            screenshots: flume::unbounded(),
            saving: None,
        };
        if !matches!(first, Some(Arrival::Run(_))) {
            lab.reset();
        }
        if let Some(first) = first {
            lab.open(first);
        }
        lab
    }

    /// The same lab on another device: everything seen stays, and the runs go on from the last snapshot.
    pub fn move_to(&mut self, gpu: Arc<Gpu>, wake: impl Fn() + Clone + Send + 'static) {
        let (commands, to_engine) = flume::unbounded();
        let (from_engine, events) = flume::unbounded();
        platform::serve(gpu.clone(), to_engine, from_engine, wake);
        (self.gpu, self.commands, self.events) = (gpu, commands, events);
        let from: Vec<Snapshot> = self.runs.iter().filter_map(|run| run.snapshot.clone()).collect();
        let from = if from.len() == self.runs.len() { from } else { Vec::new() };
        let step = from.first().map_or(0, |snapshot| snapshot.step);
        for run in &mut self.runs {
            run.steps.retain(|(report, _)| report.step <= step);
            run.evaluations.retain(|(at, ..)| *at <= step);
        }
        self.notice = match step {
            0 => "the device was lost before a first snapshot; the runs begin again at step 0".into(),
            _ => format!("the device was lost; the runs go on from step {step}"),
        };
        self.build(from, false);
    }

    fn send(&self, command: Command) {
        let _ = self.commands.send(command); // an engine that is gone has told why
    }

    /// Whether the settings ask for other runs than those that are there.
    pub fn wants_reset(&self) -> bool {
        self.folder.is_none() && !self.settings.same_run(&self.built)
    }

    /// New runs from the settings, from step 0 with the same seed; those that were stay on the plot.
    pub fn reset(&mut self) {
        self.retire();
        (self.folder, self.settings.step) = (None, None);
        self.recorded.clear();
        self.built = self.settings.clone();
        let vocab_size = self.dataset.vocab_size;
        let configs: Result<Vec<_>> =
            self.built.optimizers.iter().map(|optimizer| self.built.config(optimizer, vocab_size)).collect();
        self.configs = match configs {
            Ok(configs) => configs,
            Err(error) => return self.fail(error),
        };
        if !self.matrices().contains(&self.settings.parameter) {
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
        self.forget_looks();
        self.build(Vec::new(), false);
    }

    /// What was asked for of runs or matrices before these does not count any more.
    fn forget_looks(&mut self) {
        (self.looking, self.tiles_under_way, self.next_tile) = (0, 0, (0, 0));
        self.player.restart();
    }

    /// The runs become earlier ones.
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

    /// Trainers for the runs; with `peek` they make one step for its gradients alone, which counts for nothing.
    fn build(&mut self, from: Vec<Snapshot>, peek: bool) {
        for run in &mut self.runs {
            run.secs_before = run.steps.last().map_or(0.0, |(_, secs)| *secs);
        }
        self.status = Status::Building;
        self.send(Command::Build { configs: self.configs.clone(), dataset: self.dataset.clone(), from, peek });
        self.watch();
    }

    /// Names of the matrices that can be looked into.
    pub fn matrices(&self) -> Vec<String> {
        self.configs.first().map(matrices).unwrap_or_default()
    }

    fn fail(&mut self, error: Error) {
        let device_lost = matches!(error, Error::DeviceLost { .. });
        self.status = Status::Failed { message: error.to_string(), device_lost };
    }

    /// CONFIG.toml of every run, as `multinorm train` reads it.
    pub fn configuration(&self) -> Vec<String> {
        self.configs.iter().map(RunConfig::to_toml).collect()
    }

    /// What is seen, as a link: a setting that waits for a new start is not claimed yet.
    pub fn link(&self) -> String {
        self.settings.with_runs_of(&self.built).to_query(&self.default)
    }

    /// Tells the engine what to look into.
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

    /// Trains, or pauses after the step under way.
    pub fn run(&mut self, running: bool) {
        if self.status.is_stuck() {
            return;
        }
        self.goes = running;
        self.status = if running { Status::Running } else { Status::Paused };
        self.send(Command::Run(running));
    }

    /// One step of every run.
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

    /// Looks into another parameter, at once.
    pub fn look_into(&mut self, parameter: &str) {
        self.settings.parameter = parameter.into();
        for run in &mut self.runs {
            run.looks.clear();
        }
        self.settings.step = None;
        self.player.restart();
        self.show_recorded();
        self.watch();
        self.send(Command::Look);
    }

    /// What is looked into: a file, or the runs.
    pub fn views(&self) -> Vec<&RunView> {
        match &self.opened {
            Some(opened) => vec![&opened.view],
            None => self.runs.iter().collect(),
        }
    }

    /// The last half-step of what is seen.
    pub fn last_half_step(&self) -> usize {
        self.seen().iter().map(|look| look.followed.record.passes.len() - 1).max().unwrap_or(0)
    }

    /// What is shown of each view, by the cursor: the look at the chosen step, at that of the walk under way, or the newest.
    /// Before anything was seen it is the recorded gradient.
    pub fn seen(&self) -> Vec<&Look> {
        let step = self.settings.step.or(match self.settings.half_step {
            None => self.player.step,
            Some(_) => None,
        });
        let seen: Vec<&Look> = self.views().into_iter().filter_map(|run| run.look_at(step)).collect();
        if seen.is_empty() { vec![&self.recorded_look] } else { seen }
    }

    /// Whether what is seen is the recorded gradient, since no model has one yet.
    pub fn shows_recorded(&self) -> bool {
        self.views().iter().all(|run| run.looks.is_empty())
    }

    /// The names of the optimizers whose looks are seen.
    pub fn seen_optimizers(&self) -> Vec<String> {
        let seen = self.views().into_iter().filter(|run| !run.looks.is_empty());
        let names: Vec<String> = seen.map(|run| run.optimizer.clone()).collect();
        if names.is_empty() { vec!["sinkgd".into()] } else { names }
    }

    /// Where the walk through the passes is.
    pub fn moment(&mut self, now: f64, motion: bool) -> Moment {
        let (last, chosen) = (self.last_half_step(), self.settings.half_step);
        let newest = self.views().first().and_then(|run| run.looks.back()).map(Look::step);
        self.player.moment(now, chosen, last, newest, motion)
    }

    /// Asks for the vectors of the singular value that is pointed at, at these passes, unless they are known.
    pub fn point_at(&mut self, half_step: usize) {
        let Some(sigma) = self.settings.sigma else {
            self.directions.clear();
            self.asked_direction = None;
            return;
        };
        let seen = self.seen();
        let Some(first) = seen.first() else { return };
        let record = &first.followed.record;
        let pointed = Pointed { step: record.step, parameter: record.parameter.clone(), half_step, sigma };
        if self.asked_direction.as_ref() == Some(&pointed) {
            return;
        }
        let samples: Vec<(usize, GradientSample)> =
            seen.iter().enumerate().filter_map(|(run, look)| Some((run, look.sample.clone()?))).collect();
        for (run, sample) in samples {
            let sets = self.sets_of(run);
            self.follower.send(Job::Sample {
                run,
                sets,
                sample,
                wanted: Wanted::Direction { half_step, index: sigma },
            });
        }
        self.asked_direction = Some(pointed);
    }

    /// From which a worker knows the rule of a run's optimizer; those of the first optimizer for what is no run.
    fn sets_of(&self, run: usize) -> Vec<String> {
        let optimizer = match (&self.opened, self.runs.get(run)) {
            (Some(opened), _) => opened.view.optimizer.clone(),
            (None, Some(run)) if !run.looks.is_empty() => run.optimizer.clone(),
            _ => "sinkgd".into(),
        };
        self.built.sets(&optimizer, self.dataset.vocab_size)
    }

    /// Asks for the next field of the map, unless one is on its way: coarse ones first, so that the whole is soon in sight.
    pub fn ask_for_map(&mut self) {
        // The first step of a model comes first, and on a processor that plays a GPU every other step as well.
        let is_busy = self.gpu.profile.software && self.status == Status::Running;
        let rest = if is_busy { MAP_REST_SECS } else { 0.0 };
        if self.cell_under_way || self.status == Status::Building || self.cell_asked.elapsed().as_secs_f64() < rest {
            return;
        }
        self.cell_asked = Instant::now();
        let missing = |stride: usize| {
            let rows = (0..Map::N_HEAVINESS).step_by(stride);
            let mut all =
                rows.flat_map(move |row| (0..Map::N_ASPECTS).step_by(stride).map(move |aspect| (aspect, row)));
            all.find(|(aspect, row)| self.map[row * Map::N_ASPECTS + aspect].is_none())
        };
        if let Some((aspect, row)) = [4, 2, 1].into_iter().find_map(missing) {
            self.cell_under_way = true;
            self.follower.send(Job::Plain(Plain::Cell { aspect, row }));
        }
    }

    /// Makes a matrix of independent entries.
    pub fn make(&self, shape: [usize; 2], heaviness: f64) {
        self.follower.send(Job::Plain(Plain::Make { shape, heaviness }));
    }

    /// Asks for the next tile of the atlas, if none is on its way and a step was made since.
    fn ask_for_tile(&mut self) {
        let step = self.runs.first().and_then(RunView::last).map_or(0, |last| last.step);
        let matrices = self.matrices();
        let (at, last) = self.next_tile;
        // A processor that plays a GPU makes its steps as fast as it can: one look in so many takes no time that counts.
        let every = if self.gpu.profile.software { 4 } else { 1 };
        let is_due = step > 0 && (step >= last + every || self.status != Status::Running);
        if self.opened.is_some() || self.tiles_under_way > 0 || !is_due || at >= matrices.len() {
            // Once all are there, a paused run has nothing new to tell.
            if at >= matrices.len() && step > last {
                self.next_tile = (0, last);
            }
            return;
        }
        self.tiles_under_way = self.runs.len();
        self.next_tile = (at + 1, step);
        self.send(Command::Sample(matrices[at].clone()));
    }

    /// Where a file that was dropped is to be sent.
    pub fn inbox(&self) -> flume::Sender<Arrival> {
        self.arrivals.0.clone()
    }

    /// Whether every run has made so many steps, and a gradient of each was followed, if there is one.
    pub fn has_seen(&self, steps: u64) -> bool {
        let is_record = matches!(self.status, Status::Record { .. });
        let seen =
            |run: &RunView| run.last().is_some_and(|last| last.step >= steps) && (is_record || !run.looks.is_empty());
        self.runs.iter().all(seen)
    }

    /// Takes in what has happened since the last call; whether anything did.
    pub fn poll(&mut self) -> bool {
        let mut changed = false;
        while let Ok(event) = self.events.try_recv() {
            changed = true;
            self.take(event);
        }
        for done in self.follower.take() {
            changed = true;
            match done {
                Ok(done) => self.take_done(done),
                Err(message) => {
                    (self.looking, self.tiles_under_way, self.cell_under_way) = (0, 0, false);
                    self.notice = format!("a gradient could not be followed through its passes: {message}");
                }
            }
        }
        self.ask_for_tile();
        // The browser may tell of a lost device later than of what it made impossible.
        if let (Status::Failed { device_lost: false, .. }, Err(error @ Error::DeviceLost { .. })) =
            (&self.status, self.gpu.check())
        {
            self.fail(error);
        }
        changed |= self.save_pictures();
        while let Ok(arrival) = self.arrivals.1.try_recv() {
            changed = true;
            self.open(arrival);
        }
        let link = self.link();
        if link != self.told_link {
            platform::show_link(&link);
            self.told_link = link;
        }
        changed
    }

    fn take_done(&mut self, done: Done) {
        match done {
            Done::Sample { run, sample, wanted, found } => self.take_found(run, sample, wanted, found),
            Done::Plain(PlainFound::Made(made)) => self.made = Some(made),
            Done::Plain(PlainFound::Cell { aspect, row, cell }) => {
                self.map[row * Map::N_ASPECTS + Map::mirrored(aspect)] = Some(cell.transposed());
                self.map[row * Map::N_ASPECTS + aspect] = Some(cell);
                self.cell_under_way = false;
            }
        }
    }

    fn take_found(&mut self, run: usize, sample: GradientSample, wanted: Wanted, found: Found) {
        match found {
            Found::Followed(followed) => {
                self.looking = self.looking.saturating_sub(1);
                let (view, chosen) = match &mut self.opened {
                    Some(opened) if run == OPENED => (&mut opened.view, opened.matrices[opened.chosen].name()),
                    _ => match self.runs.get_mut(run) {
                        Some(view) => (view, self.settings.parameter.as_str()),
                        None => return,
                    },
                };
                if followed.record.parameter == chosen {
                    view.push_look(Look { followed: *followed, sample: Some(sample) });
                }
            }
            Found::Tile(tile) => {
                self.tiles_under_way = self.tiles_under_way.saturating_sub(1);
                let matrices = self.matrices();
                if let Some(view) = self.runs.get_mut(run) {
                    view.push_tile(tile, &matrices);
                }
            }
            Found::Direction(direction) => {
                let Wanted::Direction { half_step, index } = wanted else { return };
                let pointed = Pointed { step: sample.step, parameter: sample.parameter, half_step, sigma: index };
                if self.directions.len() <= run {
                    self.directions.resize(run + 1, None);
                }
                self.directions[run] = direction.map(|direction| (pointed, direction));
            }
        }
    }

    fn take(&mut self, event: Event) {
        let view = |runs: &'_ mut Vec<RunView>, run: usize, with: &mut dyn FnMut(&mut RunView)| {
            if let Some(view) = runs.get_mut(run) {
                with(view);
            }
        };
        match event {
            Event::Ready { memory } => {
                for (run, memory) in self.runs.iter_mut().zip(memory) {
                    run.memory = Some(memory);
                }
                if self.status == Status::Building {
                    self.run(self.goes);
                }
            }
            Event::Run { run, event, secs } => view(&mut self.runs, run, &mut |view| view.take(&event, secs)),
            Event::Looked { run, sample } => {
                let Some(optimizer) = self.runs.get(run).map(|run| run.optimizer.clone()) else { return };
                // A follower that lags behind must not be buried: live views want the newest look.
                if self.looking < 2 * self.runs.len() {
                    self.looking += 1;
                    let sets = self.built.sets(&optimizer, self.dataset.vocab_size);
                    self.follower.send(Job::Sample { run, sets, sample: *sample, wanted: Wanted::Followed });
                }
            }
            Event::Sampled { run, sample } => {
                let (Some(view), Some(config)) = (self.runs.get(run), self.configs.get(run)) else { return };
                let sets = self.built.sets(&view.optimizer, self.dataset.vocab_size);
                let specs = config.model.parameters();
                let role =
                    specs.iter().find(|spec| spec.name == sample.parameter).map_or(Role::Linear, |spec| spec.role);
                let rate = config.optimizer.recipe(role).lr / config.optimizer.linear.lr;
                self.follower.send(Job::Sample { run, sets, sample: *sample, wanted: Wanted::Tile { rate } });
            }
            Event::Wrote { run, step, text } => {
                view(&mut self.runs, run, &mut |view| view.texts.push((step, text.clone())));
            }
            Event::Timed { run, times } => view(&mut self.runs, run, &mut |view| view.times.clone_from(&times)),
            Event::Saved { run, snapshot, asked } => {
                if asked && self.saving == Some(run) {
                    self.saving = None;
                    self.notice = match self.offer(run, &snapshot) {
                        Ok(words) => words,
                        Err(error) => error.to_string(),
                    };
                }
                view(&mut self.runs, run, &mut |view| view.snapshot = Some((*snapshot).clone()));
            }
            Event::Finished => self.status = Status::Finished,
            Event::Failed(error) => self.fail(error),
        }
    }
}

/// A gradient of a training that was made for it, so that there is something to see before a model has one: its way
/// through SinkGD's passes is computed here and now.
fn recorded_look() -> Look {
    let name = "model.layers.0.mlp.down_proj.weight".to_owned();
    let shape = [32, 88];
    let bytes = include_bytes!("../../page/recorded.bin");
    let gradient = bytes.as_chunks::<2>().0.iter().map(|pair| f32::from(i16::from_le_bytes(*pair)) / 32767.0).collect();
    let rule = OptimizerConfig::named("sinkgd").expect("the catalog has SinkGD").linear.rule;
    let sample = GradientSample { step: 60, parameter: name, shape, rule, gradient, clip: 1.0, states: Vec::new() };
    Look { followed: Followed::of(&sample), sample: Some(sample) }
}
