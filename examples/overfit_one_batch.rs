//! Trains a tiny LLaMA on one sentence until it has memorized it: the quickest check that learning works.
#![expect(clippy::disallowed_methods, reason = "a main may block")]

use std::sync::Arc;

use multinorm::config::{RunConfig, RunDefaults};
use multinorm::data::dataset::Dataset;
use multinorm::data::tokenizer::Tokenizer;
use multinorm::data::tokens::Tokens;
use multinorm::gpu::{Gpu, GpuOptions};
use multinorm::train::Trainer;

const SETTINGS: [&str; 11] = [
    "model.preset=tiny",
    "model.vocab_size=256",
    "model.hidden_size=64",
    "model.intermediate_size=128",
    "model.num_hidden_layers=2",
    "train.sequence_length=32",
    "train.batch_size=1",
    "train.steps=60",
    "optimizer.lr=0.02",
    "optimizer.rest.lr=0.01",
    "eval.max_tokens=32",
];

#[pollster::main]
async fn main() -> multinorm::Result<()> {
    let gpu = Arc::new(Gpu::open(&GpuOptions::default()).await?);
    let config = RunConfig::load(None, &SETTINGS.map(String::from), RunDefaults::Software)?;
    let tokenizer = Tokenizer::bytes();
    let tokens = Tokens::Owned(tokenizer.encode("Rows first, columns last, five times over, and it is normal.")?);
    let dataset = Dataset::unsplit("one sentence", tokens, tokenizer.vocab_size());
    let mut trainer = Trainer::new(gpu, config, Arc::new(dataset)).await?;
    let mut reports = Vec::new();
    while trainer.step_number() < trainer.config().train.steps {
        reports.extend(trainer.step().await?);
    }
    reports.extend(trainer.drain().await?);
    for report in reports.iter().step_by(10).chain(reports.last()) {
        println!("step {:>3}  loss {:.4}", report.step, report.loss);
    }
    Ok(())
}
