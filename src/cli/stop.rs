//! Signals that end a run: Ctrl-C, and what Docker, Slurm, `kill` and a dropped connection send.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::console::note;

/// Set once the run shall finish its step, save and end.
static STOP: AtomicBool = AtomicBool::new(false);
/// Whether there is a run that can do so.
static RUNS: AtomicBool = AtomicBool::new(false);

/// What is done before a signal ends the program at once.
static BEFORE_EXIT: Mutex<Option<fn()>> = Mutex::new(None);

/// From here on `action` is taken before a signal ends the program at once.
pub fn before_exit(action: fn()) {
    *BEFORE_EXIT.lock().unwrap_or_else(PoisonError::into_inner) = Some(action);
}

/// Installs the handlers. Until [`finish_step`] is called any of the signals ends the program at once.
pub fn handle_signals() {
    if let Err(error) = platform::install() {
        note!("Ctrl-C and SIGTERM will end the run without saving: {error}");
    }
}

/// From here on the first signal sets the flag that is returned, and a second Ctrl-C ends the program.
pub fn finish_step() -> &'static AtomicBool {
    RUNS.store(true, Ordering::SeqCst);
    &STOP
}

/// What a signal does; `status` is the exit status that a shell gives to a program that it ended.
fn received(is_interrupt: bool, status: i32) {
    if !RUNS.load(Ordering::SeqCst) {
        note!("\nstopped before the first step: there is nothing to save");
        exit(status);
    }
    if !STOP.swap(true, Ordering::SeqCst) {
        note!("\nstopping: finishing the step and saving (Ctrl-C again to abort without saving)");
    } else if is_interrupt {
        // A shell sends SIGHUP twice, and who sends SIGTERM twice can send SIGKILL.
        exit(status);
    }
}

/// What Ctrl-C does, where it came as a key.
pub fn interrupt() {
    received(true, 130);
}

/// Ends the program.
fn exit(status: i32) -> ! {
    let before = *BEFORE_EXIT.lock().unwrap_or_else(PoisonError::into_inner);
    before.into_iter().for_each(|action| action());
    std::process::exit(status)
}

#[cfg(unix)]
mod platform {
    use std::io;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    use super::received;

    pub fn install() -> io::Result<()> {
        // `nohup` has SIGHUP ignored, and a script SIGINT for what it starts in the background: they mean it.
        let heeded: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal)).collect();
        let mut signals = Signals::new(heeded)?;
        std::thread::spawn(move || {
            for signal in signals.forever() {
                received(signal == SIGINT, 128 + signal);
            }
        });
        Ok(())
    }

    #[expect(unsafe_code, reason = "asking for a signal's action has no safe form")]
    fn is_ignored(signal: i32) -> bool {
        // SAFETY: nothing is changed where the new action is null, and the old one is written whole where the call succeeds.
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
}
