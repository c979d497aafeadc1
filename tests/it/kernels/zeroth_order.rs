use multinorm::gpu::Tensor;
use multinorm::kernels::norms::Statistics;
use multinorm::kernels::subspace::random_basis;
use multinorm::kernels::zeroth_order::{PerturbConstants, Stage, TwoPoint, perturb, perturb_low_rank, two_point};
use multinorm::reference::subzero::Subspaces;
use multinorm::reference::zeroth_order::{self, Mezo};

use super::sgd::{halted, statistics, step};
use crate::support::{Case, Done, FORMS, assert_close, random, widen};

const CONSTANTS: PerturbConstants = PerturbConstants { eps: 1e-3, lr: 0.25, weight_decay: 0.125 };
const HYPER: Mezo = Mezo { eps: CONSTANTS.eps, weight_decay: CONSTANTS.weight_decay };
const SCHEDULE: f32 = 0.75;
const STREAM: u32 = 3;
const SEED: u32 = 11;
const NUMBER: u32 = 6;

const TO_PLUS: [f32; 4] = [1.0, 0.0, 0.0, 0.0];
const TO_MINUS: [f32; 4] = [-2.0, 0.0, 1.0, 0.0];
const BACK: [f32; 4] = [1.0, 0.0, 1.0, 0.0];

/// A recorded move and its weights.
struct Moves {
    done: Done,
    weight: Tensor,
    how: Tensor,
}

impl Moves {
    fn new(mut case: Case, values: &[f32], shape: &[usize], record: impl Fn(&mut Case, &Tensor, [&Tensor; 2])) -> Self {
        let weight = case.input(shape, values);
        let (how, numbers) = (case.input(&[4], &[f32::NAN; 4]), step(&mut case));
        record(&mut case, &weight, [&how, &numbers]);
        let done = case.allocate();
        done.write(&numbers, &[SCHEDULE.to_bits(), NUMBER, SEED, 0]);
        Self { done, weight, how }
    }

    /// The weights after one move.
    fn go(&self, how: [f32; 4]) -> Vec<f32> {
        self.done.write(&self.how, &how);
        self.done.run();
        self.done.read(&self.weight)
    }
}

/// Weights of every magnitude, from zero to hundreds.
fn weights(len: usize) -> Vec<f32> {
    let sizes = [1.0, 0.0, 1e-3, 1e-9, 40.0, 300.0, 1e-30, 0.02];
    random(len, 4).iter().enumerate().map(|(at, w)| w * sizes[at % sizes.len()]).collect()
}

/// Moves there and back, then an update; z is the expected direction.
fn check(what: &str, moves: &Moves, before: &[f32], z: &[f64], tolerance: f64) {
    let quantum = CONSTANTS.quantum();
    let settled: Vec<f64> = before.iter().map(|&w| HYPER.settled(w.into())).collect();
    let plus = moves.go(TO_PLUS);
    // Both are multiples of the same spacing, so their difference is exactly the change.
    let change: Vec<f64> = plus.iter().zip(&settled).map(|(plus, w)| f64::from(*plus) - w).collect();
    for (at, (d, z)) in change.iter().zip(z).enumerate() {
        let off = (d - HYPER.eps * z).abs();
        assert!(off <= 0.5 * quantum + tolerance * HYPER.eps, "{what} at {at}: {d} of {z}");
        assert_eq!(d % quantum, 0.0, "{what} at {at}: {d}");
    }
    let minus = widen(&moves.go(TO_MINUS));
    assert!(minus.iter().zip(&settled).zip(&change).all(|((minus, w), d)| *minus == w - d), "{what}: w - d");
    let back = widen(&moves.go(BACK));
    assert!(back == settled, "{what}: back to the last bit");

    let mut want = settled;
    moves.go(TO_PLUS);
    moves.go(TO_MINUS);
    let gradient = -1.5;
    let got = moves.go([1.0, gradient, 2.0, 1.0]);
    zeroth_order::step(&HYPER, &mut want, &change, gradient.into(), CONSTANTS.lr * f64::from(SCHEDULE));
    for (at, ((got, want), before)) in got.iter().zip(&want).zip(before).enumerate() {
        // One spacing of the grid to which the weight is rounded.
        let spacing = (want.abs() + f64::from(before.abs()) + CONSTANTS.reach()) * 2f64.powi(-22);
        assert!((f64::from(*got) - want).abs() <= spacing, "{what} at {at}: {got} {want}");
    }
}

#[test]
fn weights_go_along_normal_numbers_and_come_back_to_the_last_bit() {
    for form in FORMS {
        for shape in [&[1][..], &[64], &[7, 13], &[65, 67]] {
            let len = shape.iter().product();
            let before = weights(len);
            let moves = Moves::new(Case::new(form), &before, shape, |case, weight, numbers| {
                perturb(&mut case.rec, weight, numbers, (STREAM, 0), CONSTANTS);
            });
            let z = zeroth_order::direction(len, NUMBER, [STREAM, SEED]);
            check(&format!("{form:?} {shape:?}"), &moves, &before, &z, 2e-6);
        }
    }
}

#[test]
fn weights_go_along_a_product_and_come_back_to_the_last_bit() {
    for form in FORMS {
        for (shape @ [m, n], rank) in [([1, 1], 1), ([7, 13], 3), ([65, 67], 8), ([30, 5], 5)] {
            let before = weights(m * n);
            let (left, right) = (random(m * rank, 7), random(rank * n, 8));
            let scale = 0.5;
            let moves = Moves::new(Case::new(form), &before, &shape, |case, weight, numbers| {
                let factors = [case.input(&[m, rank], &left), case.input(&[rank, n], &right)];
                perturb_low_rank(&mut case.rec, weight, factors.each_ref(), numbers, scale, CONSTANTS);
            });
            let at = |i: usize, j: usize| -> f64 {
                (0..rank).map(|k| f64::from(left[i * rank + k]) * f64::from(right[k * n + j])).sum()
            };
            let z: Vec<f64> = (0..m * n).map(|index| scale * at(index / n, index % n)).collect();
            check(&format!("{form:?} {shape:?}"), &moves, &before, &z, 4e-6);
        }
    }
}

#[test]
fn a_huge_direction_is_cut_off_where_single_precision_still_comes_back() {
    let case = Case::new(FORMS[0]);
    let moves = Moves::new(case, &[0.5], &[1, 1], |case, weight, numbers| {
        let factors = [case.input(&[1, 1], &[1000.0f32]), case.input(&[1, 1], &[1.0f32])];
        perturb_low_rank(&mut case.rec, weight, factors.each_ref(), numbers, 1.0, CONSTANTS);
    });
    assert_eq!(f64::from(moves.go(TO_PLUS)[0]), 0.5 + CONSTANTS.reach());
    assert_eq!([moves.go(TO_MINUS), moves.go(BACK)].concat(), [(0.5 - CONSTANTS.reach()) as f32, 0.5]);
}

#[test]
fn random_bases_are_the_reference_s_and_stay_for_an_interval() {
    for form in FORMS {
        for (rank, len) in [(1, 1), (3, 7), (8, 67), (5, 5), (60, 90), (90, 120), (300, 310)] {
            let mut case = Case::new(form);
            let basis = case.output(&[rank, len]);
            let (statistics, numbers) = (statistics(&mut case), step(&mut case));
            random_basis(&mut case.rec, &basis, [&statistics, &numbers], 4, STREAM);
            let done = case.allocate();
            let of = |number: u32, query: u32| {
                done.write(&numbers, &[1.0f32.to_bits(), number, SEED, query]);
                done.run();
                done.read(&basis)
            };
            let want = |number: u32| Subspaces::at([len, len], rank, 4, number, [STREAM; 2], SEED).left;
            let first = of(1, 0);
            assert_close(format!("{form:?} {rank}×{len}"), &first, &want(1), 2e-5);
            // No new basis in the steps in between, nor for a step's second direction.
            assert!(of(4, 0) == first && of(5, 1) == first);
            assert_close(format!("{form:?} {rank}×{len} anew"), &of(5, 0), &want(5), 2e-5);
        }
    }
}

#[test]
fn no_basis_is_drawn_in_a_halted_run() {
    let mut case = Case::new(FORMS[0]);
    let basis = case.input(&[2, 3], &[7.0f32; 6]);
    let (statistics, numbers) = (halted(&mut case), step(&mut case));
    random_basis(&mut case.rec, &basis, [&statistics, &numbers], 4, STREAM);
    let done = case.allocate();
    done.write(&numbers, &[1.0f32.to_bits(), 1, SEED, 0]);
    done.run();
    assert_eq!(done.read(&basis), [7.0; 6]);
}

/// The output of [`two_point`]: how to move the weights, the gradients along the directions, and the statistics.
struct Left {
    how: Vec<f32>,
    along: Vec<f32>,
    statistics: Vec<f32>,
}

/// Runs one stage in a step of three directions; the statistics start at 0.5.
fn after(stage: Stage, losses: [f32; 2], query: u32, max_norm: f64, clip: f32) -> Left {
    let mut case = Case::new(FORMS[0]);
    let [plus, minus] = losses.map(|loss| case.input(&[1], &[loss]));
    let along = case.input(&[3], &[10.0f32, 20.0, 30.0]);
    let statistics = case.input(&[3], &[0.5, clip, 0.5]);
    let (how, numbers) = (case.output(&[4]), step(&mut case));
    let two =
        TwoPoint { losses: [&plus, &minus], along: &along, statistics: &statistics, how: &how, eps: 0.125, max_norm };
    two_point(&mut case.rec, &numbers, two, stage);
    let done = case.allocate();
    done.write(&numbers, &[1.0f32.to_bits(), 1, SEED, query | 2 << 16]);
    done.run();
    let [how, along, statistics] = [how, along, statistics].map(|tensor| done.read(&tensor));
    Left { how, along, statistics }
}

#[test]
fn two_losses_make_a_gradient_and_say_how_weights_move() {
    let losses = [3.0, 2.0];
    let to_plus = after(Stage::Plus, losses, 0, 0.0, 1.0);
    assert_eq!(to_plus.how[..3], [1.0, 0.0, 0.0]);
    let to_minus = after(Stage::Minus, losses, 0, 0.0, 1.0);
    assert_eq!(to_minus.how[..3], [-2.0, 0.0, 1.0]);
    for left in [to_plus, to_minus] {
        assert_eq!((&left.along[..], &left.statistics[..]), (&[10.0, 20.0, 30.0][..], &[0.5, 1.0, 0.5][..]));
    }
    // (3 - 2)/(2·0.125) = 4; each direction adds a third of the loss 2.5 and, under the root, a third of 4².
    let close = |got: &[f32], want: [f32; 3]| got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-5);
    let first = after(Stage::Back, losses, 0, 0.0, 1.0);
    assert_eq!((&first.along[..], &first.how[..3]), (&[4.0, 20.0, 30.0][..], &[1.0, 0.0, 1.0][..]));
    assert!(close(&first.statistics, [2.5 / 3.0, 1.0, (16.0f32 / 3.0).sqrt()]), "{:?}", first.statistics);
    let second = after(Stage::Back, losses, 1, 0.0, 1.0);
    assert!(second.along == [10.0, 4.0, 30.0] && second.how[1] == 0.0);
    assert!(
        close(&second.statistics, [0.5 + 2.5 / 3.0, 1.0, (0.25f32 + 16.0 / 3.0).sqrt()]),
        "{:?}",
        second.statistics
    );
    let last = after(Stage::Back, losses, 2, 0.0, 1.0);
    assert!(close(&last.how, [1.0, 4.0 / 3.0, 2.0]) && last.how[3] == 1.0, "{:?}", last.how);
    let earlier = after(Stage::Along, losses, 1, 0.0, 1.0);
    assert!(close(&earlier.how, [0.0, 20.0 / 3.0, 2.0]) && earlier.how[3] == 0.0, "{:?}", earlier.how);
}

#[test]
fn the_gradient_along_a_direction_is_clipped() {
    let losses = [2.0, 3.0];
    for (max_norm, want) in [(0.0, -4.0), (8.0, -4.0), (1.0, -1.0)] {
        let left = after(Stage::Back, losses, 2, max_norm, 1.0);
        assert!((left.along[2] - want).abs() < 1e-5, "{max_norm}: {:?}", left.along);
        assert!((left.statistics[Statistics::NORM] - (0.25f32 + 16.0 / 3.0).sqrt()).abs() < 1e-5, "as it was before");
    }
}

#[test]
fn a_loss_that_is_not_finite_halts_the_run() {
    let bad = [[f32::NAN, 1.0], [1.0, f32::INFINITY], [f32::NEG_INFINITY, f32::INFINITY]];
    for (losses, clip) in bad.map(|losses| (losses, 1.0)).into_iter().chain([([1.0, 2.0], -1.0)]) {
        let back = after(Stage::Back, losses, 2, 1.0, clip);
        assert_eq!(back.statistics[Statistics::CLIP], -1.0, "{losses:?}");
        assert_eq!(back.how[..3], [1.0, 0.0, 1.0], "{losses:?}: back, and no further");
    }
    assert_eq!(after(Stage::Along, [1.0, 2.0], 0, 0.0, -1.0).how[..3], [0.0, 0.0, 1.0]);
}
