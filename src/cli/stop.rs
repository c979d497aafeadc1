//! Signals that end a run: Ctrl-C, and those that Docker, Slurm, `kill` and a dropped connection send.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::console::note;

/// Set when the run should finish its step, save and end.
static STOP: AtomicBool = AtomicBool::new(false);
/// Whether there is a run that can do so.
static RUNS: AtomicBool = AtomicBool::new(false);

/// Called before a signal ends the program immediately.
static BEFORE_EXIT: Mutex<Option<fn()>> = Mutex::new(None);

/// Registers an action to call before a signal ends the program immediately.
pub fn before_exit(action: fn()) {
    *BEFORE_EXIT.lock().unwrap_or_else(PoisonError::into_inner) = Some(action);
}

/// Installs the handlers. Until [`finish_step`] is called, any of the signals ends the program immediately.
pub fn handle_signals() {
    if let Err(error) = platform::install() {
        note!("Ctrl-C and SIGTERM will end the run without saving: {error}");
    }
}

/// From here on the first signal sets the returned flag, and a second Ctrl-C ends the program.
pub fn finish_step() -> &'static AtomicBool {
    RUNS.store(true, Ordering::SeqCst);
    &STOP
}

/// Handles a signal; `status` is the exit status that a shell reports for a program killed by it.
fn received(is_interrupt: bool, status: i32) {
    if !RUNS.load(Ordering::SeqCst) {
        note!("\nstopped before the first step: nothing to save");
        exit(status);
    }
    if !STOP.swap(true, Ordering::SeqCst) {
        note!("\nstopping: finishing the step and saving (Ctrl-C again to abort without saving)");
    } else if is_interrupt {
        // A shell sends SIGHUP twice, and whoever sends SIGTERM twice can send SIGKILL.
        exit(status);
    }
}

/// Handles Ctrl-C received as a key press.
pub fn interrupt() {
    received(true, 130);
}

/// Ends the program.
fn exit(status: i32) -> ! {
    let before = *BEFORE_EXIT.lock().unwrap_or_else(PoisonError::into_inner);
    before.into_iter().for_each(|action| action());
    platform::exit(status)
}

#[cfg(unix)]
mod platform {
    use std::io;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    use super::received;

    pub fn install() -> io::Result<()> {
        // `nohup` ignores SIGHUP, and a script ignores SIGINT for its background jobs: respect that.
        let heeded: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal)).collect();
        let mut signals = Signals::new(heeded)?;
        std::thread::spawn(move || {
            for signal in signals.forever() {
                received(signal == SIGINT, 128 + signal);
            }
        });
        Ok(())
    }

    /// Ends the process without C's exit handlers: they would tear down a driver under the threads that use it.
    pub fn exit(status: i32) -> ! {
        signal_hook::low_level::exit(status)
    }

    #[expect(unsafe_code, reason = "asking for a signal's action has no safe form")]
    fn is_ignored(signal: i32) -> bool {
        // SAFETY: a null new action changes nothing, and on success the old action is fully written.
        unsafe {
            let mut action = std::mem::zeroed::<libc::sigaction>();
            libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use super::received;

    pub fn install() -> Result<(), ctrlc::Error> {
        ctrlc::set_handler(|| received(true, 130))
    }

    pub fn exit(status: i32) -> ! {
        std::process::exit(status)
    }
}
