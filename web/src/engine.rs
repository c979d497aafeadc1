//! The training task: commands in, events out. It runs in a thread for the window and on the event loop for the page.

use std::cell::Cell;
use std::sync::Arc;

use multinorm::config::RunConfig;
use multinorm::data::dataset::Dataset;
use multinorm::gpu::{Gpu, KernelTime, Memory};
use multinorm::train::{self, GradientSample, Plan, Snapshot, StepReport, Trainer};
use multinorm::{Error, Result};
use web_time::Instant;

use crate::platform;

/// Work to queue on the device at once: a frame at 60 per second, minus drawing time.
const BUDGET_SECS: f64 = 0.012;
/// The same for a software adapter, where each submission costs a round trip and frames are rare.
const SOFTWARE_BUDGET_SECS: f64 = 0.25;
/// Share of training time that evaluations and texts may take; the first of each is always made.
const SHARE_BESIDE: f64 = 0.1;
/// Tokens per text sample.
const SAMPLE_TOKENS: usize = 48;

/// What the interface asks the engine to do.
pub enum Command {
    /// Builds a trainer for each configuration, all on the same text; earlier trainers are dropped.
    Build {
        /// One or two, in the order shown.
        configs: Vec<RunConfig>,
        /// The text.
        dataset: Arc<Dataset>,
        /// Where to continue, one per configuration; empty to start anew.
        from: Vec<Snapshot>,
        /// Whether to make the next step right away, only for its gradients; it is undone before training continues.
        peek: bool,
        /// Accompanies every event of these trainers.
        generation: u64,
    },
    /// Trains until paused.
    Run(bool),
    /// One step of every run, then pause.
    Step,
    /// What to watch, and how often to look, evaluate and write text.
    Watch(Watch),
    /// Looks once, right away.
    Look,
    /// Reads one matrix's gradient from every run, for the atlas.
    Sample(String),
    /// Reads back all state that a step changes.
    Save,
    /// Times the kernels of the next step.
    Time,
}

/// What to do besides training steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// The parameter whose gradient to watch.
    pub parameter: String,
    /// Steps between two looks.
    pub every: u64,
    /// Steps between two evaluations.
    pub evaluate_every: u64,
    /// Steps between two texts.
    pub write_every: u64,
    /// The prompt for the texts.
    pub prompt: String,
}

/// What happened.
pub enum Event {
    /// The trainers are built.
    Ready {
        /// Bytes by class, for each run.
        memory: Vec<Memory>,
    },
    /// A run made a step or was evaluated.
    Run {
        /// Which run.
        run: usize,
        /// Its event, the same one the command line gets.
        event: train::Event,
        /// Seconds this run has trained since it was built, without looks and evaluations.
        secs: f64,
    },
    /// The watched gradient and its optimizer state.
    Looked {
        /// Which run.
        run: usize,
        /// What was read.
        sample: Box<GradientSample>,
    },
    /// A gradient for the atlas.
    Sampled {
        /// Which run.
        run: usize,
        /// What was read.
        sample: Box<GradientSample>,
    },
    /// Text that the model wrote.
    Wrote {
        /// Which run.
        run: usize,
        /// After this step.
        step: u64,
        /// Prompt and continuation.
        text: String,
    },
    /// Device time of each kernel in one step.
    Timed {
        /// Which run.
        run: usize,
        /// By plan.
        times: Vec<(Plan, Vec<KernelTime>)>,
    },
    /// All state that a step changes. Also sent unasked now and then, to continue from if the device is lost.
    Saved {
        /// Which run.
        run: usize,
        /// Weights and state.
        snapshot: Box<Snapshot>,
        /// Whether it was requested.
        asked: bool,
    },
    /// The schedule's last step is done.
    Finished,
    /// A run cannot continue; the engine waits for another command.
    Failed(Error),
}

/// On a GPU, every so many steps one is timed kernel by kernel.
const TIME_EVERY: u64 = 50;
/// Steps between two snapshots, kept in case the device is lost.
const KEEP_EVERY: u64 = 100;

/// Serves commands until their sender is dropped. `wake` is called after every event.
pub async fn serve(
    gpu: Arc<Gpu>,
    commands: flume::Receiver<Command>,
    events: flume::Sender<(u64, Event)>,
    wake: impl Fn(),
) {
    let generation = Cell::new(0);
    let emit = |event: Event| {
        let _ = events.send((generation.get(), event)); // without a receiver, the commands end too
        wake();
    };
    let mut engine =
        Engine { gpu, runs: Vec::new(), dataset: None, running: false, watch: None, timing: false, beside_secs: 0.0 };
    loop {
        let command = if engine.running {
            match commands.try_recv() {
                Ok(command) => Some(command),
                Err(flume::TryRecvError::Empty) => None,
                Err(flume::TryRecvError::Disconnected) => return,
            }
        } else {
            match commands.recv_async().await {
                Ok(command) => Some(command),
                Err(_) => return,
            }
        };
        let done = match command {
            Some(command) => {
                if let Command::Build { generation: newer, .. } = &command {
                    generation.set(*newer);
                }
                engine.obey(command, &emit).await
            }
            None => {
                // The page's event loop must get a turn even if this step never awaits anything.
                platform::yield_to_event_loop().await;
                engine.step(&emit).await
            }
        };
        if let Err(error) = done {
            engine.running = false;
            emit(Event::Failed(error));
        }
    }
}

struct Engine {
    gpu: Arc<Gpu>,
    runs: Vec<Run>,
    dataset: Option<Arc<Dataset>>,
    running: bool,
    watch: Option<Watch>,
    /// Whether to time the next step.
    timing: bool,
    /// Seconds spent on evaluations and texts since the trainers were built.
    beside_secs: f64,
}

struct Run {
    trainer: Trainer,
    secs: f64,
    /// The trainer's state before a step that will be undone.
    before_peek: Option<Snapshot>,
}

impl Run {
    /// Makes the next step only for its gradients; these and the state after it stay available for looks.
    async fn peek(&mut self, from: Snapshot) -> Result<()> {
        self.trainer.step().await?;
        self.trainer.drain().await?;
        self.before_peek = Some(from);
        Ok(())
    }

    /// Undoes such a step.
    fn settle(&mut self) -> Result<()> {
        self.before_peek.take().map_or(Ok(()), |snapshot| self.trainer.restore(&snapshot))
    }
}

impl Engine {
    async fn obey(&mut self, command: Command, emit: &impl Fn(Event)) -> Result<()> {
        match command {
            Command::Build { configs, dataset, from, peek, .. } => {
                self.running = false;
                self.runs.clear(); // free its memory first
                self.beside_secs = 0.0;
                for (index, mut config) in configs.into_iter().enumerate() {
                    config.eval.text_tokens = SAMPLE_TOKENS; // whatever an opened run used
                    let mut trainer = Trainer::new(self.gpu.clone(), config, dataset.clone()).await?;
                    if let Some(snapshot) = from.get(index) {
                        trainer.restore(snapshot)?;
                    }
                    let budget = if self.gpu.profile.software { SOFTWARE_BUDGET_SECS } else { BUDGET_SECS };
                    trainer.set_throttle(Some(budget));
                    let mut run = Run { trainer, secs: 0.0, before_peek: None };
                    if let Some(snapshot) = from.get(index).filter(|_| peek) {
                        run.peek(snapshot.clone()).await?;
                    }
                    self.runs.push(run);
                }
                self.dataset = Some(dataset);
                let memory = self.runs.iter().map(|run| run.trainer.memory().clone()).collect();
                emit(Event::Ready { memory });
            }
            Command::Run(running) => {
                self.running = running && !self.runs.is_empty();
                if !running {
                    self.drain(emit).await?;
                }
            }
            Command::Step => {
                self.running = false;
                self.step(emit).await?;
                self.drain(emit).await?;
            }
            Command::Watch(watch) => self.watch = Some(watch),
            Command::Look => self.look(emit).await?,
            Command::Sample(parameter) => {
                for (index, run) in self.runs.iter().enumerate() {
                    let sample = Box::new(run.trainer.sample(&parameter).await?);
                    emit(Event::Sampled { run: index, sample });
                }
            }
            Command::Save => self.save(true, emit).await?,
            Command::Time => self.timing = self.gpu.profile.timestamps,
        }
        Ok(())
    }

    fn step_number(&self) -> u64 {
        self.runs.first().map_or(0, |run| run.trainer.step_number())
    }

    /// Undoes a step made only for its gradients, so that everything after continues from the trained state.
    fn settle(&mut self) -> Result<()> {
        self.runs.iter_mut().try_for_each(Run::settle)
    }

    /// One step of every run, then whatever is due after it.
    async fn step(&mut self, emit: &impl Fn(Event)) -> Result<()> {
        self.settle()?;
        let Some(last) = self.runs.first().map(|run| run.trainer.config().train.steps) else {
            self.running = false;
            return Ok(());
        };
        if self.step_number() >= last {
            self.running = false;
            self.drain(emit).await?;
            emit(Event::Finished);
            return Ok(());
        }
        // On a GPU a timed step takes little longer; on a CPU it would delay frames.
        let timing = self.timing
            || (!self.gpu.profile.software && self.gpu.profile.timestamps && self.step_number() % TIME_EVERY == 1);
        for (index, run) in self.runs.iter_mut().enumerate() {
            let began = Instant::now();
            let reports = if timing {
                let (reports, times) = run.trainer.timed_step().await?;
                emit(Event::Timed { run: index, times });
                reports
            } else {
                run.trainer.step().await?
            };
            run.secs += began.elapsed().as_secs_f64();
            tell_steps(index, reports, run.secs, emit);
        }
        self.timing = false;
        let step = self.step_number();
        let due = |every: u64| every > 0 && (step.is_multiple_of(every) || step == last);
        let Some(watch) = self.watch.clone() else { return Ok(()) };
        if step == 1 || due(watch.every) {
            self.look(emit).await?;
        }
        // Do these less often where they are expensive.
        let secs: f64 = self.runs.iter().map(|run| run.secs).sum();
        let is_affordable = step == last || self.beside_secs <= SHARE_BESIDE * secs;
        let began = Instant::now();
        if due(watch.evaluate_every) && (is_affordable || step == watch.evaluate_every) {
            self.evaluate(emit).await?;
        }
        if due(watch.write_every) && (is_affordable || step == watch.write_every) {
            self.write(&watch.prompt, emit).await?;
        }
        self.beside_secs += began.elapsed().as_secs_f64();
        if due(KEEP_EVERY) {
            self.save(false, emit).await?;
        }
        Ok(())
    }

    async fn drain(&mut self, emit: &impl Fn(Event)) -> Result<()> {
        for (index, run) in self.runs.iter_mut().enumerate() {
            let began = Instant::now();
            let reports = run.trainer.drain().await?;
            run.secs += began.elapsed().as_secs_f64();
            tell_steps(index, reports, run.secs, emit);
            run.trainer.check()?;
        }
        Ok(())
    }

    async fn look(&mut self, emit: &impl Fn(Event)) -> Result<()> {
        let Some(watch) = &self.watch else { return Ok(()) };
        for (index, run) in self.runs.iter().enumerate() {
            if run.trainer.step_number() > 0 {
                let sample = Box::new(run.trainer.sample(&watch.parameter).await?);
                emit(Event::Looked { run: index, sample });
            }
        }
        Ok(())
    }

    async fn evaluate(&mut self, emit: &impl Fn(Event)) -> Result<()> {
        self.drain(emit).await?;
        for (index, run) in self.runs.iter_mut().enumerate() {
            let step = run.trainer.step_number();
            let evaluation = run.trainer.evaluate().await?;
            emit(Event::Run { run: index, event: train::Event::Evaluated { step, evaluation }, secs: run.secs });
        }
        Ok(())
    }

    async fn save(&mut self, asked: bool, emit: &impl Fn(Event)) -> Result<()> {
        self.settle()?;
        self.drain(emit).await?;
        for (index, run) in self.runs.iter().enumerate() {
            let snapshot = Box::new(run.trainer.snapshot().await?);
            emit(Event::Saved { run: index, snapshot, asked });
        }
        Ok(())
    }

    /// A short text from every run.
    async fn write(&mut self, prompt: &str, emit: &impl Fn(Event)) -> Result<()> {
        self.drain(emit).await?;
        for (index, run) in self.runs.iter_mut().enumerate() {
            if let Some(text) = run.trainer.write_text(prompt).await? {
                emit(Event::Wrote { run: index, step: run.trainer.step_number(), text });
            }
        }
        Ok(())
    }
}

fn tell_steps(run: usize, reports: Vec<StepReport>, secs: f64, emit: &impl Fn(Event)) {
    for report in reports {
        emit(Event::Run { run, event: train::Event::Step(report), secs });
    }
}
