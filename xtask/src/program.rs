//! Builds `multinorm`, sees to it that there is an adapter, and becomes it.

use std::process::{Command, Stdio};

use crate::setup;
use crate::shell::{self, Result};

/// `multinorm COMMAND ARGS…` in the folder where the user stands; returns only on failure where the system has `exec`.
pub fn run(command: &str, args: &[String]) -> Result<()> {
    shell::run(&mut cargo("build", &[]))?;
    let only_asks = args.iter().any(|arg| arg == "--help" || arg == "-h");
    if !only_asks && !has_adapter()? {
        eprintln!("xtask: no GPU adapter found, a software Vulkan driver is needed");
        setup::vulkan()?;
    }
    become_program(cargo("run", &["--quiet"]).arg("--").arg(command).args(args))
}

fn cargo(subcommand: &str, options: &[&str]) -> Command {
    let mut cargo = shell::cargo();
    cargo.args([subcommand, "--release", "--package", "multinorm", "--bin", "multinorm"]).args(options);
    cargo.arg("--manifest-path").arg(shell::root().join("Cargo.toml"));
    cargo
}

/// Asks `multinorm devices --json`: exit status 1 and an empty list both mean that there is none.
fn has_adapter() -> Result<bool> {
    let mut devices = cargo("run", &["--quiet"]);
    devices.args(["--", "devices", "--json"]).stdin(Stdio::null());
    let output = devices.output().map_err(|error| shell::cannot_start(&devices, &error))?;
    match output.status.code() {
        Some(0) => Ok(!is_empty_list(&output.stdout)),
        Some(1) => Ok(false),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("`multinorm devices --json` failed ({})\n{said}", output.status))
        }
    }
}

fn is_empty_list(json: &[u8]) -> bool {
    let mut characters = json.iter().filter(|byte| !byte.is_ascii_whitespace());
    [characters.next(), characters.next(), characters.next()] == [Some(&b'['), Some(&b']'), None]
}

/// By `exec`, so that Ctrl-C reaches the program itself, which then finishes its step and saves.
#[cfg(unix)]
fn become_program(command: &mut Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(shell::cannot_start(command, &error))
}

#[cfg(not(unix))]
fn become_program(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|error| shell::cannot_start(command, &error))?;
    std::process::exit(status.code().unwrap_or(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_is_no_adapter() {
        assert!(is_empty_list(b"[]\n"));
        assert!(is_empty_list(b"[\n]\n"));
        assert!(!is_empty_list(b"[{\"index\": 0}]"));
        assert!(!is_empty_list(b""));
    }
}
