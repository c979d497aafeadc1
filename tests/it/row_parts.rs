//! Matrices that do not fit in one binding are split by rows into several tensors: they train, resume and generate as
//! if they were whole.

use std::sync::Arc;

use multinorm::config::{RunConfig, RunDefaults};
use multinorm::gpu::{Gpu, Profile};
use multinorm::train::{Search, SearchSpace, Snapshot, StepReport, Trainer, record_training};
use pollster::block_on;

use crate::support::{
    FORMS, Form, assert_close, everything, own_gpu, small_run, small_tokens, small_trainer, train_steps, widen,
};

const STEPS: u64 = 3;

/// After a few steps; the worst seen is 6.1e-6.
const F32: f64 = 3e-5;
/// The worst seen is 7.8e-3.
const F16: f64 = 2e-2;

/// A model, and an adapter's maximum binding size, which splits its matrices.
struct Sizes {
    sets: &'static [&'static str],
    binding_bytes: u64,
    /// The number of parts of embedding, q, k, o, gate, down and head.
    parts: [usize; 7],
}

/// Embedding and head `[300, 128]` in parts of 128, 128 and 44 rows.
const EDGES: Sizes = Sizes {
    sets: &["model.hidden_size=128", "model.intermediate_size=88"],
    binding_bytes: 76 << 10,
    parts: [3, 1, 1, 1, 1, 1, 3],
};

/// The same, and linear layers too: gate and up in parts of 128 and 24 rows, q, o and down in parts of 128 and 128.
const ALL: Sizes = Sizes {
    sets: &["model.hidden_size=256", "model.intermediate_size=152"],
    binding_bytes: 140 << 10,
    parts: [3, 2, 1, 2, 2, 2, 3],
};

fn config(sizes: &Sizes, sets: &[&str]) -> RunConfig {
    let base = ["model.num_hidden_layers=2", "train.batch_size=4", "train.micro_batch_size=2", "eval.text_tokens=3"];
    small_run(&[&base[..], sizes.sets, sets].concat()).unwrap()
}

fn small_bindings(form: Form, sizes: &Sizes) -> Arc<Gpu> {
    let mut gpu = own_gpu(form);
    gpu.profile.max_binding_bytes = sizes.binding_bytes;
    Arc::new(gpu)
}

fn whole(form: Form, sizes: &Sizes, sets: &[&str]) -> Trainer {
    small_trainer(Arc::new(own_gpu(form)), config(sizes, sets), small_tokens())
}

fn split(form: Form, sizes: &Sizes, sets: &[&str]) -> Trainer {
    small_trainer(small_bindings(form, sizes), config(sizes, sets), small_tokens())
}

/// The logits after these tokens.
fn logits(trainer: &mut Trainer, ids: &[u32]) -> Vec<f32> {
    block_on(trainer.logits_after(ids)).unwrap()
}

/// The names of all of a run's parameters.
fn names(trainer: &Trainer) -> Vec<String> {
    trainer.config().model.parameters().into_iter().map(|spec| spec.name).collect()
}

/// Checks that weights and states are bit-identical.
fn same(a: &Snapshot, b: &Snapshot) -> bool {
    a.parameters == b.parameters && a.states == b.states
}

fn numbers(reports: &[StepReport]) -> Vec<(f64, f64)> {
    reports.iter().map(|report| (report.loss, report.grad_norm)).collect()
}

/// Checks weights and states to within `tolerance`, relative to each element's own size and to the tensor's root mean
/// square: among squared gradients, a few are far larger than the rest.
fn assert_snapshots_close(what: &str, got: &Snapshot, want: &Snapshot, names: &[String], tolerance: f64) {
    for ((name, got), want) in names.iter().zip(&got.parameters).zip(&want.parameters) {
        assert_near(format!("{what}: {name}"), got, want, tolerance);
    }
    assert_eq!(got.states.len(), want.states.len(), "{what}");
    for ((name, shape, got), (other, other_shape, want)) in got.states.iter().zip(&want.states) {
        assert_eq!((name, shape), (other, other_shape), "{what}");
        assert_near(format!("{what}: {name}"), got, want, tolerance);
    }
}

#[track_caller]
fn assert_near(what: String, got: &[f32], want: &[f32], tolerance: f64) {
    let want = widen(want);
    let rms = (want.iter().map(|x| x * x).sum::<f64>() / want.len() as f64).sqrt();
    let off = got.iter().zip(&want).map(|(&got, want)| (f64::from(got) - want).abs() / (want.abs() + rms));
    let worst = off.fold(0.0, f64::max);
    println!("{worst:.1e} of {tolerance:.0e}: {what}");
    assert!(got.len() == want.len() && worst <= tolerance, "{what}: off by {worst:.1e}");
}

#[test]
fn models_are_split_as_these_tests_want() {
    for sizes in [EDGES, ALL] {
        for (tied, form) in [true, false].into_iter().zip(FORMS) {
            let profile = Profile {
                software: form == Form::Software,
                max_binding_bytes: sizes.binding_bytes,
                ..Profile::webgpu_default()
            };
            let config = config(&sizes, &[&format!("model.tie_word_embeddings={tied}"), "optimizer.name=adamw"]);
            let recorded = record_training(&config, &profile).unwrap();
            recorded.recorder.check_limits().unwrap();
            let parts: Vec<usize> = recorded.llama.by_name().map(<[_]>::len).collect();
            let [embedding, q, k, o, gate, down, head] = sizes.parts;
            let layer = [1, q, k, k, o, 1, gate, gate, down];
            let head = if tied { vec![] } else { vec![head] };
            assert_eq!(parts, [&[embedding][..], &layer, &layer, &[1], &head].concat());
        }
    }
}

/// Splitting a matrix only changes the order of sums over its rows: in the gradient of its input, and in the norm of
/// all gradients. In half precision the former is rounded after each part.
#[test]
fn parts_train_as_the_whole() {
    let cases: [(Form, Sizes, &[&str], f64); 6] = [
        (Form::Software, EDGES, &["model.tie_word_embeddings=false", "optimizer.name=sinkgd"], F32),
        (Form::Gpu, EDGES, &["model.tie_word_embeddings=true", "optimizer.name=adamw", "optimizer.eps=0.01"], F32),
        (Form::Software, ALL, &["model.tie_word_embeddings=true", "optimizer.name=sgd"], F32),
        (Form::Gpu, ALL, &["model.tie_word_embeddings=false", "optimizer.name=sgd", "train.max_grad_norm=0.5"], F32),
        (Form::Gpu, EDGES, &["model.tie_word_embeddings=false", "optimizer.name=sgd", "train.precision=f16"], F16),
        (Form::Software, ALL, &["model.tie_word_embeddings=true", "optimizer.name=sgd", "train.precision=f16"], F16),
    ];
    for (form, sizes, sets, tolerance) in cases {
        let gpus = [Arc::new(own_gpu(form)), small_bindings(form, &sizes)];
        let trainer = |gpu: &Arc<Gpu>| small_trainer(gpu.clone(), config(&sizes, sets), small_tokens());
        let [mut whole, mut split] = gpus.each_ref().map(trainer);
        let what = format!("{form:?} {sets:?}");
        let [of_whole, of_split] = [&whole, &split].map(|trainer| block_on(trainer.snapshot()).unwrap());
        assert!(same(&of_whole, &of_split), "{what}: initial weights");

        let [of_whole, of_split] = [&mut whole, &mut split].map(|trainer| block_on(trainer.evaluate()).unwrap().loss);
        assert!((of_whole - of_split).abs() < 1e-6 * of_whole, "{what}: {of_whole} and {of_split} in an evaluation");
        let ids = [5, 299, 130]; // one of each part
        let [of_whole, of_split] = [&mut whole, &mut split].map(|trainer| logits(trainer, &ids));
        assert_close(format!("{what}: logits"), &of_split, &widen(&of_whole), 1e-6);

        let [of_whole, of_split] = [&mut whole, &mut split].map(|trainer| numbers(&train_steps(trainer, STEPS)));
        let losses = tolerance / 10.0;
        for ((loss, norm), (other_loss, other_norm)) in of_whole.iter().zip(&of_split) {
            assert!((loss - other_loss).abs() < losses * loss, "{what}: losses {loss} and {other_loss}");
            assert!((norm - other_norm).abs() < tolerance * norm, "{what}: norms {norm} and {other_norm}");
        }
        for name in names(&whole) {
            let [of_whole, of_split] = [&whole, &split].map(|trainer| block_on(trainer.gradient(&name)).unwrap());
            assert_near(format!("{what}: gradient of {name}"), &of_split, &of_whole, tolerance);
        }
        let [of_whole, of_split] = [&whole, &split].map(|trainer| block_on(trainer.snapshot()).unwrap());
        assert_snapshots_close(&what, &of_split, &of_whole, &names(&whole), tolerance);
    }
}

#[test]
fn fused_updates_give_the_bits_of_separate_ones() {
    for (form, sizes, tied) in [(Form::Software, ALL, false), (Form::Gpu, EDGES, true)] {
        let tied = format!("model.tie_word_embeddings={tied}");
        let run = |fused: &str| {
            let sets = [&tied, "optimizer.name=adamw", "train.micro_batch_size=4", fused];
            let mut trainer = split(form, &sizes, &sets);
            (numbers(&train_steps(&mut trainer, STEPS)), block_on(trainer.snapshot()).unwrap())
        };
        let [separate, fused] = ["train.fused_update=false", "train.fused_update=true"].map(run);
        assert!(separate.0 == fused.0 && same(&separate.1, &fused.1), "{form:?} {tied}");
    }
}

#[test]
fn a_run_goes_on_in_parts_and_whole() {
    let sets = ["model.tie_word_embeddings=false", "optimizer.name=adamw", "optimizer.eps=0.01"];
    let mut run = split(Form::Software, &ALL, &sets);
    train_steps(&mut run, 2);
    let middle = block_on(run.snapshot()).unwrap();
    train_steps(&mut run, 2);
    let end = block_on(run.snapshot()).unwrap();
    let resumed = |mut trainer: Trainer| {
        trainer.restore(&middle).unwrap();
        assert!(same(&block_on(trainer.snapshot()).unwrap(), &middle), "what is restored");
        train_steps(&mut trainer, 2);
        (names(&trainer), block_on(trainer.snapshot()).unwrap())
    };
    assert!(same(&resumed(split(Form::Software, &ALL, &sets)).1, &end));
    let (names, in_one) = resumed(whole(Form::Software, &ALL, &sets));
    assert_snapshots_close("whole after parts", &in_one, &end, &names, F32);
}

#[test]
fn samples_are_of_whole_matrices() {
    let sets = [
        "model.tie_word_embeddings=false",
        "optimizer.name=adamw",
        "spectra.every=1",
        "spectra.parameters=['lm_head.weight', '*.0.mlp.gate_proj.weight']",
    ];
    let mut trainer = split(Form::Software, &EDGES, &sets);
    train_steps(&mut trainer, 1);
    let samples = trainer.take_samples();
    let of = |name: &str| samples.iter().find(|sample| sample.parameter == name).unwrap();
    for (name, shape) in [("lm_head.weight", [300, 128]), ("model.layers.0.mlp.gate_proj.weight", [88, 128])] {
        let (sent, read) = (of(name), block_on(trainer.sample(name)).unwrap());
        assert_eq!((sent.shape, sent.gradient.len(), sent.states.len()), (shape, shape[0] * shape[1], 2));
        assert_eq!((sent.shape, &sent.gradient, &sent.states), (read.shape, &read.gradient, &read.states));
        let states = block_on(trainer.snapshot()).unwrap().states;
        let average = states.iter().find(|(state, ..)| *state == format!("{name}.exp_avg")).unwrap();
        assert_eq!((&average.1[..], &average.2), (&shape[..], &sent.states[0]));
    }
}

#[test]
fn random_directions_are_those_of_the_whole() {
    let sets = ["model.tie_word_embeddings=false", "optimizer.name=mezo", "optimizer.queries=2"];
    let [of_whole, of_split] = [whole, split].map(|trainer| {
        let mut trainer = trainer(Form::Software, &ALL, &sets);
        (numbers(&train_steps(&mut trainer, 2)), block_on(trainer.snapshot()).unwrap())
    });
    assert!(of_whole.0 == of_split.0 && same(&of_whole.1, &of_split.1));
}

#[test]
fn a_rule_that_reads_all_rows_is_refused_where_a_matrix_is_in_parts() {
    let refusal = |sizes: &Sizes, sets: &[&str]| {
        let profile = Profile { max_binding_bytes: sizes.binding_bytes, ..everything() };
        let recorded = record_training(&config(sizes, sets), &profile).unwrap();
        recorded.recorder.check_limits().map_err(|error| error.to_string())
    };
    let untied = "model.tie_word_embeddings=false";
    for (sizes, sets, name, key) in [
        (EDGES, &["optimizer.name=scale"][..], "model.embed_tokens.weight", "optimizer.embedding.name"),
        (
            EDGES,
            &["optimizer.name=signsgd", "optimizer.head.name=adafactor", untied],
            "lm_head.weight",
            "optimizer.head.name",
        ),
        (ALL, &["optimizer.name=muon"], "model.layers.0.self_attn.q_proj.weight", "optimizer.name"),
        (ALL, &["optimizer.name=subzero"], "model.embed_tokens.weight", "optimizer.embedding.name"),
    ] {
        let message = refusal(&sizes, sets).unwrap_err();
        let set = format!("`--set {key}=adamw`");
        assert!(message.contains(name) && message.contains(&set), "{sets:?}: {message}");
    }
    for optimizer in ["sinkgd", "muon", "scion", "racs", "adazeta", "mezo"] {
        assert_eq!(refusal(&EDGES, &[&format!("optimizer.name={optimizer}"), untied]), Ok(()), "{optimizer}");
    }
    for optimizer in ["adam", "lion", "sgd", "extrapolated-sgd", "adam-nonzero", "signsgd"] {
        assert_eq!(refusal(&ALL, &[&format!("optimizer.name={optimizer}"), untied]), Ok(()), "{optimizer}");
    }
}

/// Under WebGPU's default limits bindings have at most 128 MiB, but 1b's embedding and head have 250 MiB.
#[test]
fn the_largest_preset_trains_under_webgpus_default_limits() {
    // The outputs of gate and up for a micro-batch must fit in a binding, too.
    for (precision, micro_batch) in [("f32", 16), ("f16", 32)] {
        let profile = Profile { f16: precision == "f16", ..Profile::webgpu_default() };
        for optimizer in ["sinkgd", "muon", "adamw"] {
            let sets = [
                "model.preset=1b".to_owned(),
                "eval.batch_size=16".into(),
                format!("optimizer.name={optimizer}"),
                format!("train.precision={precision}"),
            ];
            let config = RunConfig::load(None, &sets, RunDefaults::Gpu).unwrap();
            let profile_of = |_: &RunConfig| Ok(profile.clone());
            let Search::Fits(fit) = SearchSpace::new(config, &profile_of).largest(80 << 30) else {
                panic!("{optimizer} on 1b in 80 GiB")
            };
            let recorded = record_training(&fit.config, &profile).unwrap();
            assert_eq!((recorded.recorder.memory(), fit.config.train.micro_batch_size), (fit.memory, micro_batch));
            let parts: Vec<_> = recorded.llama.by_name().filter(|parts| parts.len() > 1).collect();
            assert_eq!(parts.len(), 2, "embedding and head");
            assert!(parts.iter().flat_map(|parts| parts.iter()).all(|part| part.weight.shape == [16_000, 2048]));
        }
    }
}
