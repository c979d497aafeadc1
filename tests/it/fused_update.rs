//! Updates inside the backward pass: bit-identical to updates after it, with memory for only the largest gradient.

use multinorm::config::{OptimizerConfig, optimizer_names};
use multinorm::gpu::Class;
use multinorm::train::{Snapshot, Trainer};
use pollster::block_on;

use crate::support::{FORMS, Form, every_other_step, shared_gpu, small_run, small_tokens, small_trainer, train_steps};

const STEPS: u64 = 4;

fn trainer(form: Form, fused: bool, optimizer: &str, tied: bool) -> Trainer {
    trainer_on(small_tokens(), form, fused, optimizer, tied)
}

fn trainer_on(tokens: Vec<u32>, form: Form, fused: bool, optimizer: &str, tied: bool) -> Trainer {
    let sets = [
        format!("model.tie_word_embeddings={tied}"),
        format!("optimizer.name={optimizer}"),
        format!("train.fused_update={fused}"),
        format!("train.steps={STEPS}"),
        "train.batch_size=2".into(),
    ];
    // If there is a subspace, the third step replaces it.
    let sets: Vec<&str> = sets.iter().map(String::as_str).chain(every_other_step(optimizer).iter().copied()).collect();
    small_trainer(shared_gpu(form), small_run(&sets).unwrap(), tokens)
}

/// Losses and gradient norms of every step, and the final snapshot.
fn run(trainer: &mut Trainer) -> (Vec<(f64, f64)>, Snapshot) {
    let reports = train_steps(trainer, STEPS);
    (reports.iter().map(|r| (r.loss, r.grad_norm)).collect(), block_on(trainer.snapshot()).unwrap())
}

#[test]
fn the_same_bits_as_a_separate_update() {
    for (form, tied) in FORMS.into_iter().zip([true, false]) {
        for optimizer in optimizer_names() {
            if OptimizerConfig::named(optimizer).unwrap().zeroth_order().is_some() {
                continue; // it has no gradients
            }
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
    // Plus one gradient that is complete before the larger one is applied: a norm's.
    assert!((largest..largest + largest / 8).contains(&fused), "{fused} bytes, the largest gradient has {largest}");
    assert_eq!(bytes(true, Class::OptimizerState), bytes(false, Class::OptimizerState));
}

#[test]
fn a_gradient_whose_square_alone_overflows_is_a_gradient() {
    for fused in [false, true] {
        let mut trainer = trainer(FORMS[0], fused, "sgd", false);
        let mut weights = block_on(trainer.snapshot()).unwrap().parameters;
        let head = weights.len() - 1;
        // The head's input is zero, so the loss is ln V; the gradient of the norm before it is as large as the head.
        weights[head - 1].fill(0.0);
        weights[head].iter_mut().enumerate().for_each(|(at, w)| *w = if at / 32 % 2 == 0 { 1e37 } else { -1e37 });
        trainer.set_weights(&weights);
        let mut reports = block_on(trainer.step()).unwrap();
        reports.extend(block_on(trainer.drain()).unwrap());
        assert!((1e36..1e38).contains(&reports[0].grad_norm), "fused {fused}: {:?}", reports[0]);
        let after = block_on(trainer.snapshot()).unwrap().parameters;
        assert!(after[head - 1] != weights[head - 1], "fused {fused}: it moves what it is the gradient of");
    }
}

/// The indices of a three-layer model's parameters, in the order in which their gradients are complete.
fn backward_order() -> Vec<usize> {
    let layer = |layer: usize| [9, 7, 8, 6, 5, 2, 3, 4, 1].map(|place| 9 * layer + place);
    [29, 28].into_iter().chain([2, 1, 0].into_iter().flat_map(layer)).chain([0]).collect()
}

/// Weights for which all gradients are finite until that of one parameter, which overflows.
///
/// The head is so large that the gradients it passes back are near 1e32. Otherwise the model computes the same as
/// before: where an activation is larger, the weights that read it are smaller. A product of the two overflows f32.
fn overflowing(weights: &[Vec<f32>], bad: usize) -> Vec<Vec<f32>> {
    const LARGE: f32 = 1e14;
    const SMALL: f32 = 1e-14;
    const NOTHING: f32 = 1e-24;
    let mut weights = weights.to_vec();
    weights[29].iter_mut().enumerate().for_each(|(at, w)| *w = if at / 32 % 2 == 0 { 1e30 } else { -1e30 });
    let first = (bad - 1) / 9 * 9;
    // input_norm, q, k, v, o, post_norm, gate, up, down
    let scales: &[(usize, f32)] = match bad - first {
        9 => &[(8, LARGE), (9, SMALL)],
        7 => &[(6, LARGE), (7, SMALL), (8, SMALL)],
        8 => &[(6, LARGE), (7, SMALL), (8, NOTHING)],
        6 => &[(6, SMALL), (7, LARGE), (8, LARGE)],
        5 => &[(4, LARGE), (5, SMALL)],
        2 => &[(1, LARGE), (2, SMALL), (3, SMALL), (4, SMALL)],
        3 => &[(1, LARGE), (2, SMALL), (3, NOTHING), (4, SMALL)],
        4 => &[(1, LARGE), (2, NOTHING), (3, NOTHING), (4, SMALL)],
        1 => &[(1, SMALL), (2, LARGE), (3, LARGE), (4, LARGE)],
        _ => unreachable!("a layer has nine parameters"),
    };
    for (place, scale) in scales {
        weights[first + place].iter_mut().for_each(|w| *w *= scale);
    }
    weights
}

/// Trains from weights for which the gradient of `bad` overflows. Checks that this parameter and those after it have
/// not moved, and that those before it have, except for parameters with negligible gradients.
fn check_stopped(mut trainer: Trainer, weights: &[Vec<f32>], bad: usize, unmoved: &[usize]) {
    let order = backward_order();
    let place = order.iter().position(|&parameter| parameter == bad).unwrap();
    let names: Vec<String> = trainer.config().model.parameters().into_iter().map(|spec| spec.name).collect();
    trainer.set_weights(weights);
    // Later steps are already submitted when the first reports its failure.
    let mut result = Ok(Vec::new());
    for _ in 0..STEPS {
        result = result.and(block_on(trainer.step()));
    }
    let message = result.and(block_on(trainer.drain())).unwrap_err().to_string();
    let said = format!("the gradient of {} is not finite, the first to go wrong", names[bad]);
    assert!(message.starts_with("step 1: ") && message.contains(&said), "{message}");
    let moved = match (&names[29], &names[order[place - 1]]) {
        (first, last) if first == last => format!("that before it, of {first}, has moved its weight in this step"),
        (first, last) => format!("those before it, of {first} to {last}, have moved their weights in this step"),
    };
    assert!(message.contains(&moved), "{message}");
    let after = block_on(trainer.snapshot()).unwrap().parameters;
    for (at, &parameter) in order.iter().enumerate() {
        let stayed = after[parameter] == weights[parameter];
        let what = format!("{} where the gradient of {} overflows", names[parameter], names[bad]);
        assert!(at < place || stayed, "{what}: it moved");
        assert!(at >= place || !stayed || unmoved.contains(&parameter), "{what}: it stayed");
        assert!(after[parameter].iter().all(|w| w.is_finite()), "{what}: it is not finite");
    }
}

#[test]
fn a_bad_gradient_stops_its_own_update_and_all_later_ones_and_those_before_it_have_moved() {
    for bad in 1..28 {
        let trainer = trainer(FORMS[bad % 2], true, "sgd", false);
        let weights = overflowing(&block_on(trainer.snapshot()).unwrap().parameters, bad);
        // The head is too large for its gradient to move it.
        check_stopped(trainer, &weights, bad, &[29]);
    }
}

#[test]
fn good_steps_before_a_bad_one_are_reported() {
    let mut trainer = trainer(FORMS[0], false, "sgd", false);
    let mut reports = block_on(trainer.step()).unwrap();
    reports.extend(block_on(trainer.step()).unwrap());
    let mut weights = block_on(trainer.snapshot()).unwrap().parameters;
    weights[28].fill(3e38);
    trainer.set_weights(&weights);
    // The third step fails, and reports that after the earlier steps' pending reports.
    let mut keep = |more| reports.extend(more);
    let error = loop {
        let step = block_on(trainer.step()).map(&mut keep);
        if let Err(error) = step.and_then(|()| block_on(trainer.drain()).map(&mut keep)) {
            break error;
        }
    };
    assert_eq!(reports.iter().map(|report| report.step).collect::<Vec<_>>(), [1, 2], "{error}");
    assert!(error.to_string().starts_with("step 3: the loss is "), "{error}");
}

#[test]
fn a_loss_that_is_not_finite_moves_nothing() {
    for (form, tied, optimizer) in [(FORMS[0], false, "adamw"), (FORMS[1], true, "adamw"), (FORMS[0], true, "sgd")] {
        let mut trainer = trainer(form, true, optimizer, tied);
        let before = block_on(trainer.snapshot()).unwrap();
        let mut weights = before.parameters.clone();
        weights[28].fill(3e38); // the last norm's weight: logits are infinite
        trainer.set_weights(&weights);
        let mut result = block_on(trainer.step());
        for _ in 1..STEPS {
            result = result.and(block_on(trainer.step()));
        }
        let message = result.and(block_on(trainer.drain())).unwrap_err().to_string();
        assert!(message.starts_with("step 1: the loss is "), "{message}");
        let after = block_on(trainer.snapshot()).unwrap();
        assert!(after.parameters == weights, "{optimizer}, tied {tied}: a weight moved");
        assert!(after.states == before.states, "{optimizer}, tied {tied}: a state changed");
        // It continues from a snapshot as if nothing had happened.
        trainer.restore(&before).unwrap();
        let mut reports = block_on(trainer.step()).unwrap();
        reports.extend(block_on(trainer.drain()).unwrap());
        assert!(reports.len() == 1 && reports[0].step == 1 && reports[0].loss.is_finite(), "{reports:?}");
        assert!(block_on(trainer.snapshot()).unwrap().parameters != before.parameters, "{optimizer}: it trains again");
    }
}

#[test]
fn a_bad_gradient_of_the_last_norm_stops_all_but_the_head() {
    let trainer = trainer(FORMS[0], true, "sgd", false);
    let mut weights = block_on(trainer.snapshot()).unwrap().parameters;
    // The residual stream has only one large component, and the head's input is zero. That component's gradient has the
    // same sign at every token, because all targets are squares.
    weights[0].iter_mut().enumerate().for_each(|(at, w)| *w = if at % 32 == 0 { 1.0 } else { 1e-4 });
    weights[28].fill(0.0);
    let squares: Vec<usize> = (0..300).map(|i| i * i % 300).collect();
    weights[29].iter_mut().enumerate().for_each(|(at, w)| *w = if squares.contains(&(at / 32)) { 3e38 } else { -3e38 });
    check_stopped(trainer, &weights, 28, &[29]);
}

#[test]
fn a_bad_gradient_of_the_embedding_stops_it_alone() {
    // The text is one repeated token, so its 18 gradients, each near 1e38, add up to more than f32 can hold.
    const TOKEN: usize = 7;
    let trainer = trainer_on(vec![TOKEN as u32; 400], FORMS[1], true, "sgd", false);
    let mut weights = block_on(trainer.snapshot()).unwrap().parameters;
    for layer in 0..3 {
        for (place, scale) in [(4, 1e-2), (8, 1e-2), (5, 1e-10), (9, 1e-10)] {
            weights[9 * layer + place].iter_mut().for_each(|w| *w *= scale);
        }
    }
    // The head reads directions nearly orthogonal to the token's embedding, so logits stay far smaller than gradients.
    const RMS: f32 = 0.02;
    weights[0][32 * TOKEN..][..32].fill(RMS);
    let look = |at: usize| if at == 0 { 1.01 } else { 1.0 - 2.0 * (at % 2) as f32 };
    let side = |row: usize| if row == TOKEN { 0.0 } else { look(row + 2) };
    let head = |at: usize| 18.0 * RMS * 1e38 * look(at % 32) * side(at / 32);
    weights[29] = (0..300 * 32).map(head).collect();
    // All keys belong to the same token, so queries and keys get no gradient.
    let queries_and_keys = [2, 3, 11, 12, 20, 21];
    check_stopped(trainer, &weights, 0, &[&queries_and_keys[..], &[29]].concat());
}

#[test]
fn a_bad_gradient_moves_nothing_where_updates_come_after_the_backward_pass() {
    for bad in [9 + 1, 9 + 8, 2 * 9 + 9] {
        let mut trainer = trainer(FORMS[bad % 2], false, "sgd", false);
        let name = trainer.config().model.parameters()[bad].name.clone();
        let weights = overflowing(&block_on(trainer.snapshot()).unwrap().parameters, bad);
        trainer.set_weights(&weights);
        let result = block_on(trainer.step());
        let message = result.and(block_on(trainer.drain())).unwrap_err().to_string();
        assert!(message.contains(&format!("the gradient of {name} is not finite")), "{message}");
        assert_eq!(block_on(trainer.snapshot()).unwrap().parameters, weights, "{name}");
    }
}

#[test]
fn a_gradient_that_is_gone_is_not_read() {
    let message = block_on(trainer(FORMS[0], true, "sgd", true).gradient("model.norm.weight")).unwrap_err().to_string();
    assert!(message.contains("train.fused_update: no gradient outlives its update"), "{message}");
}
