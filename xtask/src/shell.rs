//! Runs other programs: their output on standard error, a failure as one sentence.

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub type Result<T> = std::result::Result<T, String>;

/// The repository: the parent of the folder where cargo found this package.
pub fn root() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(xtask).parent().expect("xtask/ lies in the repository").to_owned()
}

/// The cargo that started this program, so that the toolchain stays the same.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs to completion; output goes to standard error.
pub fn run(command: &mut Command) -> Result<()> {
    command.stdout(io::stderr());
    run_inheriting(command)
}

/// Runs to completion with this program's own standard output.
pub fn run_inheriting(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", words(command))) }
}

/// Whether it starts and succeeds; shows nothing.
pub fn succeeds(command: &mut Command) -> bool {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// Its standard output, or `None` if it does not start or fails.
pub fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

pub fn cannot_start(command: &Command, error: &io::Error) -> String {
    format!("cannot start `{}`: {error}", words(command))
}

/// The command as one would type it; cargo by its name, not by its toolchain's path.
pub fn words(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = if program.ends_with("cargo") { "cargo".into() } else { program.to_string_lossy().into_owned() };
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(name).chain(args).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command() {
        let message = run(Command::new("cargo").arg("no-such-command").stderr(Stdio::null())).unwrap_err();
        assert!(message.starts_with("`cargo no-such-command` failed ("), "{message}");
        let message = run(&mut Command::new("no-such-program")).unwrap_err();
        assert!(message.starts_with("cannot start `no-such-program`: "), "{message}");
    }

    #[test]
    fn the_root_holds_this_package() {
        assert!(root().join("xtask/src/shell.rs").is_file());
    }
}
