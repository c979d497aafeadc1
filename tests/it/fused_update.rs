//! Updates inside the backward pass: the same bits as after it, and the memory of the largest gradient alone.

use std::sync::Arc;

use multinorm::config::{RunConfig, RunDefaults};
use multinorm::data::dataset::Dataset;
use multinorm::data::tokens::Tokens;
use multinorm::gpu::Class;
use multinorm::train::{Snapshot, Trainer};
use pollster::block_on;

use crate::support::{FORMS, shared_gpu};

const STEPS: u64 = 4;

fn trainer(form: multinorm::gpu::Form, fused: bool, optimizer: &str, tied: bool) -> Trainer {
    let mut sets = vec![
        "model.preset=tiny".to_owned(),
        "model.vocab_size=300".into(),
        "model.hidden_size=32".into(),
        "model.intermediate_size=44".into(),
        "model.num_hidden_layers=3".into(),
        format!("model.tie_word_embeddings={tied}"),
        format!("optimizer.name={optimizer}"),
        format!("train.fused_update={fused}"),
        format!("train.steps={STEPS}"),
        "train.batch_size=2".into(),
        "train.sequence_length=9".into(),
        "eval.max_tokens=9".into(),
    ];
    if ["apollo", "apollo-mini", "fira", "galore"].contains(&optimizer) {
        // Another subspace in the third step.
        sets.push("optimizer.update_interval=2".into());
    }
    let config = RunConfig::load(None, &sets, RunDefaults::Software).unwrap();
    let tokens = Tokens::Owned((0..400u32).map(|i| i * i % 300).collect());
    let dataset = Arc::new(Dataset::unsplit("squares", tokens, 300));
    block_on(Trainer::new(shared_gpu(form), config, dataset)).unwrap()
}

/// Losses and gradient norms of every step, and what is left at the end.
fn run(trainer: &mut Trainer) -> (Vec<(f64, f64)>, Snapshot) {
    let mut reports = Vec::new();
    for _ in 0..STEPS {
        reports.extend(block_on(trainer.step()).unwrap());
    }
    reports.extend(block_on(trainer.drain()).unwrap());
    (reports.iter().map(|r| (r.loss, r.grad_norm)).collect(), block_on(trainer.snapshot()).unwrap())
}

#[test]
fn the_same_bits_as_a_separate_update() {
    for (form, tied) in FORMS.into_iter().zip([true, false]) {
        let rivals = [
            "adafactor",
            "adam-nonzero",
            "apollo",
            "apollo-mini",
            "extrapolated-sgd",
            "fira",
            "galore",
            "h-fac",
            "racs",
        ];
        for optimizer in ["sinkgd", "swan", "signsgd", "sgd", "adamw", "muon"].into_iter().chain(rivals) {
            let [separate, fused] = [false, true].map(|fused| run(&mut trainer(form, fused, optimizer, tied)));
            assert_eq!(separate.0, fused.0, "{form:?} {optimizer}: loss and gradient norm");
            assert!(separate.0.first() != separate.0.last(), "{form:?} {optimizer}: it trains");
            for (index, (a, b)) in separate.1.parameters.iter().zip(&fused.1.parameters).enumerate() {
                assert_eq!(a, b, "{form:?} {optimizer}: parameter {index}");
            }
            assert_eq!(separate.1.states, fused.1.states, "{form:?} {optimizer}: state, in the same order");
        }
    }
}

#[test]
fn gradients_take_the_memory_of_the_largest() {
    let form = FORMS[0];
    let bytes = |fused, class| trainer(form, fused, "sinkgd", false).memory().bytes(class);
    let largest = 300 * 32 * 4; // embedding or head
    let all = bytes(false, Class::Parameters);
    assert_eq!(bytes(false, Class::Gradients), all);
    let fused = bytes(true, Class::Gradients);
    // Beside it the one that becomes whole before the larger one is updated: a norm's.
    assert!((largest..largest + largest / 8).contains(&fused), "{fused} bytes, the largest gradient has {largest}");
    assert_eq!(bytes(true, Class::OptimizerState), bytes(false, Class::OptimizerState));
}

#[test]
fn a_gradient_that_overflows_halts_the_run_before_its_update() {
    for fused in [false, true] {
        let mut trainer = trainer(FORMS[0], fused, "sgd", false);
        let mut weights = block_on(trainer.snapshot()).unwrap().parameters;
        let head = weights.len() - 1;
        // The head's input is nothing, so that the loss is ln V; its gradient is of the head's size, and its square is
        // beyond f32.
        weights[head - 1].fill(0.0);
        weights[head].iter_mut().enumerate().for_each(|(at, w)| *w = if at / 32 % 2 == 0 { 1e37 } else { -1e37 });
        trainer.set_weights(&weights);
        let mut result = block_on(trainer.step());
        if result.is_ok() {
            result = block_on(trainer.drain());
        }
        let message = result.unwrap_err().to_string();
        let place = "step 1: the loss is 5.7038, but the gradient of model.norm.weight is not finite";
        assert!(message.contains(place), "fused {fused}: {message}");
        let after = block_on(trainer.snapshot()).unwrap().parameters;
        assert_eq!(after[..head], weights[..head], "fused {fused}: what comes after it in the backward pass");
    }
}

#[test]
fn a_gradient_that_is_gone_is_not_read() {
    let message = block_on(trainer(FORMS[0], true, "sgd", true).gradient("model.norm.weight")).unwrap_err().to_string();
    assert!(message.contains("train.fused_update: no gradient outlives its update"), "{message}");
}
