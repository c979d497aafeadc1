//! `multinorm eval`.

use std::path::PathBuf;

use clap::Args;
use multinorm::data::dataset;
use multinorm::data::npy::from_npy;
use multinorm::train::Evaluator;
use multinorm::{Error, Result};

use super::DeviceArgs;
use super::console::out;
use super::data::DataProgress;
use super::largest::check_evaluation;
use super::model::Model;
use super::output::print_json;

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm eval runs/mine                              on the run's held-out text
  multinorm eval runs/mine --data held-out.txt --json
  multinorm eval SmolLM2-135M-Instruct.Q4_1.gguf --data held-out.txt --max-tokens 4096")]
pub struct EvalArgs {
    /// A model, checkpoint or run directory, or a .gguf file
    model: PathBuf,
    /// Text file to evaluate on, all of it [default: the run's validation split]
    #[arg(long, value_name = "FILE", conflicts_with = "tokens")]
    data: Option<PathBuf>,
    /// Token ids to evaluate on: a one-dimensional integer array in NumPy format
    #[arg(long, value_name = "FILE.npy")]
    tokens: Option<PathBuf>,
    /// Tokens per window [default: the run's, else 256, at most the model's number of positions]
    #[arg(long, value_name = "N")]
    sequence_length: Option<usize>,
    /// Windows per batch [default: the run's, which reproduces its loss exactly, else 8]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Evaluate at most this many tokens
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(device: &DeviceArgs, args: &EvalArgs) -> Result<()> {
    let model = Model::load(&args.model)?;
    model.check_finite()?;
    let trained = model.trained_with()?;
    let tokens = match (&args.data, &args.tokens, &trained) {
        (Some(path), _, _) => model.tokens_of(path)?,
        (_, Some(path), _) => from_npy(path)?,
        (None, None, Some(config)) => {
            dataset::load(&config.data, config.model.vocab_size, &mut DataProgress::new())?.validation
        }
        (None, None, None) => {
            return Err(Error::Data("no held-out text here: pass one with `--data` or `--tokens`".into()));
        }
    };
    let positions = model.config.max_position_embeddings;
    let usual = trained.as_ref().map_or(256, |config| config.train.sequence_length);
    let sequence_length =
        args.sequence_length.unwrap_or(usual.min(positions).min(tokens.len().saturating_sub(1)).max(1));
    if sequence_length == 0 || sequence_length > positions {
        return Err(Error::config(
            "sequence-length",
            format!("{sequence_length} is not between 1 and the model's {positions} positions"),
        ));
    }
    // Never more windows at once than the tokens fill.
    let asked = args.batch_size.map(|windows| windows.min((tokens.len() / sequence_length).max(1)));
    let batch_size = asked.or(trained.as_ref().map(|config| config.eval.batch_size)).unwrap_or(8);
    if args.batch_size == Some(0) {
        return Err(Error::config("batch-size", "must be at least 1, got 0"));
    }
    let from_run =
        trained.filter(|_| args.data.is_none() && args.tokens.is_none()).map(|config| config.eval.max_tokens);
    let max_tokens = args.max_tokens.or(from_run).unwrap_or(usize::MAX);
    tokens.check_ids(model.config.vocab_size)?;

    let gpu = device.open()?;
    check_evaluation(&gpu.profile, &model.config, batch_size, sequence_length)?;
    let evaluation = pollster::block_on(async {
        let mut evaluator = Evaluator::new(&gpu, &model.config, &model.weights, batch_size, sequence_length).await?;
        evaluator.evaluate(&gpu, &tokens, max_tokens).await
    })?;
    if args.json {
        return print_json(&evaluation);
    }
    out!("loss          {:.6} nats a token", evaluation.loss);
    out!("perplexity    {:.4}", evaluation.perplexity);
    out!("tokens        {} in windows of {sequence_length}", evaluation.tokens);
    Ok(())
}
