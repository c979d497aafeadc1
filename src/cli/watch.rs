//! `multinorm watch`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use multinorm::files::lock_holder;
use multinorm::gpu::bytes_in_words;
use multinorm::train::{PastRun, find_run};
use multinorm::{Error, Result};
use serde_json::json;
use web_time::{Instant, SystemTime};

use super::console::{is_closed, out};
use super::output::{print_json, shell_quoted};
use super::view::{KeyAction, Look, Phase, RunView, Screen, is_possible, key_action, text_line};

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm watch runs/0001                 loss, speed and newest text, live
  multinorm watch runs/0001 --json | jq .step")]
pub struct WatchArgs {
    /// The run directory
    run: PathBuf,
    /// Print plain lines instead of the full-screen view
    #[arg(long)]
    plain: bool,
    /// Print the current state as one JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// How often the run directory is polled.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often keys are polled.
const TICK: Duration = Duration::from_millis(50);

pub fn run(args: &WatchArgs) -> Result<()> {
    let (folder, _) = find_run(&args.run)?;
    let mut watched = Watched::read(folder)?;
    if args.json {
        return print_json(&watched.as_json());
    }
    if !args.plain && is_possible() {
        watched.on_screen().map_err(Error::io("draw on", "the terminal"))?
    } else {
        watched.as_lines()
    }
}

/// A run directory as last read.
struct Watched {
    folder: PathBuf,
    run: PastRun,
    /// Modification time of metrics.jsonl when the directory was read.
    modified: Option<SystemTime>,
    read: Instant,
    /// How long reading took.
    took: Duration,
    /// The process that is training the run, if any.
    holder: Option<String>,
}

impl Watched {
    fn read(folder: PathBuf) -> Result<Self> {
        let began = Instant::now();
        let modified = modified(&folder);
        let run = PastRun::read(&folder)?;
        let holder = lock_holder(&folder);
        Ok(Self { folder, run, modified, read: Instant::now(), took: began.elapsed(), holder })
    }

    /// Re-reads what has changed. Returns whether anything has.
    fn refresh(&mut self) -> Result<bool> {
        // The metrics of a long run take a moment to read: spend at most a tenth of the time on that.
        if self.read.elapsed() < LOOK_EVERY.max(10 * self.took) {
            return Ok(false);
        }
        let before = self.holder.is_some();
        if modified(&self.folder) != self.modified {
            *self = Self::read(self.folder.clone())?;
            return Ok(true);
        }
        self.read = Instant::now();
        self.holder = lock_holder(&self.folder);
        Ok(before != self.holder.is_some())
    }

    fn view(&self) -> RunView {
        let PastRun { config, history, session, texts, .. } = &self.run;
        let adapter = session.as_ref().map(|session| session.adapter.clone()).unwrap_or_default();
        let mut view = RunView::new(self.folder.display().to_string(), adapter, config);
        view.take_history(history);
        view.phase = if self.holder.is_some() { Phase::Training } else { Phase::Ended };
        view.memory = session.as_ref().map(|session| session.device_bytes);
        view.baseline = session.as_ref().map(|session| session.baseline_bigram_loss);
        view.text = texts.last().map(|text| (text.step, text.text.clone()));
        match &self.holder {
            Some(holder) => view.push_line(&format!("trained by {holder}")),
            None if view.step() < view.n_steps => view.push_line(&self.how_to_resume()),
            None => {}
        }
        view
    }

    fn how_to_resume(&self) -> String {
        format!("resume with: multinorm train --resume {}", shell_quoted(self.folder.display()))
    }

    fn on_screen(&mut self) -> std::io::Result<Result<()>> {
        let mut screen = Screen::enter()?;
        let mut look = Look { watching: true, ..Look::default() };
        let mut view = self.view();
        screen.draw(&view, look)?;
        let mut drawn = Instant::now();
        loop {
            std::thread::sleep(TICK);
            let mut is_due = drawn.elapsed() >= LOOK_EVERY; // the terminal may have been resized
            match key_action()? {
                Some(KeyAction::Leave) => return Ok(Ok(())),
                Some(KeyAction::Zoom) => (look.zoomed, is_due) = (!look.zoomed, true),
                Some(KeyAction::PlainLines) | None => {}
            }
            match self.refresh() {
                Ok(true) => (view, is_due) = (self.view(), true),
                Ok(false) => {}
                Err(error) => return Ok(Err(error)),
            }
            if is_due {
                screen.draw(&view, look)?;
                drawn = Instant::now();
            }
        }
    }

    /// Prints the current state, then anything new until no process is training the run.
    fn as_lines(&mut self) -> Result<()> {
        let PastRun { session, .. } = &self.run;
        out!("run           {}", self.folder.display());
        if let Some(session) = session {
            out!("adapter       {} ({})", session.adapter, session.driver);
            out!("device memory {}", bytes_in_words(session.device_bytes));
            out!("bigram table  {:.4} nats a token on the validation tokens", session.baseline_bigram_loss);
        }
        let (mut n_evaluations, mut n_texts, mut last_step) = (0, 0, 0);
        loop {
            let PastRun { history, texts, config, .. } = &self.run;
            for (step, _, loss) in history.evaluations.iter().skip(n_evaluations) {
                out!("step {step}: validation loss {loss:.4}, perplexity {:.2}", loss.exp());
            }
            // Of the texts written so far, print only the newest.
            if let Some(text) = texts.iter().skip(n_texts).next_back() {
                out!("{}", text_line(text.step, &text.text));
            }
            (n_evaluations, n_texts) = (history.evaluations.len(), texts.len());
            if let Some((report, _)) = history.steps.last().filter(|(report, _)| report.step != last_step) {
                let view = self.view();
                let speed = view.tokens_per_sec.map(|speed| format!(" · {speed:.0} tokens/s")).unwrap_or_default();
                out!("step {}/{} · loss {:.4}{speed}", report.step, config.train.steps, report.loss);
                last_step = report.step;
            }
            match &self.holder {
                None if last_step < config.train.steps => {
                    out!("not running; {}", self.how_to_resume());
                    return Ok(());
                }
                None => return Ok(()),
                Some(_) if is_closed() => return Ok(()),
                Some(_) => {}
            }
            let until = Instant::now() + 5 * LOOK_EVERY;
            while Instant::now() < until && self.holder.is_some() {
                std::thread::sleep(LOOK_EVERY);
                self.refresh()?;
            }
        }
    }

    fn as_json(&self) -> serde_json::Value {
        let PastRun { config, history, session, texts, .. } = &self.run;
        let view = self.view();
        json!({
            "run": self.folder,
            "running": self.holder.is_some(),
            "optimizer": config.optimizer.linear.rule.describe(),
            "step": view.step(),
            "steps": config.train.steps,
            "last": history.steps.last().map(|(report, _)| report),
            "evaluations": history.evaluations.iter()
                .map(|(step, secs, loss)| json!({ "step": step, "secs": secs, "eval_loss": loss }))
                .collect::<Vec<_>>(),
            "tokens_per_sec": view.tokens_per_sec,
            "session": session,
            "text": texts.last(),
        })
    }
}

fn modified(folder: &std::path::Path) -> Option<SystemTime> {
    std::fs::metadata(folder.join("metrics.jsonl")).and_then(|metadata| metadata.modified()).ok()
}
