//! Builds `multinorm`, makes sure that there is an adapter, and replaces itself with it.

use std::process::{Command, Stdio};

use crate::setup;
use crate::shell::{self, Result};

/// `multinorm COMMAND ARGS…` in the user's current directory; returns only on failure if the system has `exec`.
pub fn run(command: &str, args: &[String]) -> Result<()> {
    shell::run(&mut cargo("build", &[]))?;
    let only_asks = args.iter().any(|arg| arg == "--help" || arg == "-h");
    if !only_asks {
        provide_adapter(adapters()?)?;
    }
    become_program(cargo("run", &["--quiet"]).arg("--").arg(command).args(args))
}

fn cargo(subcommand: &str, options: &[&str]) -> Command {
    let mut cargo = shell::cargo();
    cargo.args([subcommand, "--release", "--package", "multinorm", "--bin", "multinorm"]).args(options);
    cargo.arg("--manifest-path").arg(shell::root().join("Cargo.toml"));
    cargo
}

/// The adapters that `multinorm devices` finds.
#[derive(Debug, PartialEq, Clone, Copy)]
enum Adapters {
    None,
    /// Only a software adapter through OpenGL, which Mesa installs with any desktop.
    SoftwareOpenGl,
    Some,
}

fn provide_adapter(found: Adapters) -> Result<()> {
    match found {
        Adapters::Some => Ok(()),
        Adapters::None => {
            eprintln!("xtask: no GPU adapter found; a software Vulkan driver is needed");
            setup::vulkan()
        }
        Adapters::SoftwareOpenGl => {
            eprintln!(
                "xtask: the only adapter is a software adapter through OpenGL; Vulkan adds subgroups and half precision"
            );
            setup::vulkan().unwrap_or_else(|error| eprintln!("xtask: continuing with OpenGL: {error}"));
            Ok(())
        }
    }
}

/// Asks `multinorm devices --json`: exit status 1 and an empty list both mean that there is no adapter.
fn adapters() -> Result<Adapters> {
    let mut devices = cargo("run", &["--quiet"]);
    devices.args(["--", "devices", "--json"]).stdin(Stdio::null());
    let output = devices.output().map_err(|error| shell::cannot_start(&devices, &error))?;
    match output.status.code() {
        Some(0) => Ok(adapters_of(&String::from_utf8_lossy(&output.stdout))),
        Some(1) => Ok(Adapters::None),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("`multinorm devices --json` failed ({})\n{said}", output.status))
        }
    }
}

fn adapters_of(json: &str) -> Adapters {
    let values = |key: &str| -> Vec<String> {
        let name = format!("\"{key}\":");
        let after_key = json.split(&name).skip(1);
        after_key.filter_map(|rest| rest.split('"').nth(1).map(str::to_owned)).collect()
    };
    let (backends, kinds) = (values("backend"), values("device_type"));
    if backends.is_empty() {
        Adapters::None
    } else if backends.iter().all(|backend| backend == "gl") && kinds.iter().all(|kind| kind == "software") {
        Adapters::SoftwareOpenGl
    } else {
        Adapters::Some
    }
}

/// With `exec`, so that Ctrl-C reaches the program itself, which then finishes its step and saves.
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
    fn a_software_adapter_through_opengl_alone_wants_a_vulkan_driver() {
        let adapter =
            |backend: &str, kind: &str| format!(r#"{{"name": "a", "backend": "{backend}", "device_type": "{kind}"}}"#);
        let check = |adapters: &[String], expected| {
            assert_eq!(adapters_of(&format!("[{}]", adapters.join(", "))), expected, "{adapters:?}");
        };
        check(&[], Adapters::None);
        check(&[adapter("gl", "software")], Adapters::SoftwareOpenGl);
        check(&[adapter("gl", "discrete")], Adapters::Some);
        check(&[adapter("vulkan", "software"), adapter("gl", "software")], Adapters::Some);
        check(&[adapter("metal", "integrated")], Adapters::Some);
        assert_eq!(adapters_of("[\n]\n"), Adapters::None);
    }
}
