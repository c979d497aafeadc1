//! Threads and files.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use eframe::egui::DroppedFileHandle;
use multinorm::Error;
use multinorm::data::progress::Progress;
use multinorm::gpu::Gpu;
use multinorm::train::{History, PastRun};

use super::{Done, Job, SampleAnswer};
use crate::engine::{self, Command, Event};
use crate::lab::{Arrival, FolderRun};

/// Gives the event loop a turn; a thread does not need to.
pub async fn yield_to_event_loop() {}

/// The engine's thread. Dropping this waits for the thread to end, which it does once all command senders are dropped:
/// unloading a driver while a thread still uses it would crash.
pub struct EngineThread(Option<JoinHandle<()>>);

impl Drop for EngineThread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join(); // if it panicked, it has already reported so
        }
    }
}

/// Starts the engine.
pub fn serve(
    gpu: Arc<Gpu>,
    commands: flume::Receiver<Command>,
    events: flume::Sender<(u64, Event)>,
    wake: impl Fn() + Send + 'static,
) -> EngineThread {
    let work = move || {
        #[expect(clippy::disallowed_methods, reason = "a thread of its own may block")]
        pollster::block_on(engine::serve(gpu, commands, events, wake));
    };
    EngineThread(Some(thread::Builder::new().name("engine".into()).spawn(work).expect("the system has a thread left")))
}

/// A thread that processes jobs one after the other.
pub struct Follower {
    jobs: flume::Sender<Job>,
    done: flume::Receiver<Result<Done, String>>,
}

impl Follower {
    /// Starts it; `wake` is called after every result.
    pub fn new(wake: impl Fn() + Send + 'static) -> Self {
        let (jobs, work) = flume::unbounded::<Job>();
        let (results, done) = flume::unbounded();
        let follow = move || {
            for job in work {
                // An uncaught panic would end the thread, and later jobs would never be answered.
                let done = catch_unwind(AssertUnwindSafe(|| answer(job)));
                let done = done.map_err(|_| "it panicked; the terminal has its message".to_owned());
                if results.send(done).is_err() {
                    return;
                }
                wake();
            }
        };
        thread::Builder::new().name("spectra".into()).spawn(follow).expect("the system has a thread left");
        Self { jobs, done }
    }

    /// Hands over a job.
    pub fn send(&self, job: Job) {
        let _ = self.jobs.send(job); // the thread lives as long as this object
    }

    /// The jobs finished since the last call, or why they failed.
    pub fn take(&self) -> Vec<Result<Done, String>> {
        self.done.try_iter().collect()
    }
}

fn answer(job: Job) -> Done {
    match job {
        Job::Sample { of, sample, wanted, .. } => {
            let found = SampleAnswer::of(&sample, wanted);
            Done::Sample { of, sample, found }
        }
        Job::Question(plain) => Done::Question(plain.found()),
    }
}

/// Writes a file into the current folder, under a numbered name if the name is taken. Returns a message with its path.
///
/// Errors: the folder cannot be written.
pub fn save(name: &str, bytes: &[u8]) -> multinorm::Result<String> {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let numbered =
        (1..10_000).map(|n| PathBuf::from(if n == 1 { name.to_owned() } else { format!("{stem}-{n}.{ending}") }));
    let free = numbered.into_iter().find(|path| !path.exists());
    let path = free.ok_or_else(|| Error::Data(format!("there are 10 000 files called {name} already")))?;
    multinorm::files::write_atomic(&path, bytes)?;
    let full = std::path::absolute(&path).unwrap_or(path);
    Ok(format!("saved {}", full.display()))
}

/// Opens a dropped file or folder in its own thread, and hands over the result.
pub fn read(file: DroppedFileHandle, inbox: flume::Sender<Arrival>, wake: impl Fn() + Send + 'static) {
    let path = file.path().to_owned();
    let work = move || {
        let _ = inbox.send(open(&path, &mut |_: &str| ())); // fails only if the window was closed
        wake();
    };
    thread::Builder::new().name("reader".into()).spawn(work).expect("the system has a thread left");
}

/// Opens a run's folder, a safetensors file or a text.
pub fn open(path: &Path, progress: &mut dyn Progress) -> Arrival {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    if !path.is_dir() {
        return match std::fs::read(path) {
            Ok(bytes) => Arrival::of_file(name, &bytes),
            Err(error) => Arrival::Refused(format!("{} cannot be read: {error}", path.display())),
        };
    }
    match PastRun::read(path) {
        Err(error) => Arrival::Refused(error.to_string()),
        Ok(run) => {
            let revived = match run.config.optimizer.zeroth_order() {
                None => run.revive(progress),
                Some(_) => {
                    let why = "a zeroth-order method computes no gradients to show";
                    Err(multinorm::Error::config("optimizer.name", why))
                }
            };
            let PastRun { config, history: History { steps, evaluations }, spectra, .. } = run;
            let revived = revived.map(|(dataset, snapshot)| (Arc::new(dataset), snapshot));
            let revived = revived.map_err(|error| error.to_string());
            Arrival::Run(Box::new(FolderRun { name, config, steps, evaluations, spectra, revived }))
        }
    }
}

/// A window has no address line.
pub fn show_link(_query: &str) {}

/// How to show someone else the same view: the command.
pub fn address(query: &str) -> String {
    if query.is_empty() { "cargo xtask lab".into() } else { format!("cargo xtask lab '{query}'") }
}

/// Whether the user wants reduced motion. winit does not report the desktop's setting, so an environment variable
/// stands in.
pub fn wants_less_motion() -> bool {
    std::env::var_os("MULTINORM_REDUCED_MOTION").is_some()
}
