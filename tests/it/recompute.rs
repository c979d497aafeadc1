//! Recomputation in the backward pass: results are always bit-identical, and more recomputation takes less memory.

use multinorm::config::{Recompute, RunConfig};
use multinorm::gpu::{Class, Profile};
use multinorm::train::{Recorded, Snapshot, Trainer, record_training, record_training_recomputing};
use pollster::block_on;

use crate::support::{
    FORMS, Form, everything, shared_gpu, small_run, small_tokens, small_trainer, train_steps, web_profile,
};

const STEPS: u64 = 3;

/// A small model of four heads that share two keys.
fn config(sets: &[&str]) -> RunConfig {
    small_run(&[&["train.steps=3", "train.batch_size=6", "eval.max_tokens=99"], sets].concat()).unwrap()
}

fn trainer(form: Form, sets: &[&str], recompute: &str) -> Trainer {
    let recompute = format!("train.recompute={recompute}");
    small_trainer(shared_gpu(form), config(&[sets, &[&recompute]].concat()), small_tokens())
}

/// Losses and gradient norms of this many steps.
fn steps(trainer: &mut Trainer, n: u64) -> Vec<(f64, f64)> {
    train_steps(trainer, n).iter().map(|report| (report.loss, report.grad_norm)).collect()
}

fn assert_same(what: &str, a: &Snapshot, b: &Snapshot) {
    for (index, (a, b)) in a.parameters.iter().zip(&b.parameters).enumerate() {
        assert!(a == b, "{what}: parameter {index}");
    }
    assert!(a.states == b.states, "{what}: optimizer state");
}

#[test]
fn every_kind_gives_the_same_bits() {
    let runs: [(Form, &[&str]); 4] = [
        (FORMS[0], &["train.micro_batch_size=2", "model.tie_word_embeddings=true"]),
        (FORMS[1], &["train.micro_batch_size=3", "model.tie_word_embeddings=false", "train.max_grad_norm=1"]),
        (FORMS[0], &["train.micro_batch_size=6", "model.tie_word_embeddings=false", "train.fused_update=true"]),
        (FORMS[1], &["train.micro_batch_size=6", "model.tie_word_embeddings=true", "train.fused_update=true"]),
    ];
    // A rate at which reading a weight after its update would show.
    let optimizers = [["optimizer.name=sgd", "optimizer.lr=0.5"], ["optimizer.name=adamw", "optimizer.lr=0.01"]];
    for (form, sets) in runs {
        for optimizer in &optimizers {
            let sets = [sets, optimizer].concat();
            let [none, attention, layer] = Recompute::ALL.map(|kind| {
                let mut trainer = trainer(form, &sets, kind.name());
                assert_eq!(trainer.recompute(), kind);
                (steps(&mut trainer, STEPS), block_on(trainer.snapshot()).unwrap())
            });
            assert!(none.0[0].0 != none.0[2].0, "{sets:?}: it trains");
            for (name, other) in [("attention", attention), ("layer", layer)] {
                let what = format!("{form:?} {sets:?}, {name} computed again");
                assert_eq!(none.0, other.0, "{what}: losses and gradient norms");
                assert_same(&what, &none.1, &other.1);
            }
        }
    }
}

#[test]
fn a_run_goes_on_with_another_kind_to_the_same_bits() {
    let sets = ["optimizer.name=adamw", "train.micro_batch_size=3"];
    let mut whole = trainer(FORMS[1], &sets, "auto");
    assert_eq!(whole.recompute(), Recompute::None, "it has memory");
    let losses = steps(&mut whole, STEPS);
    let mut begun = trainer(FORMS[1], &sets, "layer");
    assert_eq!(steps(&mut begun, 1), losses[..1]);
    let mut resumed = trainer(FORMS[1], &sets, "attention");
    resumed.restore(&block_on(begun.snapshot()).unwrap()).unwrap();
    assert_eq!(steps(&mut resumed, STEPS - 1), losses[1..]);
    let [a, b] = [&whole, &resumed].map(|trainer| block_on(trainer.snapshot()).unwrap());
    assert_same("resumed", &a, &b);
    let [a, b] = [&mut whole, &mut resumed].map(|trainer| block_on(trainer.evaluate()).unwrap().loss);
    assert_eq!(a, b);
}

fn record(config: &RunConfig, profile: &Profile, recompute: Recompute) -> Recorded {
    let recorded = record_training_recomputing(config, profile, recompute).unwrap();
    assert_eq!(recorded.recompute, recompute);
    recorded
}

#[test]
fn activations_of_a_layer_are_what_is_kept_of_it() {
    // Tensors of N tokens kept per layer: the residual stream C twice; q, k, v and the attention output; the
    // log-sum-exp; gate and up.
    let (n, c, attention, feed_forward) = (6 * 64, 64, 64 + 32 + 32 + 64 + 4, 2 * 176);
    let bytes = |layers: usize, fused: bool, profile: &Profile, kind| {
        let sets = [
            "train.micro_batch_size=6",
            "train.sequence_length=64",
            "eval.batch_size=6",
            "model.hidden_size=64",
            "model.intermediate_size=176",
            &format!("model.num_hidden_layers={layers}"),
            &format!("train.fused_update={fused}"),
        ];
        record(&config(&sets), profile, kind).recorder.memory().bytes(Class::Activations) as usize
    };
    for profile in [web_profile(Form::Software), web_profile(Form::Gpu), everything()] {
        for fused in [false, true] {
            let [none, some, all] = Recompute::ALL.map(|kind| {
                let [few, many] = [4, 12].map(|layers| bytes(layers, fused, &profile, kind));
                (many, (many - few) as f64 / (4 * n * 8) as f64)
            });
            assert!(none.0 > some.0 && some.0 > all.0, "{} {} {} bytes in all", none.0, some.0, all.0);
            // The numbers per token that each additional layer adds.
            assert_eq!(none.1, (2 * c + attention + feed_forward) as f64, "none, fused: {fused}");
            assert_eq!(some.1, (2 * c + feed_forward) as f64, "attention, fused: {fused}");
            assert_eq!(all.1, c as f64, "layer, fused: {fused}");
        }
    }
}

#[test]
fn what_nobody_reads_is_not_computed_again() {
    for fused in [false, true] {
        let config = config(&["train.micro_batch_size=6", &format!("train.fused_update={fused}")]);
        let [none, attention, layer] = Recompute::ALL.map(|kind| {
            let recorded = record(&config, &web_profile(Form::Gpu), kind);
            let counts = |what: &str| {
                let dispatches = recorded.recorder.dispatches("first micro-batch");
                dispatches.iter().filter(|(kernel, _)| kernel.contains(what)).count()
            };
            // The evaluation has the same dispatches.
            assert!(recorded.recorder.n_dispatches("evaluate") > 0);
            ["matmul", "rms_norm", "rope", "attention", "swiglu"].map(counts)
        });
        let more = |kind: [usize; 5]| std::array::from_fn::<_, 5, _>(|at| kind[at] - none[at]);
        // For each of the three layers: q, k and v, the norm before them, RoPE and attention itself; then o, gate and
        // up, and the norm in between. The norm before a block is computed once more for the gradients of its readers.
        assert_eq!(more(attention), [3, 1, 1, 1, 0].map(|n| 3 * n));
        assert_eq!(more(layer), [3 + 3, 2, 1, 1, 0].map(|n| 3 * n));
    }
}

#[test]
fn limits_of_buffers_and_bindings_are_the_same_for_every_kind() {
    // So these limits cannot affect `auto`: no tensor gets smaller, there are just fewer at a time.
    let sets = ["train.micro_batch_size=6", "model.vocab_size=4096", "model.tie_word_embeddings=false"];
    let (config, default) = (config(&sets), Profile::webgpu_default());
    let largest = 64 * 4096 * 4; // a chunk of logits
    let mut verdicts = Vec::new();
    for (max_buffer_bytes, max_binding_bytes) in [
        (default.max_buffer_bytes, default.max_binding_bytes),
        (largest, largest),
        (largest, largest - 4),
        (largest - 4, largest),
        (1 << 12, 1 << 12),
    ] {
        let profile = Profile { max_buffer_bytes, max_binding_bytes, ..default.clone() };
        let [none, attention, layer] = Recompute::ALL
            .map(|kind| record(&config, &profile, kind).recorder.check_limits().map_err(|error| error.to_string()));
        assert_eq!((&none, &none), (&attention, &layer), "{max_buffer_bytes}, {max_binding_bytes}");
        let auto = record_training(&config, &profile).unwrap();
        assert_eq!(auto.recompute, Recompute::None);
        assert_eq!(auto.recorder.memory(), record(&config, &profile, Recompute::None).recorder.memory());
        verdicts.push(none.is_ok());
    }
    assert_eq!(verdicts, [true, true, false, false, false]);
}

#[test]
fn a_method_without_a_backward_pass_computes_nothing_again() {
    let [none, layer] = ["none", "layer"].map(|kind| {
        let config = config(&["optimizer.name=mezo", &format!("train.recompute={kind}")]);
        let recorded = record_training(&config, &web_profile(Form::Gpu)).unwrap();
        assert_eq!(recorded.recompute, Recompute::None);
        recorded.recorder.memory()
    });
    assert_eq!(none, layer);
}
