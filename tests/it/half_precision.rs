//! Training with half-precision activations: the loss scale, skipped steps, and resuming.

use std::sync::Arc;

use multinorm::config::{OptimizerConfig, Precision, RunConfig, optimizer_names};
use multinorm::gpu::{Class, Profile};
use multinorm::kernels::loss_scale::LossScale;
use multinorm::train::{StepReport, Trainer, record_training};
use pollster::block_on;

use crate::support::{
    FORMS, Form, every_other_step, everything, own_gpu, small_run, small_tokens, small_trainer, train_steps,
    web_profile, widen,
};

fn config(sets: &[&str]) -> RunConfig {
    load(sets).unwrap()
}

fn load(sets: &[&str]) -> multinorm::Result<RunConfig> {
    let half = [
        "model.num_hidden_layers=2",
        "train.steps=12",
        "train.batch_size=4",
        "train.micro_batch_size=2",
        "train.precision=f16",
    ];
    small_run(&[&half, sets].concat())
}

fn trainer(form: Form, sets: &[&str]) -> Trainer {
    small_trainer(Arc::new(own_gpu(form)), config(sets), small_tokens())
}

/// A loss scale so large that this model's gradients overflow for a few steps.
const TOO_LARGE: &str = "train.loss_scale=33554432";

#[test]
fn a_skipped_step_changes_nothing_but_the_scale() {
    for optimizer in optimizer_names() {
        if OptimizerConfig::named(optimizer).unwrap().zeroth_order().is_some() {
            continue;
        }
        let name = format!("optimizer.name={optimizer}");
        let sets = [&[name.as_str(), TOO_LARGE, "train.fused_update=false"], every_other_step(optimizer)].concat();
        let mut trainer = trainer(Form::Software, &sets);
        let before = block_on(trainer.snapshot()).unwrap();
        let first = train_steps(&mut trainer, 1).remove(0);
        assert!(first.skipped && first.loss.is_finite() && !first.grad_norm.is_finite(), "{optimizer}: {first:?}");
        assert_eq!((first.loss_scale, first.skipped_steps), (Some(16_777_216.0), Some(1)), "{optimizer}");
        let after = block_on(trainer.snapshot()).unwrap();
        assert!(before.parameters == after.parameters, "{optimizer}: a weight has moved");
        for (before, after) in before.states.iter().zip(&after.states) {
            let is_scale = before.0.starts_with("loss_scale.");
            assert!((before == after) != is_scale, "{optimizer}: {} after a skipped step", before.0);
        }
        // After a few steps the scale fits, and whatever a skipped step left undone is made up for.
        let rest = train_steps(&mut trainer, 11);
        let good = rest.iter().filter(|report| !report.skipped).count();
        assert!((2..11).contains(&good), "{optimizer}: {good} good steps of 11");
        let end = block_on(trainer.snapshot()).unwrap();
        assert!(end.parameters != after.parameters, "{optimizer}: it trains");
        let mean = |reports: &[StepReport]| reports.iter().map(|r| r.loss).sum::<f64>() / reports.len() as f64;
        let trained: Vec<StepReport> = rest.into_iter().filter(|report| !report.skipped).collect();
        assert!(
            mean(&trained[1..]) < first.loss,
            "{optimizer}: {:?}",
            trained.iter().map(|r| r.loss).collect::<Vec<_>>()
        );
    }
}

#[test]
fn the_scale_halves_after_an_overflow_and_doubles_after_good_steps() {
    let mut trainer = trainer(Form::Gpu, &[TOO_LARGE, "train.loss_scale_growth=3"]);
    let reports = train_steps(&mut trainer, 12);
    let (mut scale, mut good, mut skipped) = (33_554_432.0, 0, 0);
    for report in reports {
        if report.skipped {
            (scale, good, skipped) = (scale / 2.0, 0, skipped + 1);
        } else {
            good += 1;
            if good == 3 {
                (scale, good) = (scale * 2.0, 0);
            }
        }
        assert_eq!((report.loss_scale, report.skipped_steps), (Some(scale), Some(skipped)), "step {}", report.step);
    }
    assert!(skipped > 0 && skipped < 9 && trainer.skipped_steps() == skipped, "{skipped} skipped");
}

#[test]
fn a_run_goes_on_to_the_same_bits() {
    for sets in
        [&[TOO_LARGE, "optimizer.name=adamw"][..], &[TOO_LARGE, "optimizer.name=galore", "optimizer.update_interval=3"]]
    {
        let mut whole = trainer(Form::Software, sets);
        let first = train_steps(&mut whole, 6);
        let middle = block_on(whole.snapshot()).unwrap();
        let rest = train_steps(&mut whole, 6);
        let end = block_on(whole.snapshot()).unwrap();
        let mut resumed = trainer(Form::Software, sets);
        resumed.restore(&middle).unwrap();
        let again = train_steps(&mut resumed, 6);
        let numbers =
            |reports: &[StepReport]| reports.iter().map(|r| (r.loss, r.loss_scale, r.skipped)).collect::<Vec<_>>();
        assert_eq!(numbers(&rest), numbers(&again), "{sets:?}");
        let resumed = block_on(resumed.snapshot()).unwrap();
        assert!(end.parameters == resumed.parameters && end.states == resumed.states, "{sets:?}");
        assert!(first.iter().any(|report| report.skipped) && rest.iter().any(|report| !report.skipped), "{sets:?}");
    }
}

#[test]
fn fused_updates_give_the_bits_of_separate_ones_where_nothing_overflows() {
    let run = |fused: &str| {
        let mut trainer = trainer(Form::Gpu, &["optimizer.name=sinkgd", "train.micro_batch_size=4", fused]);
        let reports = train_steps(&mut trainer, 4);
        assert!(reports.iter().all(|report| !report.skipped), "nothing overflows");
        block_on(trainer.snapshot()).unwrap()
    };
    let [separate, fused] = ["train.fused_update=false", "train.fused_update=true"].map(run);
    assert!(separate.parameters == fused.parameters && separate.states == fused.states);
}

#[test]
fn a_fused_step_that_overflows_is_told_and_the_run_goes_on() {
    let sets = [TOO_LARGE, "train.micro_batch_size=4", "train.fused_update=true"];
    let reports = train_steps(&mut trainer(Form::Software, &sets), 12);
    assert!(reports[0].skipped && !reports[11].skipped, "{reports:?}");
    assert!(reports[11].loss < reports[0].loss);
}

#[test]
fn an_overflow_under_the_least_scale_halts_the_run() {
    let least = format!("train.loss_scale={}", LossScale::LEAST);
    let mut trainer = trainer(Form::Software, &[&least, "optimizer.lr=1000", "optimizer.name=sgd"]);
    // At this learning rate the weights grow until the forward or backward pass overflows.
    let mut error = None;
    for _ in 0..8 {
        error = block_on(trainer.step()).err().or_else(|| block_on(trainer.drain()).err());
        if error.is_some() {
            break;
        }
    }
    let message = error.expect("it halts").to_string();
    assert!(message.contains("not finite") || message.contains("overflowed"), "{message}");
}

/// Gradient entries that are nonzero in single precision but become zero in half precision.
#[derive(Debug, Default)]
struct Flushed {
    nonzero: usize,
    flushed: usize,
    /// The largest of them in single precision, divided by the norm of its parameter's gradient.
    largest: f64,
}

/// All parameters' gradients at these weights, for the batch that follows the first `step` steps.
fn gradients(form: Form, sets: &[&str], step: u64, weights: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut trainer = trainer(form, sets);
    let mut start = block_on(trainer.snapshot()).unwrap();
    (start.step, start.parameters) = (step, weights.to_vec());
    trainer.restore(&start).unwrap();
    assert!(!train_steps(&mut trainer, 1)[0].skipped, "{sets:?}: nothing overflows");
    let specs = trainer.config().model.parameters();
    specs.iter().map(|spec| block_on(trainer.gradient(&spec.name)).unwrap()).collect()
}

fn flushed(form: Form, loss_scale: &str, step: u64, weights: &[Vec<f32>]) -> Flushed {
    let single = gradients(form, &["train.precision=f32"], step, weights);
    let half = gradients(form, &[loss_scale], step, weights);
    let mut found = Flushed::default();
    for (single, half) in single.iter().zip(&half) {
        let norm = widen(single).iter().map(|g| g * g).sum::<f64>().sqrt();
        assert!(norm > 0.0 && single.len() == half.len(), "a gradient that can be compared");
        found.nonzero += single.iter().filter(|&&g| g != 0.0).count();
        for (&single, _) in single.iter().zip(half).filter(|&(&single, &half)| single != 0.0 && half == 0.0) {
            found.flushed += 1;
            found.largest = found.largest.max(f64::from(single).abs() / norm);
        }
    }
    // With --nocapture this prints the numbers in docs/half_precision.md.
    println!("{form:?}, {loss_scale}, after step {step}: {found:?}");
    found
}

#[test]
fn no_gradient_above_a_thousandth_of_its_norm_becomes_zero() {
    /// As a fraction of the norm of the parameter's gradient.
    const LARGE: f64 = 1e-3;
    for form in FORMS {
        let mut run = trainer(form, &["train.precision=f32"]);
        let first = block_on(run.snapshot()).unwrap().parameters;
        train_steps(&mut run, 12);
        let last = block_on(run.snapshot()).unwrap().parameters;
        for (step, weights) in [(0, &first), (12, &last)] {
            let under_the_default = flushed(form, "train.loss_scale=0", step, weights);
            assert!(under_the_default.largest <= LARGE, "{form:?}, after step {step}: {under_the_default:?}");
            assert!(under_the_default.nonzero > 10_000, "{under_the_default:?}");
            // Check that this test can fail: with the smallest scale, large entries are lost.
            let under_the_least = flushed(form, &format!("train.loss_scale={}", LossScale::LEAST), step, weights);
            assert!(under_the_least.largest > LARGE, "{form:?}, after step {step}: {under_the_least:?}");
        }
    }
}

#[test]
fn half_precision_is_taken_where_it_is_asked_for_and_there() {
    let of = |precision: &str, profile: &Profile| {
        let set = format!("train.precision={precision}");
        record_training(&config(&[&set]), profile).map(|recorded| recorded.precision)
    };
    let plain = web_profile(Form::Gpu);
    let software = Profile { f16: true, ..web_profile(Form::Software) };
    assert_eq!(of("auto", &everything()).unwrap(), Precision::F16);
    assert_eq!(of("auto", &plain).unwrap(), Precision::F32);
    assert_eq!(of("auto", &software).unwrap(), Precision::F32, "no faster there");
    assert_eq!(of("f16", &software).unwrap(), Precision::F16);
    let message = of("f16", &plain).expect_err("refused").to_string();
    assert!(message.starts_with("train.precision: f16 requires an adapter with half precision"), "{message}");
    let zeroth = load(&["optimizer.name=mezo"]).unwrap_err().to_string();
    assert!(zeroth.starts_with("train.precision: a zeroth-order method"), "{zeroth}");
}

#[test]
fn activations_take_about_half_the_memory() {
    let bytes = |precision: &str| {
        let sets = [precision, "model.preset=60m", "train.batch_size=16", "train.micro_batch_size=16"];
        record_training(&config(&sets), &everything()).unwrap().recorder.memory().bytes(Class::Activations) as f64
    };
    let share = bytes("train.precision=f16") / bytes("train.precision=f32");
    assert!((0.5..0.7).contains(&share), "{share}");
}

#[test]
fn gate_up_and_swiglu_are_one_dispatch_of_a_layer_and_computed_again_as_products() {
    const NAMES: [&str; 3] = ["matmul_swiglu_half_units", "swiglu_half", "matmul_nt_half_units_32"];
    let counts = |profile: &Profile, sets: &[&str]| {
        let large = ["model.hidden_size=64", "model.intermediate_size=1024", "train.sequence_length=256"];
        let batch = ["train.batch_size=64", "train.micro_batch_size=64", "eval.max_tokens=999"];
        let config = config(&[&large[..], &batch, sets].concat());
        let recorder = record_training(&config, profile).unwrap().recorder;
        let dispatches = recorder.dispatches("first micro-batch");
        NAMES.map(|name| dispatches.iter().filter(|(kernel, _)| *kernel == name).count())
    };
    let (all, layers) = (everything(), 2);
    let [one, apart, products] = counts(&all, &["train.recompute=none"]);
    assert_eq!([one, apart], [layers, 0]);
    // Recomputed with the kernel's own tile, so that the results are bit-identical.
    assert_eq!(counts(&all, &["train.recompute=layer"]), [layers, 0, products + 2 * layers]);
    assert_eq!(counts(&all, &["train.precision=f32"]), [0; 3]);
    // The 256 KiB weights are split into two parts.
    let [one, apart, _] = counts(&Profile { max_binding_bytes: 128 << 10, ..everything() }, &[]);
    assert_eq!([one, apart], [0, layers]);
}
