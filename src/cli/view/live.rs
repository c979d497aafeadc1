//! The terminal as a thread draws a run on it, and the keys that are pressed there.

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

/// How long the thread waits for news before it looks at the keys.
const TICK: Duration = Duration::from_millis(50);
/// The shortest time between two frames, and the longest.
const FRAMES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];

/// Whether the terminal is ours: its alternate screen is shown and keys come one by one.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Whether standard error is a terminal that a view can be drawn on, and this program the one in its foreground.
pub fn is_possible() -> bool {
    let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb" || term.is_empty());
    io::stderr().is_terminal() && io::stdin().is_terminal() && !is_dumb && is_in_foreground()
}

/// A program in the background that changed the terminal would be stopped by the system.
#[cfg(unix)]
fn is_in_foreground() -> bool {
    rustix::termios::tcgetpgrp(io::stderr()).is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
fn is_in_foreground() -> bool {
    true
}

/// The screen, taken over until this is dropped.
pub struct Screen(Terminal<CrosstermBackend<Stderr>>);

impl Screen {
    pub fn enter() -> io::Result<Self> {
        let screen = Terminal::new(CrosstermBackend::new(io::stderr()))?;
        terminal::enable_raw_mode()?;
        ENTERED.store(true, Ordering::SeqCst);
        stop::before_exit(leave);
        // A panic's message is for the screen that stays.
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

/// Gives the terminal back as it was; does nothing where it is not ours.
pub fn leave() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stderr(), terminal::LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
    }
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAction {
    Leave,
    PlainLines,
    Zoom,
}

/// What was asked for by keys since the last call, if anything.
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

/// A view of the run that this process trains; plain lines from where it is given up.
pub struct LiveView {
    news: Option<Sender<News>>,
    thread: Option<JoinHandle<()>>,
}

impl LiveView {
    /// Takes the terminal over. Until it is dropped, what the program would write to standard error is part of the view.
    pub fn start(run: RunView, compilation: Arc<Compilation>, plain: PlainLines) -> io::Result<Self> {
        let screen = Screen::enter()?;
        let (news, inbox) = channel();
        let lines = news.clone();
        console::redirect_notes(Some(Box::new(move |line: &str| {
            lines.send(News::Line(line.to_owned())).map_err(|_| io::ErrorKind::BrokenPipe.into())
        })));
        let thread = std::thread::spawn(move || {
            let mut loop_ = ViewLoop { run, compilation, plain, screen: Some(screen), look: Look::default() };
            loop_.turn(&inbox);
        });
        Ok(Self { news: Some(news), thread: Some(thread) })
    }

    pub fn show(&self, event: &Event) {
        // The spectra of a step are large, and no part of the view.
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
            let _ = thread.join(); // a panic was told when it happened
        }
    }
}

struct ViewLoop {
    run: RunView,
    compilation: Arc<Compilation>,
    plain: PlainLines,
    /// None once plain lines were asked for.
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
        let lines = std::mem::take(&mut self.run.lines);
        if self.screen.take().is_some() {
            // What the view held is kept on the screen that stays.
            lines.iter().for_each(|line| console::write_note_directly(line));
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Event(event) => {
                self.run.take(&event);
                let lines = self.plain.lines_of(&event);
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

    /// Does what the keys ask for; returns whether they asked for anything.
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

    /// From here on plain lines.
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
