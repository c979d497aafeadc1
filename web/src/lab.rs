//! What the lab knows: the text, the runs, what was seen of them. No widgets here, and no mathematics.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{ColorImage, Context, ScreenshotCallback, ViewportCommand};
use eframe::wgpu;
use multinorm::checkpoint::{NamedTensor, model_files, tensor_bytes, tensors_of_bytes};
use multinorm::config::{OptimizerConfig, Rule};
use multinorm::data::dataset::{Dataset, TokenizerChoice};
use multinorm::data::tokenizer::Tokenizer;
use multinorm::gpu::{Gpu, KernelTime, Memory};
use multinorm::normalize::{Entry, Matrix};
use multinorm::train::{Followed, GradientSample, Snapshot, StepReport};
use multinorm::{Error, Result};

use crate::engine::{Command, Event, Watch, is_device_loss};
use crate::platform::{self, FileRead, Follower, Job};
use crate::settings::{FIRST_PARAMETER, Panel, Settings};

/// Looks of one run that are kept: the history of a spectrum.
const LOOKS_KEPT: usize = 240;
/// Runs before this one that stay on the loss plot.
const EARLIER_KEPT: usize = 6;
/// Validation share of a text.
const VALIDATION: f64 = 0.05;

/// A picture of the window, and the file that it is for, if it was asked for from outside.
type Screenshot = (Arc<ColorImage>, Option<(PathBuf, Context)>);

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
            Self::Failed { message, .. } => message.clone(),
        }
    }
}

/// One run as it was seen.
#[derive(Default)]
pub struct RunView {
    /// Name of the optimizer.
    pub optimizer: String,
    /// What to call it on a plot.
    pub label: String,
    /// Every step's numbers, with the seconds of training up to it.
    pub steps: Vec<(StepReport, f64)>,
    /// Step, seconds, loss on the held-out text.
    pub evaluations: Vec<(u64, f64, f64)>,
    /// Looks into the watched gradient, oldest first.
    pub looks: VecDeque<Followed>,
    /// The newest look's numbers as they were read.
    pub sample: Option<GradientSample>,
    /// Step and text, newest last.
    pub texts: Vec<(u64, String)>,
    /// Time of each kernel of one step, by plan.
    pub times: Vec<(&'static str, Vec<KernelTime>)>,
    /// Bytes by class.
    pub memory: Option<Memory>,
    /// Everything that a step changes, as it was last read.
    pub snapshot: Option<Snapshot>,
}

impl RunView {
    /// The newest step's numbers.
    pub fn last(&self) -> Option<&StepReport> {
        self.steps.last().map(|(report, _)| report)
    }

    /// metrics.jsonl, a line a step, evaluations among them.
    pub fn metrics(&self) -> String {
        let mut lines: Vec<(u64, String)> = Vec::new();
        for (report, secs) in &self.steps {
            let mut line = serde_json::to_value(report).expect("plain data");
            line["secs"] = (*secs).into();
            lines.push((report.step, line.to_string()));
        }
        for (step, _, loss) in &self.evaluations {
            let line = serde_json::json!({ "step": step, "eval_loss": loss, "perplexity": loss.exp() });
            lines.push((*step, line.to_string()));
        }
        lines.sort_by_key(|(step, _)| *step);
        lines.into_iter().map(|(_, line)| line + "\n").collect()
    }

    /// The loss plot: step, seconds, training loss, held-out loss where it was measured.
    pub fn losses_csv(&self) -> String {
        let mut csv = "step,secs,loss,eval_loss\n".to_owned();
        for (report, secs) in &self.steps {
            let held_out = self.evaluations.iter().find(|(step, ..)| *step == report.step);
            let held_out = held_out.map(|(.., loss)| loss.to_string()).unwrap_or_default();
            csv += &format!("{},{secs},{},{held_out}\n", report.step, report.loss);
        }
        csv
    }

    /// The newest look: a column a pass, a row a singular value.
    pub fn spectrum_csv(&self) -> String {
        let Some(look) = self.looks.back() else { return String::new() };
        let of = |entry: &Entry| entry.quantities.spectrum.as_ref().map(|spectrum| spectrum.singular_values.clone());
        let columns: Vec<Vec<f64>> = look.record.passes.iter().filter_map(of).collect();
        let head: Vec<String> =
            look.record.passes.iter().map(|entry| format!("{} {}", entry.pass, entry.iteration)).collect();
        let mut csv = head.join(",") + "\n";
        for row in 0..columns.first().map_or(0, Vec::len) {
            let cells: Vec<String> = columns.iter().map(|column| column[row].to_string()).collect();
            csv += &(cells.join(",") + "\n");
        }
        csv
    }

    /// The newest look's gradient as a safetensors file that `multinorm normalize` reads.
    pub fn gradient_file(&self) -> Option<Vec<u8>> {
        let sample = self.sample.as_ref()?;
        let tensor = NamedTensor {
            name: sample.parameter.clone(),
            shape: sample.shape.to_vec(),
            values: sample.gradient.clone(),
        };
        tensor_bytes(&[tensor]).ok()
    }
}

/// A file of matrices that is looked into instead of the runs.
pub struct Opened {
    /// The file.
    pub file: String,
    /// Its matrices.
    pub matrices: Vec<Matrix>,
    /// Which of them.
    pub chosen: usize,
    /// What was seen of it, as if it were a gradient.
    pub view: RunView,
}

/// In place of a run's number: the file's.
const OPENED: usize = usize::MAX;
/// The largest matrix that is looked into: its singular values take some seconds.
const MOST_ELEMENTS: usize = 4 << 20;

/// The state behind every view.
pub struct Lab {
    /// What is chosen now.
    pub settings: Settings,
    /// What a link without words means.
    pub default: Settings,
    /// What the runs were built with; differs from the settings where a new start is due.
    pub built: Settings,
    /// What is going on.
    pub status: Status,
    /// The runs side by side.
    pub runs: Vec<RunView>,
    /// Runs before them, for comparison.
    pub earlier: Vec<RunView>,
    /// A file that is looked into instead of the runs.
    pub opened: Option<Opened>,
    /// The text.
    pub dataset: Arc<Dataset>,
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
    files: (flume::Sender<FileRead>, flume::Receiver<FileRead>),
    screenshots: (flume::Sender<Screenshot>, flume::Receiver<Screenshot>),
    /// Whether the next save is one that was asked for, and whose.
    saving: Option<usize>,
}

/// A text to learn.
pub struct Text {
    /// What to call it.
    pub name: String,
    /// Its terms of use.
    pub license: String,
    /// The text.
    pub text: String,
}

impl Text {
    /// Split, and cut into bytes.
    ///
    /// Errors: a text too short to hold something out.
    pub fn dataset(self) -> Result<Arc<Dataset>> {
        let vocab_size = Tokenizer::bytes().vocab_size();
        let (documents, bytes) = (vec![self.text], TokenizerChoice::Bytes);
        let dataset = Dataset::from_documents(documents, self.name, self.license, bytes, vocab_size, VALIDATION)?;
        Ok(Arc::new(dataset))
    }
}

impl Lab {
    /// A lab on a device; training begins at once.
    pub fn new(
        gpu: Arc<Gpu>,
        dataset: Arc<Dataset>,
        settings: Settings,
        wake: impl Fn() + Clone + Send + 'static,
    ) -> Self {
        let default = Settings::default_for(gpu.profile.software);
        let (commands, to_engine) = flume::unbounded();
        let (from_engine, events) = flume::unbounded();
        platform::serve(gpu.clone(), to_engine, from_engine, wake.clone());
        let mut lab = Self {
            built: settings.clone(),
            settings,
            default,
            status: Status::Building,
            runs: Vec::new(),
            earlier: Vec::new(),
            opened: None,
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
            files: flume::unbounded(),
            screenshots: flume::unbounded(),
            saving: None,
        };
        lab.draw();
        lab.reset();
        lab
    }

    /// The same lab on another device: everything seen stays, and the runs go on from the last snapshot.
    pub fn move_to(&mut self, gpu: Arc<Gpu>, wake: impl Fn() + Clone + Send + 'static) {
        let (commands, to_engine) = flume::unbounded();
        let (from_engine, events) = flume::unbounded();
        platform::serve(gpu.clone(), to_engine, from_engine, wake);
        (self.gpu, self.commands, self.events) = (gpu, commands, events);
        let from: Vec<Snapshot> = self.runs.iter().filter_map(|run| run.snapshot.clone()).collect();
        let step = from.first().map_or(0, |snapshot| snapshot.step);
        for run in &mut self.runs {
            run.steps.retain(|(report, _)| report.step <= step);
            run.evaluations.retain(|(at, ..)| *at <= step);
        }
        let whole = from.len() == self.runs.len();
        self.build(if whole { from } else { Vec::new() });
        self.notice = format!("the device was lost; the runs go on from step {step}");
    }

    fn send(&self, command: Command) {
        let _ = self.commands.send(command); // an engine that is gone has told why
    }

    /// Whether the settings ask for other runs than those that are there.
    pub fn wants_reset(&self) -> bool {
        !self.settings.same_run(&self.built)
    }

    /// New runs from the settings, from step 0 with the same seed; those that were stay on the plot.
    pub fn reset(&mut self) {
        let before = std::mem::take(&mut self.runs).into_iter().filter(|run| run.steps.len() > 1);
        self.earlier.extend(before.map(|run| RunView { snapshot: None, sample: None, looks: VecDeque::new(), ..run }));
        let surplus = self.earlier.len().saturating_sub(EARLIER_KEPT);
        self.earlier.drain(..surplus);
        self.built = self.settings.clone();
        if !self.settings.matrices(self.dataset.vocab_size).contains(&self.settings.parameter) {
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
        self.build(Vec::new());
    }

    fn build(&mut self, from: Vec<Snapshot>) {
        let vocab_size = self.dataset.vocab_size;
        let configs: Result<Vec<_>> =
            self.built.optimizers.iter().map(|optimizer| self.built.config(optimizer, vocab_size)).collect();
        match configs {
            Ok(configs) => {
                self.status = Status::Building;
                self.send(Command::Build { configs, dataset: self.dataset.clone(), from });
                self.watch();
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: Error) {
        self.status = Status::Failed { message: error.to_string(), device_lost: false };
    }

    /// CONFIG.toml of every run, as `multinorm train` reads it.
    pub fn configuration(&self) -> Vec<String> {
        let of = |optimizer: &String| self.built.config(optimizer, self.dataset.vocab_size).ok().map(|c| c.to_toml());
        self.built.optimizers.iter().filter_map(of).collect()
    }

    /// Tells the engine what to look into.
    pub fn watch(&self) {
        let every = self.settings.every;
        let watch = Watch {
            parameter: self.settings.parameter.clone(),
            every,
            evaluate_every: (self.settings.steps / 20).max(5),
            write_every: (self.settings.steps / 20).max(10),
            prompt: self.prompt.clone(),
        };
        self.send(Command::Watch(watch));
    }

    /// Trains, or pauses after the step under way.
    pub fn run(&mut self, running: bool) {
        if matches!(self.status, Status::Failed { .. }) {
            return;
        }
        self.goes = running;
        self.status = if running { Status::Running } else { Status::Paused };
        self.send(Command::Run(running));
    }

    /// One step of every run.
    pub fn step(&mut self) {
        if matches!(self.status, Status::Failed { .. }) {
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
        self.watch();
        self.send(Command::Look);
    }

    /// Looks into the matrices of a safetensors file instead of the runs; what cannot be is told.
    pub fn open(&mut self, file: String, bytes: &[u8]) {
        let tensors = match tensors_of_bytes(bytes, &file) {
            Ok(tensors) => tensors,
            Err(error) => {
                self.notice = error.to_string();
                return;
            }
        };
        let fits = |tensor: &NamedTensor| tensor.shape.len() == 2 && tensor.values.len() <= MOST_ELEMENTS;
        let matrices: Vec<Matrix> = tensors
            .into_iter()
            .filter(fits)
            .filter_map(|tensor| Matrix::new(tensor.name, &tensor.shape, tensor.values).ok())
            .collect();
        if matrices.is_empty() {
            self.notice = format!("{file} holds no matrix of finite numbers with {MOST_ELEMENTS} elements or fewer");
            return;
        }
        self.opened = Some(Opened { file, matrices, chosen: 0, view: RunView::default() });
        self.settings.panel = Panel::Spectrum;
        self.open_matrix(0);
    }

    /// Follows another matrix of the opened file, by the passes of the first optimizer, or SinkGD's where it has none.
    pub fn open_matrix(&mut self, chosen: usize) {
        let named = OptimizerConfig::named(&self.settings.optimizers[0]).map(|config| config.linear.rule);
        let (optimizer, rule) = match named {
            Ok(rule @ Rule::Passes(_)) => (self.settings.optimizers[0].clone(), rule),
            _ => match OptimizerConfig::named("sinkgd") {
                Ok(config) => ("sinkgd".to_owned(), config.linear.rule),
                Err(error) => return self.fail(error),
            },
        };
        let sets = self.settings.sets(&optimizer, self.dataset.vocab_size);
        let Some(opened) = &mut self.opened else { return };
        opened.chosen = chosen;
        opened.view = RunView { label: opened.file.clone(), optimizer, ..RunView::default() };
        let matrix = &opened.matrices[chosen];
        let sample = GradientSample {
            step: 0,
            parameter: matrix.name().to_owned(),
            shape: matrix.shape(),
            rule,
            gradient: matrix.values().to_vec(),
            clip: 1.0,
            states: Vec::new(),
        };
        self.send(Command::Open(Some(Box::new(sample.clone()))));
        self.looking += 1;
        self.follower.send(Job { run: OPENED, sets, sample });
    }

    /// Looks at the runs again.
    pub fn close_file(&mut self) {
        self.opened = None;
        self.send(Command::Open(None));
    }

    /// What is looked into: a file, or the runs.
    pub fn views(&self) -> Vec<&RunView> {
        match &self.opened {
            Some(opened) => vec![&opened.view],
            None => self.runs.iter().collect(),
        }
    }

    /// Another text for the runs to come.
    pub fn set_text(&mut self, text: Text) {
        match text.dataset() {
            Ok(dataset) => {
                self.dataset = dataset;
                self.reset();
                self.run(true);
            }
            Err(error) => self.notice = error.to_string(),
        }
    }

    /// Asks for the weights of a run; the files are offered when they have come.
    pub fn save_weights(&mut self, run: usize) {
        self.saving = Some(run);
        self.send(Command::Save);
        self.notice = "reading the weights back".into();
    }

    /// Where a file that was dropped is to be sent.
    pub fn inbox(&self) -> flume::Sender<FileRead> {
        self.files.0.clone()
    }

    /// Saves a picture of the window as it is drawn next.
    pub fn picture(&self, ctx: &Context) {
        self.ask_for_picture(ctx, None);
    }

    /// Writes a picture of the window to this file, and closes it.
    pub fn write_picture(&self, ctx: &Context, path: PathBuf) {
        self.ask_for_picture(ctx, Some((path, ctx.clone())));
    }

    fn ask_for_picture(&self, ctx: &Context, to: Option<(PathBuf, Context)>) {
        let (sender, wake) = (self.screenshots.0.clone(), ctx.clone());
        let take = move |image| {
            let _ = sender.send((image, to)); // the lab is gone with its window
            wake.request_repaint();
        };
        ctx.send_viewport_cmd(ViewportCommand::Screenshot(ScreenshotCallback::new(take)));
    }

    /// Whether every run has made so many steps, and a gradient of each was followed.
    pub fn has_seen(&self, steps: u64) -> bool {
        self.runs.iter().all(|run| run.last().is_some_and(|last| last.step >= steps) && !run.looks.is_empty())
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
            view.looks.push_back(done.followed);
            if view.looks.len() > LOOKS_KEPT {
                view.looks.pop_front();
            }
            view.sample = Some(done.sample);
        }
        // The browser may tell of a lost device later than of what it made impossible.
        if let (Status::Failed { device_lost: false, .. }, Err(error)) = (&self.status, self.gpu.check()) {
            self.status = Status::Failed { message: error.to_string(), device_lost: true };
        }
        while let Ok(image) = self.screenshots.1.try_recv() {
            changed = true;
            let (image, to) = image;
            let saved = png(&image).and_then(|bytes| match to {
                None => platform::save("multinorm-lab.png", &bytes),
                Some((path, ctx)) => {
                    multinorm::checkpoint::write_atomic(&path, &bytes)?;
                    ctx.send_viewport_cmd(ViewportCommand::Close);
                    Ok(format!("saved {}", path.display()))
                }
            });
            self.notice = saved.unwrap_or_else(|error| error.to_string());
        }
        while let Ok((name, bytes)) = self.files.1.try_recv() {
            changed = true;
            match bytes {
                Err(error) => self.notice = format!("{name} cannot be read: {error}"),
                Ok(bytes) if name.ends_with(".safetensors") => self.open(name, &bytes),
                Ok(bytes) => match String::from_utf8(bytes) {
                    Ok(text) => self.set_text(Text { name, license: "yours".into(), text }),
                    Err(_) => self.notice = format!("{name} is neither a text in UTF-8 nor a .safetensors file"),
                },
            }
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
            Event::Step { run, report, secs } => {
                view(&mut self.runs, run, &mut |view| view.steps.push((report.clone(), secs)));
            }
            Event::Evaluated { run, step, evaluation } => view(&mut self.runs, run, &mut |view| {
                let secs = view.steps.last().map_or(0.0, |(_, secs)| *secs);
                view.evaluations.push((step, secs, evaluation.loss));
            }),
            Event::Looked { run, sample } => {
                let Some(optimizer) = self.built.optimizers.get(run) else { return };
                // A follower that lags behind must not be buried: live views want the newest look.
                if self.looking < 2 * self.runs.len() {
                    self.looking += 1;
                    let sets = self.built.sets(optimizer, self.dataset.vocab_size);
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
            Event::Failed { message } => {
                let device_lost = is_device_loss(&message);
                self.status = Status::Failed { message, device_lost };
            }
        }
    }

    /// The weights as Hugging Face transformers and `multinorm generate` load them.
    fn offer(&self, run: usize, snapshot: &Snapshot) -> Result<String> {
        let optimizer = &self.built.optimizers[run];
        let config = self.built.config(optimizer, self.dataset.vocab_size)?.model;
        let tokenizer = self.dataset.tokenizer.as_ref();
        let mut words = Vec::new();
        for (name, bytes) in model_files(&config, &snapshot.parameters, tokenizer)? {
            words.push(platform::save(&name, &bytes)?);
        }
        Ok(words.join("; "))
    }
}

fn png(image: &ColorImage) -> Result<Vec<u8>> {
    let [width, height] = image.size.map(|size| size as u32);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgba);
    let pixels: Vec<u8> = image.pixels.iter().flat_map(|pixel| pixel.to_srgba_unmultiplied()).collect();
    let mut writer =
        encoder.write_header().map_err(|error| Error::Data(format!("a picture cannot be written: {error}")))?;
    writer.write_image_data(&pixels).map_err(|error| Error::Data(format!("a picture cannot be written: {error}")))?;
    drop(writer);
    Ok(bytes)
}
