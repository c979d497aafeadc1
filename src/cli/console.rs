//! Output: results on standard output, everything else on standard error. Unlike with `println!`, neither a full disk
//! nor a closed pipe ends the program.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `println!`, whose first failure is reported when the program ends.
macro_rules! out {
    () => { $crate::cli::console::write_out(format_args!("\n")) };
    ($($words:tt)*) => { $crate::cli::console::write_out(format_args!("{}\n", format_args!($($words)*))) };
}

/// `eprintln!` that ignores failures.
macro_rules! note {
    ($($words:tt)*) => { $crate::cli::console::write_note(format_args!("{}\n", format_args!($($words)*))) };
}

pub(super) use {note, out};

static FAILURE: Mutex<Option<std::io::Error>> = Mutex::new(None);

/// This process among those of a run; only the first prints, and the others their errors.
static RANK: AtomicUsize = AtomicUsize::new(0);
static QUIET: AtomicBool = AtomicBool::new(false);

/// Prints nothing from here on unless `rank` is 0.
#[cfg(feature = "mpi")]
pub fn set_rank(rank: usize) {
    RANK.store(rank, Ordering::Relaxed);
    QUIET.store(rank > 0, Ordering::Relaxed);
}

/// Whether another rank prints.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Begins an error message, which every rank prints: the program's name, and its rank.
pub fn begin_error() -> String {
    QUIET.store(false, Ordering::Relaxed);
    match RANK.load(Ordering::Relaxed) {
        0 => "multinorm".into(),
        rank => format!("multinorm (rank {rank})"),
    }
}

pub fn write_out(text: Arguments<'_>) {
    if is_quiet() {
        return;
    }
    let mut failure = failure();
    if failure.is_none() {
        let mut stdout = stdout().lock();
        *failure = stdout.write_fmt(text).and_then(|()| stdout.flush()).err();
    }
}

/// Receives notes instead of standard error.
pub type NoteSink = Box<dyn Fn(&str) -> std::io::Result<()> + Send>;

static SINK: Mutex<Option<NoteSink>> = Mutex::new(None);

pub fn write_note(text: Arguments<'_>) {
    if is_quiet() {
        return;
    }
    let sink = SINK.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = sink.as_ref().is_some_and(|sink| sink(&text.to_string()).is_ok());
    drop(sink);
    if !taken {
        let _ = stderr().lock().write_fmt(text);
    }
}

/// Writes a line to standard error, even if notes are redirected.
pub fn write_note_directly(line: &str) {
    let _ = writeln!(stderr().lock(), "{line}");
}

/// Redirects notes to `sink`, or back to standard error.
pub fn redirect_notes(sink: Option<NoteSink>) {
    *SINK.lock().unwrap_or_else(PoisonError::into_inner) = sink;
}

/// Writes the library's warnings as notes.
pub struct NoteWriter;

impl Write for NoteWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        write_note(format_args!("{}", String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether standard output accepts no more: further writing is pointless.
pub fn is_closed() -> bool {
    failure().is_some()
}

/// The exit status. Failing to write the results is a failure of the command, unless the reader has closed the pipe
/// (`multinorm inspect … | head`).
pub fn exit_code(code: ExitCode) -> ExitCode {
    let failure = failure();
    match failure.as_ref() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            write_note(format_args!("multinorm: cannot write to standard output: {error}\n"));
            ExitCode::FAILURE
        }
        _ => code,
    }
}

fn failure() -> MutexGuard<'static, Option<std::io::Error>> {
    FAILURE.lock().unwrap_or_else(PoisonError::into_inner)
}
