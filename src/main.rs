//! `multinorm`: trains small LLaMA models on any GPU.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
