//! Every check of the repository, cheapest first.

use std::process::Command;

use crate::setup;
use crate::shell::{self, Result};
use crate::web;

/// One profile for all: proc-macros and build scripts are built only once, and `train` finds the program already built.
const WORKSPACE: [&str; 2] = ["--workspace", "--release"];

pub fn run(filter: &[String]) -> Result<()> {
    if filter == ["lab"] {
        return web::test();
    }
    let oracle_python = setup::for_tests()?;
    if filter.is_empty() {
        check(cargo("fmt").args(["--all", "--check"]), "run `cargo fmt --all`")?;
        let deny_warnings = ["--all-targets", "--", "-D", "warnings"];
        check(cargo("clippy").args(WORKSPACE).args(deny_warnings), "warnings are errors here")?;
        crate::web::lint()?;
        check_other_systems()?;
        let doc = &mut cargo("doc");
        check(doc.args(WORKSPACE).arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"), "warnings are errors here")?;
    }
    // The integration tests come last: their failures are what a user would see, and appear at the end.
    for targets in [&["--lib", "--bins", "--examples"][..], &["--doc"], &["--test", "it"]] {
        let test = &mut cargo("test");
        test.args(WORKSPACE).args(targets).env(setup::ORACLE_VARIABLE, &oracle_python);
        if !filter.is_empty() {
            test.arg("--").args(filter);
        }
        check(test, "the failed tests are named above")?;
    }
    if filter.is_empty() { web::test() } else { Ok(()) }
}

/// Systems on which the tests do not run.
const OTHER_SYSTEMS: [&str; 2] = ["aarch64-apple-darwin", "x86_64-pc-windows-gnu"];

/// The program and the window compile for other systems: without Parquet, whose C code would want their compilers.
fn check_other_systems() -> Result<()> {
    let mut other = cargo("check");
    other.args(["--release", "--package", "multinorm", "--package", "multinorm-lab"]);
    other.args(["--no-default-features", "--features", "multinorm/cli"]);
    for system in OTHER_SYSTEMS {
        setup::add_target(system)?;
        other.args(["--target", system]);
    }
    check(&mut other, "another system's code does not compile")
}

fn cargo(subcommand: &str) -> Command {
    let mut cargo = shell::cargo();
    cargo.arg(subcommand).current_dir(shell::root());
    cargo
}

fn check(command: &mut Command, hint: &str) -> Result<()> {
    eprintln!("xtask: {}", shell::words(command));
    shell::run_inheriting(command).map_err(|error| format!("FAILED: {error}: {hint}"))
}
