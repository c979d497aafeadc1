//! The lab: its page as a folder for any static host, its desktop window, and its browser tests.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::setup;
use crate::shell::{self, Result};

const TARGET: &str = "wasm32-unknown-unknown";

/// `cargo xtask web [--serve [PORT]]`.
pub fn page(args: &[String]) -> Result<()> {
    if args.len() > 2 || args.first().is_some_and(|first| first != "--serve") {
        return Err(format!("unknown arguments `{}`: expected `--serve` or `--serve PORT`", args.join(" ")));
    }
    let wasm = wasm()?;
    let pack = &mut cargo(&["run", "--release", "--quiet", "--package", "lab-page", "--"]);
    shell::run_inheriting(pack.arg(wasm).arg(shell::root()).arg(dist()).args(args))
}

/// `cargo xtask lab [LINK]`: the desktop window.
pub fn window(args: &[String]) -> Result<()> {
    shell::run_inheriting(cargo(&["run", "--release", "--quiet", "--package", "multinorm-lab", "--"]).args(args))
}

/// Runs clippy on the code that only the page uses.
pub fn lint() -> Result<()> {
    setup::add_target(TARGET)?;
    let lint = &mut cargo(&["clippy", "--release", "--package", "multinorm-lab", "--lib", "--target", TARGET]);
    eprintln!("xtask: {}", shell::words(lint));
    let done = shell::run_inheriting(lint.args(["--", "-D", "warnings"]));
    done.map_err(|error| format!("FAILED: {error}: warnings are errors here"))
}

/// The tests in a real Chromium and on a virtual screen; builds what they need.
pub fn test() -> Result<()> {
    let mut node = Command::new("node");
    // One after the other: the adapter is too slow for several at once.
    node.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]);
    run_in_browser(node, "lab.test.mjs").map_err(|error| format!("FAILED: {error}: the failed tests are named above"))
}

/// Frame times, sizes and the time to the first step, on this machine's software adapter.
pub fn bench() -> Result<()> {
    run_in_browser(Command::new("node"), "lab.bench.mjs")
}

/// The pictures of docs/lab, from a run on this machine's software adapter.
pub fn pictures() -> Result<()> {
    let folder = shell::root().join("docs/lab");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut node = Command::new("node");
    node.env("MULTINORM_PICTURES", folder);
    run_in_browser(node, "lab.pictures.mjs")
}

fn run_in_browser(mut node: Command, file: &str) -> Result<()> {
    let modules = setup::for_browser_tests()?;
    page(&[])?;
    let programs = ["--quiet", "--bin", "multinorm", "--bin", "multinorm-lab"];
    shell::run(cargo(&["build"]).args(setup::workspace()).args(programs))?;
    // Node.js looks for packages next to the importing file.
    for entry in fs::read_dir(shell::root().join("web/tests")).map_err(|error| format!("web/tests: {error}"))? {
        let path = entry.map_err(|error| format!("web/tests: {error}"))?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|ending| ending == "mjs")) {
            fs::copy(&path, modules.join(name)).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    let built = target_folder()?.join("release");
    node.arg(modules.join(file)).env("MULTINORM_DIST", dist());
    node.env("MULTINORM_PROGRAM", built.join("multinorm")).env("MULTINORM_LAB", built.join("multinorm-lab"));
    eprintln!("xtask: {}", shell::words(&node));
    shell::run_inheriting(&mut node)
}

/// The lab's wasm, built for size.
fn wasm() -> Result<PathBuf> {
    setup::add_target(TARGET)?;
    let build = ["build", "--profile", "page", "--package", "multinorm-lab", "--lib", "--target", TARGET];
    shell::run(&mut cargo(&build))?;
    Ok(target_folder()?.join(TARGET).join("page/multinorm_lab.wasm"))
}

fn dist() -> PathBuf {
    shell::root().join("web/dist")
}

fn cargo(args: &[&str]) -> Command {
    let mut cargo = shell::cargo();
    cargo.args(args).current_dir(shell::root());
    cargo
}

/// The target directory, as reported by cargo.
fn target_folder() -> Result<PathBuf> {
    let mut metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    metadata.stderr(Stdio::inherit());
    let json = shell::output_of(&mut metadata).ok_or("cargo metadata failed")?;
    let path = json.split_once("\"target_directory\":\"").and_then(|(_, rest)| rest.split_once('"'));
    path.map(|(path, _)| PathBuf::from(path.replace("\\\\", "\\")))
        .ok_or_else(|| "cargo metadata names no target".into())
}
