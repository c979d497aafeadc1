//! Every check of the repository, cheapest first.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::setup;
use crate::shell::{self, Result};
use crate::web;

pub fn run(filter: &[String]) -> Result<()> {
    if filter == ["lab"] {
        return web::test();
    }
    let mut parts = Parts::default();
    let done = run_parts(filter, &mut parts);
    parts.print();
    done
}

fn run_parts(filter: &[String], parts: &mut Parts) -> Result<()> {
    let oracle_python = parts.time("install what the tests need", setup::for_tests)?;
    let workspace = setup::workspace();
    if filter.is_empty() {
        parts.time("formatting", || check(cargo("fmt").args(["--all", "--check"]), "run `cargo fmt --all`"))?;
        parts.time("lints", || {
            let deny_warnings = ["--all-targets", "--", "-D", "warnings"];
            check(cargo("clippy").args(&workspace).args(deny_warnings), "warnings are errors here")?;
            web::lint()
        })?;
        parts.time("other systems", check_other_systems)?;
        parts.time("documentation", || {
            let doc = &mut cargo("doc");
            check(doc.args(&workspace).arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"), "warnings are errors here")
        })?;
    }
    let tests = |arguments: &[&str], hint: &str| {
        let test = &mut cargo("test");
        test.args(&workspace).args(arguments).env(setup::ORACLE_VARIABLE, &oracle_python);
        if !filter.is_empty() {
            test.arg("--").args(filter);
        }
        check(test, hint)
    };
    parts.time("build the tests", || tests(&["--no-run"], "the tests do not compile"))?;
    // The integration tests come last: their failures are what a user would see, and appear at the end.
    let failed = "the failed tests are named above";
    parts.time("unit tests", || tests(&["--lib", "--bins", "--examples"], failed))?;
    parts.time("examples in the documentation", || tests(&["--doc"], failed))?;
    parts.time("integration tests", || tests(&["--test", "it"], failed))?;
    if filter.is_empty() { parts.time("the lab's page and window", web::test) } else { Ok(()) }
}

/// The parts of a test run with the time that each took.
#[derive(Default)]
struct Parts(Vec<(&'static str, Duration)>);

impl Parts {
    /// Announces a part, runs it, and notes its time even if it fails.
    fn time<T>(&mut self, name: &'static str, part: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("xtask: ===== {name}");
        let began = Instant::now();
        let done = part();
        self.0.push((name, began.elapsed()));
        done
    }

    fn print(&self) {
        eprintln!("xtask: ===== minutes:seconds");
        let total = ("all", self.0.iter().map(|(_, time)| *time).sum::<Duration>());
        for (name, time) in self.0.iter().chain([&total]) {
            let seconds = time.as_secs();
            eprintln!("xtask: {:>4}:{:02}  {name}", seconds / 60, seconds % 60);
        }
    }
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
