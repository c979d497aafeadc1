//! Your own optimizer: a few lines of WGSL, a function that records them, and the trainer runs it.
#![expect(clippy::disallowed_methods, reason = "a main may block")]

use std::sync::Arc;

use multinorm::config::{RunConfig, RunDefaults};
use multinorm::data::dataset::Dataset;
use multinorm::data::tokenizer::Tokenizer;
use multinorm::data::tokens::Tokens;
use multinorm::gpu::{Gpu, GpuOptions, Kernel, grid};
use multinorm::train::Trainer;

/// signSGD: every weight moves by the same amount.
static SIGN_DESCENT: Kernel = Kernel::new(
    "sign_descent",
    "
        override LEN: u32;
        override LR: f32;
        @group(0) @binding(0) var<storage, read_write> weight:   array<f32>;
        @group(0) @binding(1) var<storage, read>       gradient: array<f32>;
        @group(0) @binding(2) var<uniform>             step:     vec4<f32>;  // x: the schedule's factor
        @compute @workgroup_size(64)
        fn sign_descent(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>) {
            let at = id.y * count.x * 64u + id.x;
            if (at < LEN) { weight[at] -= LR * step.x * sign(gradient[at]); }
        }",
);

#[pollster::main]
async fn main() -> multinorm::Result<()> {
    let gpu = Arc::new(Gpu::open(&GpuOptions::default()).await?);
    let settings = ["model.preset=tiny", "model.vocab_size=256", "train.batch_size=2", "train.sequence_length=64"];
    let sets = settings.iter().chain(&["train.steps=60", "eval.max_tokens=64"]).map(|s| s.to_string());
    let config = RunConfig::load(None, &sets.collect::<Vec<_>>(), RunDefaults::Software)?;
    let tokenizer = Tokenizer::bytes();
    let tokens = Tokens::Owned(tokenizer.encode(include_str!("../STYLE.md"))?);
    let dataset = Dataset::unsplit("STYLE.md", tokens, tokenizer.vocab_size());
    let trainer = Trainer::with_optimizer(gpu, config, Arc::new(dataset), &|rec, update, shared| {
        let len = update.weight.len();
        let constants = [("LEN", len as f64), ("LR", 1e-3)];
        rec.dispatch(&SIGN_DESCENT, &[update.weight, update.gradient, shared.step], &constants, grid(len.div_ceil(64)));
        Ok(Vec::new()) // nothing is carried from step to step
    });
    let mut trainer = trainer.await?;
    for _ in 0..trainer.config().train.steps {
        for report in trainer.step().await?.iter().filter(|report| report.step % 10 == 0) {
            println!("step {:>3}  loss {:.4}", report.step, report.loss);
        }
    }
    Ok(())
}
