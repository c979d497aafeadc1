//! What the lab knows: the text, the runs, what was seen of them. No widgets here, and no mathematics.

mod arrivals;
mod background;
mod player;
mod run_view;
mod saves;

pub use arrivals::{Arrival, FolderRun, Text};
pub use player::{Moment, Player};
pub use run_view::{Look, RunView};
pub use saves::{CARD, Picture, is_taking};

pub use crate::platform::Made;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use eframe::egui::{ColorImage, Context};
use multinorm::config::{OptimizerConfig, Role, RunConfig};
use multinorm::data::dataset::Dataset;
use multinorm::gpu::{Gpu, Profile};
use multinorm::train::{Direction, Followed, GradientSample, Snapshot, SpectrumRecord};
use multinorm::{Error, Result};

use self::arrivals::Opened;
use self::background::{AtlasQueue, Directions, RateMap};
use crate::engine::{Command, Event, Watch};
use crate::platform::{self, Done, Follower, Found, Job, Plain, PlainFound, Pointed, Source, Wanted};
use crate::settings::{FIRST_PARAMETER, Settings, matrices};

/// Between two cells of the map of rates where they take time from the training.
const MAP_REST: Duration = Duration::from_millis(250);
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
    /// Not training.
    Paused,
    /// Training.
    Running,
    /// All steps are done.
    Finished,
    /// A run's folder is shown that cannot be resumed.
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
            Self::Finished => "finished".into(),
            Self::Record { why } => format!("recorded run; it cannot be resumed: {why}"),
            Self::Failed { message, .. } => message.clone(),
        }
    }

    /// Whether there is nothing that could train.
    fn is_stuck(&self) -> bool {
        matches!(self, Self::Record { .. } | Self::Failed { .. })
    }
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
    /// The names of their matrices.
    pub matrices: Vec<String>,
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
    directions: Directions,
    /// The map of rates.
    pub map: RateMap,
    /// A matrix that was generated on the map.
    pub made: Option<Made>,
    /// Shape and heaviness of the one that was asked for last.
    pub wanted_matrix: Option<([usize; 2], f64)>,
    is_making: bool,
    atlas: AtlasQueue,
    /// The step that the trainers at work began at: before the next one they have no gradient.
    built_at: u64,
    /// Whether they made a step for its gradients alone.
    has_peeked: bool,
    /// The number of the newest beginning, of runs or of a file.
    generation: u64,
    /// That of the runs.
    generation_of_runs: u64,
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
    events: flume::Receiver<(u64, Event)>,
    follower: Follower,
    /// What the address was written from last.
    shown_link: Option<(Settings, Settings)>,
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
            recorded_look: recorded_look(),
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
            lab.settings.step = step; // of these runs
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
        platform::serve(gpu.clone(), to_engine, from_engine, wake.clone());
        self.follower = Follower::new(wake);
        (self.gpu, self.commands, self.events) = (gpu, commands, events);
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

    /// A number for new runs or a new file.
    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Answers that are still to come belong to what was before.
    fn forget_questions(&mut self) {
        self.looking = 0;
        (self.atlas, self.directions) = (AtlasQueue::default(), Directions::default());
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

    /// What is looked into: a file, or the runs.
    pub fn views(&self) -> Vec<&RunView> {
        match &self.opened {
            Some(opened) => vec![&opened.view],
            None => self.runs.iter().collect(),
        }
    }

    /// The last half-step of what is seen.
    pub fn last_half_step(&self) -> usize {
        self.seen().iter().map(|look| look.followed.record.passes.len().saturating_sub(1)).max().unwrap_or(0)
    }

    /// What is shown of each view, by the cursor: the look at the chosen step, at that of the walk under way, or the newest.
    /// Until the first of a new file or of new runs is there it is what was shown before, and the recorded gradient at first.
    pub fn seen(&self) -> Vec<&Look> {
        self.seen_with_runs().into_iter().map(|(_, look)| look).collect()
    }

    /// The same with the run that each is of; none for a file's and for the recorded gradient.
    fn seen_with_runs(&self) -> Vec<(Option<usize>, &Look)> {
        // A walk through the passes keeps its gradient; a pass that is held shows the newest.
        let of_walk = self.player.step.filter(|_| self.settings.half_step.is_none());
        let step = self.settings.step.or(of_walk);
        if let Some(look) = self.opened.as_ref().and_then(|opened| opened.view.looks.back()) {
            return vec![(None, look)];
        }
        let of_runs = self.runs.iter().enumerate().filter_map(|(run, view)| Some((Some(run), view.look_at(step)?)));
        let seen: Vec<_> = of_runs.collect();
        if seen.is_empty() { vec![(None, &self.recorded_look)] } else { seen }
    }

    /// Whether what is seen is the recorded gradient, since there is no other yet.
    pub fn shows_recorded(&self) -> bool {
        std::ptr::eq(self.seen()[0], &self.recorded_look)
    }

    /// The matrix that is waited for, where another is still shown.
    pub fn awaited(&self) -> Option<&str> {
        let wanted = match &self.opened {
            Some(opened) => opened.matrices[opened.chosen].name(),
            None if self.shows_recorded() => return None,
            None => &self.settings.parameter,
        };
        let shows_file = self.opened.as_ref().is_none_or(|opened| !opened.view.looks.is_empty());
        let is_shown = self.seen().iter().all(|look| look.followed.record.parameter == wanted);
        (!is_shown || !shows_file).then_some(wanted)
    }

    /// The names of the optimizers whose looks are seen.
    pub fn seen_optimizers(&self) -> Vec<String> {
        let name = |(run, look): (Option<usize>, &Look)| match (run, &self.opened) {
            (Some(run), _) => self.runs[run].optimizer.clone(),
            (None, Some(opened)) if !std::ptr::eq(look, &self.recorded_look) => opened.view.optimizer.clone(),
            (None, _) => "sinkgd".into(),
        };
        self.seen_with_runs().into_iter().map(name).collect()
    }

    /// Where the walk through the passes is.
    pub fn moment(&mut self, now: f64, motion: bool) -> Moment {
        let (last, chosen) = (self.last_half_step(), self.settings.half_step);
        let newest = self.views().first().and_then(|run| run.looks.back()).map(Look::step);
        self.player.moment(now, chosen, last, newest, motion)
    }

    /// Asks for the vectors of the singular value that is pointed at, at these passes, unless they are known.
    pub fn point_at(&mut self, half_step: usize) {
        let Some(sigma) = self.settings.sigma else { return };
        let mut jobs = Vec::new();
        let names = self.seen_optimizers();
        let seen = self.seen_with_runs().into_iter().zip(names).enumerate();
        let seen: Vec<_> = seen.map(|(slot, ((run, look), name))| (slot, run, look.id, name)).collect();
        for (slot, run, look, name) in seen {
            let pointed = Pointed { look, half_step, sigma };
            if self.directions.wants(slot, pointed) {
                jobs.push((slot, run, pointed, name));
            }
        }
        for (slot, run, pointed, name) in jobs {
            let look = self.seen()[slot];
            let Some(sample) = look.sample.clone() else {
                self.directions.take(slot, pointed, None);
                continue;
            };
            let sets = self.built.sets(&name, self.dataset.vocab_size);
            let of = Source { run: Some(slot).filter(|_| run.is_some()), generation: self.generation };
            self.follower.send(Job::Sample { of, sets, sample, wanted: Wanted::Direction(pointed) });
        }
    }

    /// These vectors of what is shown in a place, if they are known.
    pub fn direction(&self, slot: usize, half_step: usize) -> Option<&Direction> {
        let (sigma, look) = (self.settings.sigma?, self.seen().get(slot)?.id);
        self.directions.get(slot, Pointed { look, half_step, sigma })
    }

    /// Asks for the next cell of the map, unless one is on its way.
    pub fn ask_for_map(&mut self) {
        // The first step of a model comes first, and on a software adapter every other step as well.
        if self.status == Status::Building {
            return;
        }
        let is_busy = self.gpu.profile.software && self.status == Status::Running;
        if let Some((aspect, row)) = self.map.next(if is_busy { MAP_REST } else { Duration::ZERO }) {
            self.follower.send(Job::Plain(Plain::Cell { aspect, row }));
        }
    }

    /// Generates a matrix of independent entries, after the one that is under way if there is one.
    pub fn make(&mut self, shape: [usize; 2], heaviness: f64) {
        self.wanted_matrix = Some((shape, heaviness));
        if !self.is_making {
            self.is_making = true;
            self.follower.send(Job::Plain(Plain::Make { shape, heaviness }));
        }
    }

    /// Asks for the next tile of the atlas, if none is on its way and a step was made since.
    fn ask_for_tile(&mut self) {
        let step = self.runs.first().and_then(RunView::last).map_or(0, |last| last.step);
        let has_gradients = self.has_peeked || step > self.built_at;
        if self.opened.is_some() || !has_gradients || self.status == Status::Building || self.status.is_stuck() {
            return;
        }
        // A software adapter makes its steps as fast as it can: one tile in so many takes no time that counts.
        let every = if self.gpu.profile.software { 4 } else { 1 };
        let is_running = self.status == Status::Running;
        if let Some(at) = self.atlas.next(step, every, is_running, self.matrices.len(), self.runs.len()) {
            self.send(Command::Sample(self.matrices[at].clone()));
        }
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
        while let Ok((generation, event)) = self.events.try_recv() {
            changed = true;
            if generation == self.generation_of_runs {
                self.take(event);
            }
        }
        for done in self.follower.take() {
            changed = true;
            match done {
                Ok(done) => self.take_done(done),
                Err(message) => {
                    self.looking = 0;
                    self.atlas.fail();
                    self.directions.fail();
                    self.map.fail();
                    self.is_making = false;
                    self.notice = format!("a computation in the background failed: {message}");
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
        let is_shown =
            self.shown_link.as_ref().is_some_and(|(shown, built)| *shown == self.settings && *built == self.built);
        if !is_shown {
            platform::show_link(&self.link());
            self.shown_link = Some((self.settings.clone(), self.built.clone()));
        }
        changed
    }

    fn take_done(&mut self, done: Done) {
        match done {
            Done::Sample { of, sample, wanted, found } => self.take_found(of, sample, wanted, found),
            Done::Plain(PlainFound::Made(made)) => {
                self.is_making = false;
                // Meanwhile the ring may have been dragged on.
                if let Some(wanted) = self.wanted_matrix.filter(|wanted| *wanted != (made.shape, made.heaviness)) {
                    self.make(wanted.0, wanted.1);
                }
                self.made = Some(made);
            }
            Done::Plain(PlainFound::Cell { aspect, row, cell }) => {
                self.map.take(aspect, row, cell);
            }
        }
    }

    fn take_found(&mut self, of: Source, sample: GradientSample, wanted: Wanted, found: Found) {
        let is_of_now = match (of.run, &self.opened) {
            (Some(_), _) => of.generation == self.generation_of_runs,
            (None, Some(opened)) => of.generation == opened.generation,
            (None, None) => false,
        };
        if matches!(found, Found::Followed(_)) {
            self.looking = self.looking.saturating_sub(1);
        }
        match found {
            Found::Direction(direction) => {
                if let Wanted::Direction(pointed) = wanted {
                    self.directions.take(of.run.unwrap_or(0), pointed, direction);
                }
            }
            _ if !is_of_now => (),
            Found::Followed(followed) => {
                let (view, wanted) = match (of.run, &mut self.opened) {
                    (None, Some(opened)) => (Some(&mut opened.view), opened.matrices[opened.chosen].name()),
                    (run, _) => (run.and_then(|run| self.runs.get_mut(run)), self.settings.parameter.as_str()),
                };
                if let Some(view) = view.filter(|_| followed.record.parameter == wanted) {
                    view.push_look(Look::new(*followed, Some(sample)));
                }
            }
            Found::Tile(tile) => {
                self.atlas.take();
                if let Some(view) = of.run.and_then(|run| self.runs.get_mut(run)) {
                    view.push_tile(tile, &self.matrices);
                }
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Ready { memory } => {
                for (run, memory) in self.runs.iter_mut().zip(memory) {
                    run.memory = Some(memory);
                }
                if self.status == Status::Building {
                    self.run(self.goes);
                }
            }
            Event::Run { run, event, secs } => {
                if let Some(view) = self.runs.get_mut(run) {
                    view.take(&event, secs);
                }
            }
            Event::Looked { run, sample } => {
                let Some(optimizer) = self.runs.get(run).map(|run| run.optimizer.clone()) else { return };
                // A follower that lags behind must not be buried: live views want the newest look.
                if self.looking < 2 * self.runs.len() {
                    self.looking += 1;
                    let sets = self.built.sets(&optimizer, self.dataset.vocab_size);
                    let of = Source { run: Some(run), generation: self.generation_of_runs };
                    self.follower.send(Job::Sample { of, sets, sample: *sample, wanted: Wanted::Followed });
                }
            }
            Event::Sampled { run, sample } => {
                let (Some(view), Some(config)) = (self.runs.get(run), self.configs.get(run)) else { return };
                let sets = self.built.sets(&view.optimizer, self.dataset.vocab_size);
                let specs = config.model.parameters();
                let role =
                    specs.iter().find(|spec| spec.name == sample.parameter).map_or(Role::Linear, |spec| spec.role);
                let rate = config.optimizer.recipe(role).lr / config.optimizer.linear.lr;
                let of = Source { run: Some(run), generation: self.generation_of_runs };
                self.follower.send(Job::Sample { of, sets, sample: *sample, wanted: Wanted::Tile { rate } });
            }
            Event::Wrote { run, step, text } => {
                if let Some(view) = self.runs.get_mut(run) {
                    view.texts.push((step, text));
                }
            }
            Event::Timed { run, times } => {
                if let Some(view) = self.runs.get_mut(run) {
                    view.times = times;
                }
            }
            Event::Saved { run, snapshot, asked } => {
                if asked && self.saving == Some(run) {
                    self.saving = None;
                    self.notice = match self.offer(run, &snapshot) {
                        Ok(words) => words,
                        Err(error) => error.to_string(),
                    };
                }
                if let Some(view) = self.runs.get_mut(run) {
                    view.snapshot = Some(*snapshot);
                }
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
    Look::new(Followed::of(&sample), Some(sample))
}
