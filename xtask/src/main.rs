//! `cargo xtask …`: set-up, training, tests.
//!
//! Talks on standard error only, so that `cargo xtask train --json` still prints one JSON document.

mod apt;
mod program;
mod setup;
mod shell;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  train [ARGS…]     install a Vulkan driver if no GPU adapter is found, build, run `multinorm train ARGS…`
  bench [ARGS…]     the same for `multinorm bench ARGS…`
  test  [FILTER…]   install what the tests need, then check formatting, lints and documentation, and run every test
  setup             only install what the tests need
  help  [COMMAND]   this text, or more about one command

Everything is built with the release profile, so train, bench and test share their build.";

const TRAIN_HELP: &str = "\
cargo xtask train [ARGS…]
cargo xtask bench [ARGS…]

Builds the release program and becomes `multinorm train ARGS…` (or bench): its output, exit status and Ctrl-C are its own.
Where `multinorm devices` finds no adapter, a software Vulkan driver is installed first (Debian, Ubuntu: by apt-get).
The options of the program itself: cargo xtask train --help";

const TEST_HELP: &str = "\
cargo xtask test [FILTER…]

Runs, and stops at the first that fails:
  cargo fmt --all --check
  cargo clippy, warnings are errors
  cargo doc, warnings are errors
  cargo test --workspace
With FILTER words only the last one, as `cargo test --workspace -- FILTER…`.

The tests compare with PyTorch through MULTINORM_ORACLE_PYTHON, a Python that imports torch and transformers.
Unless it is set, .multinorm/oracle-venv is made and used.";

const SETUP_HELP: &str = "\
cargo xtask setup

Installs what is missing, and nothing when nothing is:
  a software Vulkan driver and spirv-tools   (Debian, Ubuntu: by apt-get, with sudo when not root)
  PyTorch                                    (Debian, Ubuntu: python3-torch)
  .multinorm/oracle-venv                     (tests/oracle/requirements.txt, by pip)";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (command, args) = match words.split_first() {
        Some((command, args)) => (command.as_str(), args),
        None => ("help", &[][..]),
    };
    let wants_help = args.iter().any(|arg| arg == "--help" || arg == "-h");
    let done = match command {
        "train" | "bench" => program::run(command, args),
        "test" if wants_help => help("test"),
        "test" => test::run(args),
        "setup" if wants_help => help("setup"),
        "setup" if args.is_empty() => setup::for_tests().map(|_| ()),
        "help" | "--help" | "-h" => help(args.first().map_or("", String::as_str)),
        _ => {
            eprintln!("xtask: unknown words `{}`\n\n{HELP}", words.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn help(topic: &str) -> shell::Result<()> {
    println!(
        "{}",
        match topic {
            "train" | "bench" => TRAIN_HELP,
            "test" => TEST_HELP,
            "setup" => SETUP_HELP,
            _ => HELP,
        }
    );
    Ok(())
}
