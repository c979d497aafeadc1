//! Progress of reading and tokenizing data, on standard error.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use multinorm::data::progress::Progress;
use web_time::Instant;

use super::console::{is_quiet, note};

/// Seconds between two lines where there is no terminal for a progress bar.
const LINE_SECS: u64 = 10;

/// On a terminal, a progress bar while text is read and tokenized; elsewhere, a line from time to time.
pub struct DataProgress {
    terminal: bool,
    /// The current action and its progress bar.
    bar: Option<(String, ProgressBar)>,
    last_line: Instant,
}

impl DataProgress {
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() && !is_quiet(), bar: None, last_line: Instant::now() }
    }

    fn bar(&mut self, action: &str, total: Option<u64>) -> &ProgressBar {
        if self.bar.as_ref().is_none_or(|(shown, _)| shown != action) {
            self.clear();
            let (bar, style) = match total {
                Some(total) => (
                    ProgressBar::new(total),
                    "{msg} [{bar:30}] {bytes} of {total_bytes} · {bytes_per_sec} · {eta} left",
                ),
                None => (ProgressBar::no_length(), "{msg} {bytes} · {bytes_per_sec}"),
            };
            let style = ProgressStyle::with_template(&format!("data       {style}")).expect("our own template");
            bar.set_style(style.progress_chars("=> "));
            self.bar = Some((action.to_owned(), bar.with_message(action.to_owned())));
        }
        &self.bar.as_ref().expect("it was just made").1
    }

    fn clear(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for DataProgress {
    fn line(&mut self, line: &str) {
        self.clear();
        note!("data       {line}");
    }

    fn bytes(&mut self, action: &str, done: u64, total: Option<u64>) {
        if self.terminal {
            self.bar(action, total).set_position(done);
        } else if self.last_line.elapsed().as_secs() >= LINE_SECS {
            self.last_line = Instant::now();
            let total = total.map(|total| format!(" of {:.0}", total as f64 / 1e6)).unwrap_or_default();
            note!("data       {action}: {:.0}{total} MB", done as f64 / 1e6);
        }
    }
}

impl Drop for DataProgress {
    fn drop(&mut self) {
        self.clear();
    }
}
