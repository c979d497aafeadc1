//! The command line: parses, prints, blocks.
#![expect(clippy::disallowed_methods, reason = "the command line is where the program blocks")]

mod bench;
mod compare;
mod console;
mod data;
mod devices;
mod dry_run;
mod eval;
mod fit;
mod generate;
mod inspect;
mod kernels;
mod largest;
mod memory;
mod model;
mod normalize;
mod output;
mod planned;
mod prune;
mod ranks;
mod shell;
mod speed;
mod stop;
mod tokenize;
mod train;
mod view;
mod watch;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use multinorm::gpu::{AdapterChoice, BackendName, Gpu, GpuOptions};
use multinorm::{Error, Result};

use console::note;

#[derive(Parser)]
#[command(name = "multinorm", version, about = "Trains small LLaMA models on any GPU with stateless optimizers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Subcommand)]
enum Command {
    /// List the adapters, their limits and the kernel variants they would use
    Devices(devices::DevicesArgs),
    /// Train a model, or resume a run
    Train(train::TrainArgs),
    /// Show a running or finished run in the terminal
    Watch(watch::WatchArgs),
    /// Measure the loss and perplexity of a model on held-out text or tokens
    Eval(eval::EvalArgs),
    /// Generate text with a model
    Generate(generate::GenerateArgs),
    /// Tokenize text into shards, for data that is larger than memory or used in many runs
    Tokenize(tokenize::TokenizeArgs),
    /// Remove groups of heads and channels that a model can do without, learned from forward passes alone
    Prune(prune::PruneArgs),
    /// Normalize one matrix with a list of passes and report what each pass did
    Normalize(normalize::NormalizeArgs),
    /// Show the contents of a run or model directory
    Inspect(inspect::InspectArgs),
    /// Compare optimizers, each at its best learning rate, and write a report
    Compare(compare::CompareArgs),
    /// Verify results against a reference, then time kernels, optimizers and training steps
    Bench(bench::BenchArgs),
    /// List the kernels and their adapter requirements, or show one kernel and its translations
    Kernels(kernels::KernelsArgs),
    /// Print a shell completion script
    Completions(shell::CompletionsArgs),
    /// Print the manual page, or write one page per command
    Man(shell::ManArgs),
}

/// The device to compute on.
#[derive(Args)]
struct DeviceArgs {
    /// Adapter, by index or by part of its name (see `multinorm devices`)
    #[arg(long, global = true, value_name = "NAME_OR_INDEX", env = "MULTINORM_ADAPTER")]
    adapter: Option<String>,
    /// Use only adapters of this backend
    #[arg(long, global = true, value_enum)]
    backend: Option<BackendArg>,
}

#[derive(Clone, Copy, ValueEnum)]
enum BackendArg {
    Vulkan,
    Metal,
    Dx12,
    Gl,
}

impl DeviceArgs {
    fn choice(&self) -> AdapterChoice {
        let backend = self.backend.map(|backend| match backend {
            BackendArg::Vulkan => BackendName::Vulkan,
            BackendArg::Metal => BackendName::Metal,
            BackendArg::Dx12 => BackendName::Dx12,
            BackendArg::Gl => BackendName::Gl,
        });
        AdapterChoice { adapter: self.adapter.clone().filter(|name| !name.is_empty()), backend }
    }

    fn open(&self) -> Result<Gpu> {
        Self::open_chosen(self.choice())
    }

    fn open_chosen(choice: AdapterChoice) -> Result<Gpu> {
        pollster::block_on(Gpu::open(&GpuOptions { choice, ..Default::default() }))
    }
}

/// Mesa's Vulkan device-select layer asks the desktop which device to use, and prints to standard error when there is
/// no desktop. Disables it: the program chooses the device itself.
fn silence_device_layer() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        #[expect(unsafe_code, reason = "the layer is asked to stay out by a variable alone")]
        // SAFETY: the program has only one thread yet.
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1");
        }
    }
}

/// Runs the program. Exit status: 0 on success, 1 if the command failed, 2 for invalid arguments or settings.
pub fn main() -> ExitCode {
    silence_device_layer();
    let quiet = "warn,wgpu_hal=error,wgpu_core=error,naga=error";
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(quiet))
        .format_timestamp(None)
        .target(env_logger::Target::Pipe(Box::new(console::NoteWriter)))
        .init();
    let cli = Cli::parse(); // exits with 2 on invalid arguments
    if std::env::var_os("MULTINORM_CHECK_ARGUMENTS").is_some() {
        return ExitCode::SUCCESS; // for the test that checks the commands in the documentation
    }
    let device = &cli.device;
    let result = match &cli.command {
        Command::Devices(args) => devices::run(device, args),
        Command::Train(args) => train::run(device, args),
        Command::Watch(args) => watch::run(args),
        Command::Eval(args) => eval::run(device, args),
        Command::Generate(args) => generate::run(device, args),
        Command::Tokenize(args) => tokenize::run(args),
        Command::Prune(args) => prune::run(device, args),
        Command::Normalize(args) => normalize::run(device, args),
        Command::Inspect(args) => inspect::run(args),
        Command::Compare(args) => compare::run(device, args),
        Command::Bench(args) => bench::run(device, args),
        Command::Kernels(args) => kernels::run(device, args),
        Command::Completions(args) => shell::completions(Cli::command(), args),
        Command::Man(args) => shell::man(Cli::command(), args),
    };
    console::exit_code(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note!("{}: {error}", console::begin_error());
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                if !error.to_string().contains(&cause.to_string()) {
                    note!("  because: {cause}");
                }
                source = cause.source();
            }
            ExitCode::from(if matches!(error, Error::Config { .. }) { 2 } else { 1 })
        }
    })
}
