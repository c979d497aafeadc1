//! `multinorm bench`: verifies against the reference, then times.

mod kernels;
mod optimizers;
mod step;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use multinorm::Result;

use super::DeviceArgs;

#[derive(Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
    /// One JSON document
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Matrix products in the three layouts of training
    Kernels,
    /// One update of each optimizer, beside a plain copy of the bytes it moves
    Optimizers {
        /// Which of the catalog, by name
        #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
        optimizers: Vec<String>,
        /// Shapes of the parameter
        #[arg(long = "shape", value_delimiter = ',', default_value = "512x1376,2048x5461", value_name = "MxN,…")]
        shapes: Vec<String>,
    },
    /// One training step on random tokens: the first, the steady ones, and where the time goes
    Step {
        /// Settings; without one the default run
        config: Option<PathBuf>,
        /// One setting: `--set model.preset=60m`; repeatable
        #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
        sets: Vec<String>,
        /// Steps to time after the first
        #[arg(long, default_value_t = 10)]
        steps: usize,
    },
}

pub fn run(device: &DeviceArgs, args: &BenchArgs) -> Result<()> {
    match &args.what {
        What::Kernels => kernels::run(device, args.json),
        What::Optimizers { optimizers, shapes } => optimizers::run(device, args.json, optimizers, shapes),
        What::Step { config, sets, steps } => step::run(device, args.json, config.as_deref(), sets, *steps),
    }
}
