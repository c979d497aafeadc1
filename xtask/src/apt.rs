//! Installs missing Debian and Ubuntu packages, and only those.

use std::io::{IsTerminal, stdin};
use std::process::Command;

use crate::shell::{self, Result};

/// Installs the missing ones of `packages`; takes some milliseconds if there are none.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("xtask: installing {} with apt-get", missing.join(" "));
    if !can_become_root() {
        return Err(format!("this needs root, and sudo is missing or asks for a password. {}", by_hand(&missing)));
    }
    // The package lists of a fresh container are empty. Updating takes seconds and is not always wanted.
    let lists_know_them = shell::succeeds(Command::new("apt-get").args(["install", "--simulate"]).args(&missing));
    if !lists_know_them {
        shell::run(&mut apt_get(&["update"], &[])).map_err(|error| format!("{error}. {}", by_hand(&missing)))?;
    }
    let install = || shell::run(&mut apt_get(&INSTALL, &missing));
    let installed = match install() {
        // The lists can be present but outdated: the archive then no longer has the version they name.
        Err(_) if lists_know_them => shell::run(&mut apt_get(&["update"], &[])).and_then(|()| install()),
        first => first,
    };
    installed.map_err(|error| format!("{error}. {}", by_hand(&missing)))
}

const INSTALL: [&str; 3] = ["install", "--yes", "--no-install-recommends"];

fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    packages.iter().copied().filter(|package| !is_installed(package)).collect()
}

fn is_installed(package: &str) -> bool {
    let status =
        shell::output_of(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]));
    status.is_some_and(|status| status == "installed")
}

fn apt_get(words: &[&str], packages: &[&str]) -> Command {
    let mut command = if is_root() {
        Command::new("env")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("env");
        sudo
    };
    // Another apt, such as a nightly upgrade, may hold the lock: wait for it.
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]);
    command.args(words).args(packages);
    command
}

fn can_become_root() -> bool {
    let sudo = |args: &[&str]| shell::succeeds(Command::new("sudo").args(args));
    // On a terminal sudo may ask for the password; otherwise it must not need one.
    is_root() || if stdin().is_terminal() { sudo(&["--version"]) } else { sudo(&["--non-interactive", "true"]) }
}

fn is_root() -> bool {
    shell::output_of(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
}

fn by_hand(packages: &[&str]) -> String {
    format!(
        "Run this as root, then try again:\n\n  apt-get update && apt-get {} {}\n",
        INSTALL.join(" "),
        packages.join(" ")
    )
}
