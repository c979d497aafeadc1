//! What the lab knows: the text, the runs, what was seen of them. No widgets here, and no mathematics.

mod arrivals;
mod run_view;
mod saves;

pub use arrivals::{Arrival, FolderRun, Text};
pub use run_view::RunView;
pub use saves::{Picture, is_taking};

use std::collections::VecDeque;
use std::sync::Arc;

use eframe::egui::{ColorImage, Context};
use eframe::wgpu;
use multinorm::config::RunConfig;
use multinorm::data::dataset::Dataset;
use multinorm::gpu::Gpu;
use multinorm::train::{Followed, Snapshot, SpectrumRecord};
use multinorm::{Error, Result};

use self::arrivals::{OPENED, Opened};
use crate::engine::{Command, Event, Watch};
use crate::platform::{self, Follower, Job};
use crate::settings::{FIRST_PARAMETER, Settings, matrices};

/// Runs before this one that stay on the loss plot.
const EARLIER_KEPT: usize = 6;
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
    /// The step whose look is shown while training goes on; none shows the newest.
    pub frozen: Option<u64>,
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
    link: String,
    /// Looks under way.
    pub looking: usize,
    /// Textures that the engine paints, until the window has taken them.
    pub pictures: Option<[wgpu::TextureView; 2]>,
    arrivals: (flume::Sender<Arrival>, flume::Receiver<Arrival>),
    wanted_picture: Option<Picture>,
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
            frozen: None,
            own_text: dataset.clone(),
            dataset,
            notice: String::new(),
            gpu,
            prompt: "It was".into(),
            goes: true,
            commands,
            events,
            follower: Follower::new(wake),
            link: String::new(),
            looking: 0,
            pictures: None,
            arrivals: flume::unbounded(),
            wanted_picture: None,
            screenshots: flume::unbounded(),
            saving: None,
        };
        lab.draw();
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
        (self.folder, self.frozen) = (None, None);
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
        self.looking = 0;
        self.build(Vec::new(), false);
    }

    /// The runs become earlier ones.
    fn retire(&mut self) {
        let before = std::mem::take(&mut self.runs).into_iter().filter(|run| run.steps.len() > 1);
        self.earlier.extend(before.map(|run| RunView { snapshot: None, sample: None, looks: VecDeque::new(), ..run }));
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

    /// Draws the watched gradient after the chosen pass.
    pub fn draw(&self) {
        self.send(Command::Draw(self.settings.half_step));
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
            run.sample = None;
        }
        self.frozen = None;
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

    /// The last half-step of what is seen; 0 before anything is.
    pub fn last_half_step(&self) -> usize {
        let looks = self.views().into_iter().filter_map(|run| run.look_at(self.frozen));
        looks.map(|look| look.record.passes.len() - 1).max().unwrap_or(0)
    }

    /// What is shown of each view: its newest look, or that of the frozen step.
    pub fn seen(&self) -> Vec<Followed> {
        self.views().iter().filter_map(|run| run.look_at(self.frozen).cloned()).collect()
    }

    /// Where a file that was dropped is to be sent.
    pub fn inbox(&self) -> flume::Sender<Arrival> {
        self.arrivals.0.clone()
    }

    /// Whether every run has made so many steps, and a gradient of each was followed, if there is one.
    pub fn has_seen(&self, steps: u64) -> bool {
        let is_record = matches!(self.status, Status::Record { .. });
        let seen =
            |run: &RunView| run.last().is_some_and(|last| last.step >= steps) && (is_record || run.sample.is_some());
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
            self.looking = self.looking.saturating_sub(1);
            let done = match done {
                Ok(done) => done,
                Err(message) => {
                    self.notice = format!("a gradient could not be followed through its passes: {message}");
                    continue;
                }
            };
            let (view, wanted) = match &mut self.opened {
                Some(opened) if done.run == OPENED => (&mut opened.view, opened.matrices[opened.chosen].name()),
                _ => match self.runs.get_mut(done.run) {
                    Some(view) => (view, self.settings.parameter.as_str()),
                    None => continue,
                },
            };
            if done.followed.record.parameter != wanted {
                continue;
            }
            view.push_look(done.followed);
            view.sample = Some(done.sample);
        }
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
        let link = self.settings.to_query(&self.default);
        if link != self.link {
            platform::show_link(&link);
            self.link = link;
        }
        changed
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
                    self.follower.send(Job { run, sets, sample: *sample });
                }
            }
            Event::Pictures(views) => self.pictures = Some(views),
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
