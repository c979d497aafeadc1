//! A run as its user sees it, while it is trained or later: a full-screen view, or plain lines.

mod draw;
mod live;
mod plain;
mod state;

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use multinorm::config::RunConfig;
use multinorm::gpu::Compilation;
use multinorm::train::Event;

use super::console::note;
use live::LiveView;
use plain::PlainLines;

pub use draw::Look;
pub use live::{KeyAction, Screen, is_possible, key_action};
pub use plain::text_line;
pub use state::{Phase, RunView};

/// Shows the run that this process trains.
pub enum View {
    Live(LiveView),
    Plain(Box<Plain>),
}

/// Plain lines, including those that report kernel compilation until this is dropped.
pub struct Plain {
    run: RunView,
    lines: PlainLines,
    _compilation: CompilationLines,
}

impl View {
    /// Starts a full-screen view if there is a terminal and `plain` is not set.
    pub fn start(run: RunView, config: &RunConfig, compilation: Arc<Compilation>, plain: bool) -> Self {
        let screen = if !plain && is_possible() { Screen::enter().map(Some) } else { Ok(None) };
        let lines = PlainLines::new(config);
        match screen {
            Ok(Some(screen)) => return Self::Live(LiveView::start(screen, run, compilation, lines)),
            Ok(None) => {}
            Err(error) => note!("the terminal cannot show the view, printing plain lines: {error}"),
        }
        Self::Plain(Box::new(Plain { run, lines, _compilation: CompilationLines::start(compilation) }))
    }

    pub fn show(&mut self, event: &Event) {
        match self {
            Self::Live(view) => view.show(event),
            Self::Plain(plain) => {
                plain.run.take(event);
                plain.lines.lines_of(event, &plain.run).iter().for_each(|line| note!("{line}"));
            }
        }
    }
}

/// Reports from time to time how many kernels are compiled.
pub struct CompilationLines {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The interval between these lines.
const EVERY: Duration = Duration::from_secs(5);

impl CompilationLines {
    fn start(compilation: Arc<Compilation>) -> Self {
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || {
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                if let Some((done, total)) = compilation.progress() {
                    note!("compiling  {done} of {total} kernels");
                }
            }
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for CompilationLines {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
