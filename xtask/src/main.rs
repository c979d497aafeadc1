//! `cargo xtask …`: set-up, training, tests.
//!
//! Writes only to standard error, so that `cargo xtask train --json` still prints one JSON document.

mod apt;
mod fuzz;
mod mutants;
mod program;
mod setup;
mod shell;
mod test;
mod web;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  train [ARGS…]     install a Vulkan driver if no GPU adapter is found, build, run `multinorm train ARGS…`
  bench [ARGS…]     the same for `multinorm bench ARGS…`; `bench lab` times the lab's page in a headless Chromium
  lab   [LINK]      open the lab in a desktop window
  web   [--serve]   build the lab's page into web/dist, and serve it at http://127.0.0.1:8080
  pictures          take the pictures of docs/lab again
  test  [FILTER…]   install what the tests need, then check formatting, lints and documentation, and run every test
  mutants [N [SEED]]  inject N faults into the shaders, one at a time, and check whether the tests find them
  fuzz [N [TARGET…]]  read N malformed files of every kind, and check that nothing panics or hangs
  setup             only install what the tests need
  help  [COMMAND]   print this text, or more about one command

Everything is built with the release profile, so train, bench and test share their build.";

const TRAIN_HELP: &str = "\
cargo xtask train [ARGS…]
cargo xtask bench [ARGS…]

Builds the release program and replaces itself with `multinorm train ARGS…` (or bench).
If `multinorm devices` finds no adapter, or only a software adapter through OpenGL, installs a software Vulkan driver
first (Debian, Ubuntu: by apt-get).
Options of the program itself: cargo xtask train --help";

const LAB_HELP: &str = "\
cargo xtask lab [LINK] [RUN | FILE]

Builds the lab and opens it in a window. LINK has settings as in the page's address, RUN is a run directory of
`multinorm train`, FILE is a text to train on or a .safetensors file to inspect:
  cargo xtask lab 'panel=why&optimizer=sinkgd,adam&seed=3'
  cargo xtask lab runs/mine";

const WEB_HELP: &str = "\
cargo xtask web [--serve [PORT]]

Builds the lab's page into web/dist, which any static host can serve under any path: wasm for size, the glue of the
wasm-bindgen that Cargo.lock names, the beginning of a novel, and some pictures.
With --serve, serves it at http://127.0.0.1:8080, or at another PORT, until Ctrl-C; 0 picks a free port.
Adds the wasm32-unknown-unknown target with rustup if it is missing.";

const TEST_HELP: &str = "\
cargo xtask test [FILTER…]

Runs these, and stops at the first that fails:
  cargo fmt --all --check
  cargo clippy, warnings are errors
  cargo doc, warnings are errors
  cargo check for macOS and Windows
  cargo test --workspace, with the feature mpi where there is an MPI library
  the lab's page in a headless Chromium, and its window on a virtual screen (node --test web/tests)
Ends with the time that each part took.
With FILTER, runs only `cargo test --workspace -- FILTER…`; with the single word `lab`, only the last one.

The tests compare with PyTorch through MULTINORM_ORACLE_PYTHON, a Python that imports torch and transformers.
If it is not set, creates and uses .multinorm/oracle-venv.";

const SETUP_HELP: &str = "\
cargo xtask setup

Installs what is missing, and nothing when nothing is:
  a software Vulkan driver and spirv-tools   (Debian, Ubuntu: by apt-get, with sudo when not root)
  PyTorch                                    (Debian, Ubuntu: python3-torch)
  Open MPI, libclang and iproute2            (Debian, Ubuntu: libopenmpi-dev, openmpi-bin, libclang-dev, iproute2)
  .multinorm/oracle-venv                     (tests/oracle/requirements.txt, by pip)
  .multinorm/dxc                             (Microsoft's shader compiler, by pip; Linux on x86-64)
  Chromium, Node.js and a virtual screen     (Debian, Ubuntu: chromium, nodejs, npm, xvfb)
  .multinorm/browser                         (web/tests/package.json, by npm)";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (command, args) = match words.split_first() {
        Some((command, args)) => (command.as_str(), args),
        None => ("help", &[][..]),
    };
    let wants_help = args.iter().any(|arg| arg == "--help" || arg == "-h");
    let done = match command {
        "bench" if args == ["lab"] => web::bench(),
        "train" | "bench" => program::run(command, args),
        "lab" if wants_help => help("lab"),
        "lab" => web::window(args),
        "web" if wants_help => help("web"),
        "web" => web::page(args),
        "pictures" if args.is_empty() => web::pictures(),
        "test" if wants_help => help("test"),
        "test" => test::run(args),
        "mutants" if !wants_help => mutants::run(args),
        "fuzz" if !wants_help => fuzz::run(args),
        "setup" if wants_help => help("setup"),
        "setup" if args.is_empty() => setup::for_tests().and_then(|_| setup::for_browser_tests()).map(|_| ()),
        "help" | "--help" | "-h" => help(args.first().map_or("", String::as_str)),
        _ => {
            eprintln!("xtask: unknown arguments `{}`\n\n{HELP}", words.join(" "));
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
            "lab" => LAB_HELP,
            "web" => WEB_HELP,
            "test" => TEST_HELP,
            "setup" => SETUP_HELP,
            _ => HELP,
        }
    );
    Ok(())
}
