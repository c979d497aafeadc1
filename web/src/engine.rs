//! The task that trains: commands in, events out. The same in a thread of the window and on the page's event loop.

use std::cell::Cell;
use std::sync::Arc;

use multinorm::config::RunConfig;
use multinorm::data::dataset::Dataset;
use multinorm::gpu::{Gpu, KernelTime, Memory};
use multinorm::train::{self, GradientSample, Plan, Snapshot, StepReport, Trainer};
use multinorm::{Error, Result};
use web_time::Instant;

use crate::platform;

/// Work that may lie on the device at once: a frame at 60 a second, less what drawing takes.
const BUDGET_SECS: f64 = 0.012;
/// The same on a software adapter, where every piece of work costs a round trip and frames are few.
const SOFTWARE_BUDGET_SECS: f64 = 0.25;
/// Of the time of training, what evaluations and texts may take; the first of each are made in any case.
const SHARE_BESIDE: f64 = 0.1;
/// Tokens of a sample of text.
const SAMPLE_TOKENS: usize = 48;

/// What the panel asks for.
pub enum Command {
    /// Builds a trainer for each configuration, all from the same text; those before are dropped.
    Build {
        /// One or two, in the order of the panel.
        configs: Vec<RunConfig>,
        /// The text.
        dataset: Arc<Dataset>,
        /// Where to go on, one for each configuration; nothing begins anew.
        from: Vec<Snapshot>,
        /// Whether the next step is made at once, for its gradients alone: it is taken back before training goes on.
        peek: bool,
        /// Stands beside every event of these trainers.
        generation: u64,
    },
    /// Trains until it is told to pause.
    Run(bool),
    /// One step of every run, then pause.
    Step,
    /// What to look into, how often, and after which steps to evaluate and to write text.
    Watch(Watch),
    /// One look at once.
    Look,
    /// Reads one matrix's gradient of every run, for the atlas.
    Sample(String),
    /// Reads back everything that a step changes.
    Save,
    /// Times the kernels of the next step.
    Time,
}

/// What is done beside the steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// Whose gradient.
    pub parameter: String,
    /// Steps between two looks.
    pub every: u64,
    /// Steps between two evaluations.
    pub evaluate_every: u64,
    /// Steps between two texts.
    pub write_every: u64,
    /// What the text begins with.
    pub prompt: String,
}

/// What happened.
pub enum Event {
    /// Trainers are there.
    Ready {
        /// Bytes by class, of each run.
        memory: Vec<Memory>,
    },
    /// A run made a step or was evaluated.
    Run {
        /// Which run.
        run: usize,
        /// What it tells, as it tells it to the command line.
        event: train::Event,
        /// Seconds of training of this run since it was built, looks and evaluations aside.
        secs: f64,
    },
    /// A gradient and its optimizer's state.
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
    /// Time on the device of each kernel of one step.
    Timed {
        /// Which run.
        run: usize,
        /// By plan.
        times: Vec<(Plan, Vec<KernelTime>)>,
    },
    /// Everything that a step changes; also sent by itself now and then, to go on from if the device is lost.
    Saved {
        /// Which run.
        run: usize,
        /// Weights and state.
        snapshot: Box<Snapshot>,
        /// Whether it was asked for.
        asked: bool,
    },
    /// All steps of the schedule are done.
    Finished,
    /// A run cannot go on; the engine waits for another command.
    Failed(Error),
}

/// Steps between two that are timed kernel by kernel, on a GPU.
const TIME_EVERY: u64 = 50;
/// Steps between two snapshots that are kept in case the device is lost.
const KEEP_EVERY: u64 = 100;

/// Serves commands until their sender is gone. `wake` is called after every event.
pub async fn serve(
    gpu: Arc<Gpu>,
    commands: flume::Receiver<Command>,
    events: flume::Sender<(u64, Event)>,
    wake: impl Fn(),
) {
    let generation = Cell::new(0);
    let emit = |event: Event| {
        let _ = events.send((generation.get(), event)); // nobody listens any more: the commands end as well
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
                // The event loop of a page must have its turn even if nothing had to be waited for.
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
    /// Whether the next step is timed.
    timing: bool,
    /// Seconds of evaluations and texts since the trainers were built.
    beside_secs: f64,
}

struct Run {
    trainer: Trainer,
    secs: f64,
    /// What the trainer was before a step that is to be taken back.
    before_peek: Option<Snapshot>,
}

impl Run {
    /// Makes the next step for its gradients alone: they and the state after it stay to be looked into.
    async fn peek(&mut self, from: Snapshot) -> Result<()> {
        self.trainer.step().await?;
        self.trainer.drain().await?;
        self.before_peek = Some(from);
        Ok(())
    }

    /// Takes such a step back.
    fn settle(&mut self) -> Result<()> {
        self.before_peek.take().map_or(Ok(()), |snapshot| self.trainer.restore(&snapshot))
    }
}

impl Engine {
    async fn obey(&mut self, command: Command, emit: &impl Fn(Event)) -> Result<()> {
        match command {
            Command::Build { configs, dataset, from, peek, .. } => {
                self.running = false;
                self.runs.clear(); // its memory first
                self.beside_secs = 0.0;
                for (index, mut config) in configs.into_iter().enumerate() {
                    config.eval.text_tokens = SAMPLE_TOKENS; // whatever the run in a folder did
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

    /// Whatever goes on from here goes on from what was trained, not from a step that was only looked at.
    fn settle(&mut self) -> Result<()> {
        self.runs.iter_mut().try_for_each(Run::settle)
    }

    /// One step of every run, and what is due after it.
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
        // On a GPU a timed step takes little longer; on a processor it would hold frames up.
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
        // Where they are expensive they come less often.
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

    /// A few words of every run.
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
