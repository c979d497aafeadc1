//! A run's spectra: the log matches what the device did.

use std::sync::Arc;

use multinorm::Error;
use multinorm::config::{Role, Rule, RunConfig, RunDefaults};
use multinorm::data::dataset::Dataset;
use multinorm::data::tokens::Tokens;
use multinorm::generate::Generator;
use multinorm::gpu::Gpu;
use multinorm::spectrum::singular_values;
use multinorm::train::{GradientSample, SpectrumRecord, Trainer};
use pollster::block_on;

use crate::support::{FORMS, shared_gpu, timed_gpu, widen};

const STEPS: u64 = 3;
const WATCHED: [&str; 2] = ["model.layers.1.mlp.down_proj.weight", "model.layers.0.self_attn.k_proj.weight"];

fn trainer(form: crate::support::Form, optimizer: &str) -> Trainer {
    trainer_of(form, &[optimizer])
}

fn trainer_of(form: crate::support::Form, optimizer: &[&str]) -> Trainer {
    trainer_on(shared_gpu(form), optimizer)
}

fn trainer_on(gpu: Arc<Gpu>, optimizer: &[&str]) -> Trainer {
    let mut sets = vec![
        "model.preset=tiny".to_owned(),
        "model.vocab_size=64".into(),
        "model.hidden_size=24".into(),
        "model.intermediate_size=36".into(),
        "model.num_hidden_layers=2".into(),
        "model.num_attention_heads=2".into(),
        // Only the update moves the weights.
        "schedule.kind=constant".into(),
        "schedule.warmup_fraction=0".into(),
        "train.max_grad_norm=0.25".into(),
        format!("train.steps={STEPS}"),
        "train.batch_size=2".into(),
        "train.sequence_length=9".into(),
        "eval.max_tokens=9".into(),
        "spectra.every=1".into(),
        format!("spectra.parameters=['*.1.mlp.d*', '{}']", WATCHED[1]),
    ];
    sets.extend(optimizer.iter().map(|&set| set.to_owned()));
    let config = RunConfig::load(None, &sets, RunDefaults::Software).unwrap();
    let tokens = Tokens::Owned((0..400u32).map(|i| i * i % 61).collect());
    block_on(Trainer::new(gpu, config, Arc::new(Dataset::unsplit("squares", tokens, 64)))).unwrap()
}

/// Makes one step. Returns its samples, with the change of each weight divided by the learning rate.
fn step(trainer: &mut Trainer) -> Vec<(GradientSample, Vec<f64>)> {
    let before = block_on(trainer.snapshot()).unwrap().parameters;
    block_on(trainer.step()).unwrap();
    block_on(trainer.drain()).unwrap();
    let after = block_on(trainer.snapshot()).unwrap().parameters;
    let names: Vec<String> = trainer.config().model.parameters().into_iter().map(|p| p.name).collect();
    let lr = trainer.config().optimizer.recipe(Role::Linear).lr;
    let taken = |sample: GradientSample| {
        let at = names.iter().position(|name| *name == sample.parameter).unwrap();
        let moved = before[at].iter().zip(&after[at]).map(|(b, a)| (f64::from(*b) - f64::from(*a)) / lr).collect();
        (sample, moved)
    };
    trainer.take_samples().into_iter().map(taken).collect()
}

#[test]
fn the_last_spectrum_is_that_of_the_step() {
    for (form, optimizers) in FORMS.into_iter().zip([
        ["optimizer.name=sinkgd", "optimizer.name=swan", "optimizer.name=muon", "optimizer.name=adam"],
        ["optimizer.name=lion", "optimizer.name=signsgd", "optimizer.name=sgd", "optimizer.name=balanced-momentum"],
    ]) {
        for optimizer in optimizers {
            let mut trainer = trainer(form, optimizer);
            for number in 1..=STEPS {
                for (sample, moved) in step(&mut trainer) {
                    let record = SpectrumRecord::of(&sample);
                    let what = format!("{form:?} {optimizer} {} at {number}", sample.parameter);
                    assert_eq!((record.step, record.shape), (number, sample.shape), "{what}");
                    let last = record.passes.last().unwrap().quantities.spectrum.as_ref().unwrap();
                    let [m, n] = sample.shape;
                    let got = singular_values(&moved, m, n);
                    // A rule's scale is not a pass, so the two agree up to a factor; for SGD, that is the clip factor.
                    let factor = got[0] / last.operator_norm;
                    if let Rule::Sgd(_) = sample.rule {
                        assert!((factor - f64::from(sample.clip)).abs() < 1e-3, "{what}: {factor}, {}", sample.clip);
                    }
                    for (a, b) in got.iter().zip(&last.singular_values) {
                        assert!((a - factor * b).abs() < 2e-3 * got[0], "{what}: {a}, not {}", factor * b);
                    }
                }
            }
        }
    }
}

#[test]
fn samples_are_the_gradients_and_states_of_their_step() {
    let mut trainer = trainer(FORMS[0], "optimizer.name=muon");
    for number in 1..=STEPS {
        let samples: Vec<GradientSample> = step(&mut trainer).into_iter().map(|(sample, _)| sample).collect();
        let mut names: Vec<&str> = samples.iter().map(|s| s.parameter.as_str()).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(names, WATCHED, "step {number}");
        let states = block_on(trainer.snapshot()).unwrap().states;
        for sample in &samples {
            assert_eq!(sample.gradient, block_on(trainer.gradient(&sample.parameter)).unwrap());
            let name = format!("{}.momentum_buffer", sample.parameter);
            let (.., values) = states.iter().find(|(state, ..)| *state == name).unwrap();
            assert_eq!((sample.states.len(), &sample.states[0]), (1, values));
            assert!(sample.clip > 0.0 && sample.clip < 1.0, "clipping shows: {}", sample.clip);
        }
    }
}

/// Everything in a snapshot, as bits.
fn bits(trainer: &Trainer) -> Vec<u32> {
    let snapshot = block_on(trainer.snapshot()).unwrap();
    let states = snapshot.states.into_iter().map(|(.., values)| values);
    snapshot.parameters.into_iter().chain(states).flatten().map(f32::to_bits).collect()
}

#[test]
fn a_sample_on_demand_and_steps_that_are_paced_or_timed_change_nothing() {
    for form in FORMS {
        let gpu = timed_gpu(form);
        let [mut plain, mut other] = [0; 2].map(|_| trainer_on(gpu.clone(), &["optimizer.name=muon"]));
        let mut losses = [vec![], vec![]];
        for number in 1..=STEPS {
            losses[0].extend(block_on(plain.step()).unwrap());
            match number {
                // A budget that every piece exceeds, then one that fits everything.
                1 => other.set_throttle(Some(1e-6)),
                2 => other.set_throttle(Some(10.0)),
                _ => other.set_throttle(None),
            }
            if number == 3 {
                let (reports, times) = block_on(other.timed_step()).unwrap();
                losses[1].extend(reports);
                let kernels: Vec<&str> =
                    times.iter().flat_map(|(_, kernels)| kernels).map(|time| time.kernel).collect();
                let has = |stem: &str| kernels.iter().any(|kernel| kernel.starts_with(stem));
                assert!(has("attention") && has("apply_scaled"), "{kernels:?}");
            } else {
                losses[1].extend(block_on(other.step()).unwrap());
            }
            let ringed = plain.take_samples();
            let now = block_on(other.sample(WATCHED[0])).unwrap();
            block_on(plain.drain()).map(|reports| losses[0].extend(reports)).unwrap();
            let ringed = ringed.into_iter().chain(plain.take_samples()).find(|s| s.parameter == WATCHED[0]).unwrap();
            assert_eq!((now.step, now.shape, &now.rule), (number, ringed.shape, &ringed.rule));
            assert_eq!((now.clip, &now.gradient, &now.states), (ringed.clip, &ringed.gradient, &ringed.states));
        }
        losses[1].extend(block_on(other.drain()).unwrap());
        let [a, b] = losses.map(|reports| reports.iter().map(|report| report.loss.to_bits()).collect::<Vec<_>>());
        assert_eq!((a.len() as u64, &a), (STEPS, &b), "{form:?}");
        assert_eq!(bits(&plain), bits(&other), "{form:?}");
        block_on(other.evaluate()).unwrap();
        let refused = block_on(other.sample("model.norm.weight")).unwrap_err().to_string();
        assert!(refused.contains("model.norm.weight of shape [24] is not a matrix"), "{refused}");
    }
}

#[test]
fn a_pace_survives_an_error() {
    let gpu = timed_gpu(FORMS[0]);
    let mut trainer = trainer_on(gpu.clone(), &["optimizer.name=sgd"]);
    trainer.set_throttle(Some(1e-6));
    block_on(trainer.step()).unwrap();
    gpu.destroy();
    let error = block_on(trainer.step()).unwrap_err();
    assert!(matches!(error, Error::DeviceLost { .. }), "{error:?}");
    assert!(trainer.is_throttled());
}

#[test]
fn what_is_renewed_at_times_is_the_same_in_paced_and_timed_steps() {
    let micro = ["train.micro_batch_size=1", "spectra.every=0", "train.steps=7"];
    for (form, optimizer) in FORMS.into_iter().zip([
        vec!["optimizer.name=galore", "optimizer.rank=3", "optimizer.update_interval=2"],
        vec!["optimizer.name=subzero", "optimizer.rank=3", "optimizer.update_interval=2", "optimizer.queries=2"],
    ]) {
        let gpu = timed_gpu(form);
        let [mut plain, mut other] = [0; 2].map(|_| trainer_on(gpu.clone(), &[&optimizer[..], &micro].concat()));
        other.set_throttle(Some(1e-3));
        for number in 1..=7 {
            block_on(plain.step()).unwrap();
            if number < 5 {
                block_on(other.step()).unwrap();
                continue;
            }
            let (_, times) = block_on(other.timed_step()).unwrap();
            let kernels = times.iter().flat_map(|(_, kernels)| kernels);
            let renewals = kernels.filter(|time| time.kernel == "identity").count();
            // Only the first of a step's directions draws new ones.
            assert_eq!(renewals, number % 2, "{optimizer:?}: step {number}");
        }
        assert_eq!(bits(&plain), bits(&other), "{optimizer:?}");
    }
}

#[test]
fn a_trainer_decodes_with_the_weights_where_they_lie() {
    let mut trainer = trainer(FORMS[0], "optimizer.name=sinkgd");
    let gpu = shared_gpu(FORMS[0]);
    for _ in 0..2 {
        block_on(trainer.step()).unwrap();
        let weights = block_on(trainer.snapshot()).unwrap().parameters;
        let mut fresh = block_on(Generator::new(&gpu, &trainer.config().model, &weights, 4)).unwrap();
        let ids = [5, 17, 3];
        let theirs = ids.map(|id| block_on(fresh.push(&gpu, id)).unwrap());
        for n in 1..=ids.len() {
            assert_eq!(block_on(trainer.logits_after(&ids[..n])).unwrap(), theirs[n - 1], "{n} tokens");
        }
    }
}

#[test]
fn the_gradients_spectrum_is_its_own() {
    let mut trainer = trainer(FORMS[1], "optimizer.name=sinkgd");
    let (sample, _) = step(&mut trainer).remove(0);
    let [m, n] = sample.shape;
    let want = singular_values(&widen(&sample.gradient), m, n);
    let record = SpectrumRecord::of(&sample);
    let first = &record.passes[0];
    assert_eq!((first.pass.as_str(), first.iteration), ("gradient", 0));
    assert_eq!(first.quantities.spectrum.as_ref().unwrap().singular_values, want);
    assert_eq!(record.passes.len(), 11);
}
