//! `multinorm tokenize`.

use std::path::PathBuf;

use clap::Args;
use multinorm::config::{RunConfig, RunDefaults};
use multinorm::data::dataset::{TokenizedFolder, tokenize};
use multinorm::{Error, Result};
use serde_json::json;
use web_time::Instant;

use super::console::out;
use super::data::DataProgress;
use super::output::{print_json, shell_quoted};

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm tokenize my-texts --out my-tokens
  multinorm tokenize fineweb.parquet --tokenizer tokenizer.json --out fineweb --shard-tokens 100000000
  multinorm train --set data.source=my-tokens --set model.vocab_size=4096")]
pub struct TokenizeArgs {
    /// Text: files or directories of .txt, .md, .jsonl, .json, .csv, .tsv or .parquet, or the name of a corpus
    #[arg(required = true)]
    source: Vec<String>,
    /// The directory to create, for the shards (.bin, in llm.c's format) and their tokenizer
    #[arg(long, value_name = "DIRECTORY")]
    out: PathBuf,
    /// `bpe` (trained on the text), `bytes`, or the path of a tokenizer.json
    #[arg(long, default_value = "bpe", value_name = "NAME_OR_FILE")]
    tokenizer: String,
    /// Vocabulary size, if a tokenizer is trained
    #[arg(long, default_value_t = 4096, value_name = "N")]
    vocab_size: usize,
    /// The field or column that holds the text
    #[arg(long, default_value = "text", value_name = "NAME")]
    text_field: String,
    /// The fraction of the text to hold out for validation, unless the source has validation files
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    validation_fraction: f64,
    /// Maximum number of tokens per shard
    #[arg(long, default_value_t = 100_000_000, value_name = "N")]
    shard_tokens: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(args: &TokenizeArgs) -> Result<()> {
    if args.shard_tokens == 0 {
        return Err(Error::config("--shard-tokens", "must be at least 1, got 0"));
    }
    let mut data = RunConfig::load(None, &[], RunDefaults::Gpu)?.data;
    data.source.clone_from(&args.source);
    data.tokenizer.clone_from(&args.tokenizer);
    data.text_field.clone_from(&args.text_field);
    data.validation_fraction = args.validation_fraction;
    let started = Instant::now();
    let mut progress = DataProgress::new();
    let made = tokenize(&data, args.vocab_size, args.shard_tokens, &args.out, &mut progress)?;
    drop(progress);
    let secs = started.elapsed().as_secs_f64();
    let TokenizedFolder { shards, n_tokens, n_bytes, documents, split, vocab_size } = made;
    if args.json {
        return print_json(&json!({
            "directory": args.out, "documents": documents, "split": split, "vocab_size": vocab_size, "secs": secs,
            "train": { "shards": shards[0], "tokens": n_tokens[0], "text_bytes": n_bytes[0] },
            "validation": { "shards": shards[1], "tokens": n_tokens[1], "text_bytes": n_bytes[1] },
        }));
    }
    let (tokens, bytes) = (n_tokens[0] + n_tokens[1], n_bytes[0] + n_bytes[1]);
    out!("documents          {documents} ({:.1} MB of text)", bytes as f64 / 1e6);
    out!("{:<18} {} in {} files", "training tokens", n_tokens[0], shards[0].len());
    out!("{:<18} {} in {} files; {split}", "validation tokens", n_tokens[1], shards[1].len());
    out!("vocabulary         {vocab_size} entries, {:.2} bytes a token", bytes as f64 / tokens.max(1) as f64);
    out!("time               {secs:.1} s ({:.1} MB of text a second)", bytes as f64 / 1e6 / secs);
    out!("directory          {}", args.out.display());
    let source = shell_quoted(format!("data.source={}", args.out.display()));
    out!("train on it        multinorm train --set {source} --set model.vocab_size={vocab_size}");
    Ok(())
}
