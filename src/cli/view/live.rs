//! A thread that draws a run in the terminal and reads its keys.

use std::io::{self, IsTerminal, Stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use multinorm::gpu::Compilation;
use multinorm::train::Event;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::{cursor, execute, terminal};
use web_time::Instant;

use super::draw::{Look, draw};
use super::plain::PlainLines;
use super::state::{Phase, RunView};
use crate::cli::{console, stop};

/// How long the thread waits for events before it polls the keys.
const TICK: Duration = Duration::from_millis(50);
/// The shortest and the longest time between two frames.
const FRAMES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];

/// Whether the program has taken over the terminal: alternate screen and raw mode.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Whether standard error is a terminal that a view can be drawn on, with this program in the foreground.
pub fn is_possible() -> bool {
    let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb" || term.is_empty());
    io::stderr().is_terminal() && io::stdin().is_terminal() && !is_dumb && is_in_foreground()
}

/// The system would stop a background program that changes the terminal.
#[cfg(unix)]
fn is_in_foreground() -> bool {
    rustix::termios::tcgetpgrp(io::stderr()).is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
fn is_in_foreground() -> bool {
    true
}

/// The screen, taken over until dropped.
pub struct Screen(Terminal<CrosstermBackend<Stderr>>);

impl Screen {
    pub fn enter() -> io::Result<Self> {
        let screen = Terminal::new(CrosstermBackend::new(io::stderr()))?;
        terminal::enable_raw_mode()?;
        ENTERED.store(true, Ordering::SeqCst);
        stop::before_exit(leave);
        // Leave the alternate screen first, or a panic's message is lost with it.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            hook(panic);
        }));
        execute!(io::stderr(), terminal::EnterAlternateScreen, cursor::Hide).inspect_err(|_| leave())?;
        Ok(Self(screen))
    }

    pub fn draw(&mut self, run: &RunView, look: Look) -> io::Result<()> {
        self.0.draw(|frame| draw(frame, run, look)).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Restores the terminal; does nothing if it has not been taken over.
pub fn leave() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stderr(), terminal::LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
    }
}

/// The action of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAction {
    Leave,
    PlainLines,
    Zoom,
}

/// The action of the keys pressed since the last call, if any.
pub fn key_action() -> io::Result<Option<KeyAction>> {
    let mut key_action = None;
    while event::poll(Duration::ZERO)? {
        if let event::Event::Key(key) = event::read()? {
            key_action = action_of(key).or(key_action);
        }
    }
    Ok(key_action)
}

fn action_of(key: KeyEvent) -> Option<KeyAction> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(KeyAction::Leave),
        KeyCode::Char('q') | KeyCode::Esc => Some(KeyAction::Leave),
        KeyCode::Char('p') => Some(KeyAction::PlainLines),
        KeyCode::Char('z') => Some(KeyAction::Zoom),
        _ => None,
    }
}

enum News {
    Event(Box<Event>),
    Line(String),
}

/// A view of the run that this process trains; falls back to plain lines when it is given up.
pub struct LiveView {
    news: Option<Sender<News>>,
    thread: Option<JoinHandle<()>>,
}

impl LiveView {
    /// Until the view is dropped, notes to standard error appear in the view.
    pub fn start(screen: Screen, run: RunView, compilation: Arc<Compilation>, plain: PlainLines) -> Self {
        let (news, inbox) = channel();
        let lines = news.clone();
        console::redirect_notes(Some(Box::new(move |line: &str| {
            lines.send(News::Line(line.to_owned())).map_err(|_| io::ErrorKind::BrokenPipe.into())
        })));
        let thread = std::thread::spawn(move || {
            let mut loop_ = ViewLoop { run, compilation, plain, screen: Some(screen), look: Look::default() };
            loop_.turn(&inbox);
        });
        Self { news: Some(news), thread: Some(thread) }
    }

    pub fn show(&self, event: &Event) {
        // The spectra of a step are large, and the view does not show them.
        if let (Some(news), false) = (&self.news, matches!(event, Event::Spectrum(_))) {
            let _ = news.send(News::Event(Box::new(event.clone())));
        }
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        console::redirect_notes(None);
        self.news = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic was reported when it happened
        }
    }
}

struct ViewLoop {
    run: RunView,
    compilation: Arc<Compilation>,
    plain: PlainLines,
    /// `None` once plain lines were requested.
    screen: Option<Screen>,
    look: Look,
}

impl ViewLoop {
    fn turn(&mut self, inbox: &Receiver<News>) {
        let mut drawn: Option<Instant> = None;
        let mut has_news = true;
        loop {
            match inbox.recv_timeout(TICK) {
                Ok(news) => {
                    self.take(news);
                    inbox.try_iter().for_each(|news| self.take(news));
                    has_news = true;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.screen.is_none() {
                continue;
            }
            has_news |= self.obey();
            let age = drawn.map(|drawn| drawn.elapsed());
            let [shortest, longest] = FRAMES;
            if age.is_none_or(|age| age >= if has_news { shortest } else { longest }) {
                self.look.compiling = self.compilation.progress();
                let drawn_well = self.screen.as_mut().is_some_and(|screen| screen.draw(&self.run, self.look).is_ok());
                // Nobody is left to look at it.
                if !drawn_well {
                    self.give_up();
                }
                (drawn, has_news) = (Some(Instant::now()), false);
            }
        }
        self.give_up();
    }

    fn take(&mut self, news: News) {
        match news {
            News::Event(event) => {
                self.run.take(&event);
                let lines = self.plain.lines_of(&event, &self.run);
                match &self.screen {
                    Some(_) if matches!(*event, Event::Step(_) | Event::Wrote { .. } | Event::Ready { .. }) => {}
                    Some(_) => lines.iter().for_each(|line| self.run.push_line(line)),
                    None => lines.iter().for_each(|line| console::write_note_directly(line)),
                }
            }
            News::Line(line) if self.screen.is_some() => self.run.push_line(&line),
            News::Line(line) => console::write_note_directly(&line),
        }
    }

    /// Handles the keys; returns whether any asked for something.
    fn obey(&mut self) -> bool {
        match key_action() {
            Ok(None) => return false,
            Ok(Some(KeyAction::Leave)) => {
                self.run.phase = Phase::Stopping;
                stop::interrupt();
            }
            Ok(Some(KeyAction::Zoom)) => self.look.zoomed = !self.look.zoomed,
            Ok(Some(KeyAction::PlainLines)) | Err(_) => self.give_up(),
        }
        true
    }

    /// Switches to plain lines.
    fn give_up(&mut self) {
        self.screen = None;
        for line in std::mem::take(&mut self.run.lines) {
            console::write_note_directly(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_footer_says() {
        let of = |code, modifiers| action_of(KeyEvent::new(code, modifiers));
        assert_eq!(of(KeyCode::Char('q'), KeyModifiers::NONE), Some(KeyAction::Leave));
        assert_eq!(of(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(KeyAction::Leave));
        assert_eq!(of(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(of(KeyCode::Char('p'), KeyModifiers::NONE), Some(KeyAction::PlainLines));
        assert_eq!(of(KeyCode::Char('z'), KeyModifiers::NONE), Some(KeyAction::Zoom));
    }
}
