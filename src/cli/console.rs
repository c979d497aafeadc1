//! What the program writes: results on standard output, all else on standard error; neither ends the program, as
//! `println!` would where the disk is full or nobody reads any more.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `println!`, whose first failure is told at the program's end.
macro_rules! out {
    () => { $crate::cli::console::write_out(format_args!("\n")) };
    ($($words:tt)*) => { $crate::cli::console::write_out(format_args!("{}\n", format_args!($($words)*))) };
}

/// `eprintln!`, whose failures there is nobody to tell.
macro_rules! note {
    ($($words:tt)*) => { $crate::cli::console::write_note(format_args!("{}\n", format_args!($($words)*))) };
}

pub(super) use {note, out};

static FAILURE: Mutex<Option<std::io::Error>> = Mutex::new(None);

pub fn write_out(text: Arguments<'_>) {
    let mut failure = failure();
    if failure.is_none() {
        let mut stdout = stdout().lock();
        *failure = stdout.write_fmt(text).and_then(|()| stdout.flush()).err();
    }
}

pub fn write_note(text: Arguments<'_>) {
    let _ = stderr().lock().write_fmt(text);
}

/// Whether standard output takes no more: writing on would be in vain.
pub fn is_closed() -> bool {
    failure().is_some()
}

/// The exit status: a failure to write what a command found is one of the command, but for a reader who has seen enough
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
