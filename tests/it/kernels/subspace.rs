use multinorm::gpu::Form;
use multinorm::kernels::subspace::renew_basis;
use multinorm::reference::galore::leading_vectors;

use super::sgd::{halted, statistics, step};
use crate::support::{Case, FORMS, assert_close, random, widen};

/// The leading singular vectors of `gradient` as the device finds them in each of these steps.
fn bases(
    form: Form,
    gradient: &[f32],
    shape @ [m, n]: [usize; 2],
    rank: usize,
    steps: &[u32],
    halt: bool,
) -> Vec<Vec<f32>> {
    let mut case = Case::new(form);
    let g = case.input(&shape, gradient);
    let before = vec![7.0f32; m.min(n) * rank];
    let basis = case.input(&[m.min(n), rank], &before);
    let statistics = if halt { halted(&mut case) } else { statistics(&mut case) };
    let numbers = step(&mut case);
    renew_basis(&mut case.rec, &g, &basis, [&statistics, &numbers], 3, 5);
    let done = case.allocate();
    let at = |&number: &u32| {
        done.write(&numbers, &[1.0f32.to_bits(), number, 9, 0]);
        done.run();
        done.read(&basis)
    };
    steps.iter().map(at).collect()
}

/// U·diag(decayⁱ)·Vᵀ-like: products of random vectors, ever smaller.
fn decaying([m, n]: [usize; 2], terms: usize, decay: f32) -> Vec<f32> {
    let mut g = vec![0.0; m * n];
    for term in 0..terms {
        let (u, v) = (random(m, 50 + term as u64), random(n, 150 + term as u64));
        (0..m * n).for_each(|at| g[at] += 1e-4 * decay.powi(term as i32) * u[at / n] * v[at % n]);
    }
    g
}

#[test]
fn leading_vectors_of_a_decaying_spectrum_are_found() {
    for form in FORMS {
        for shape @ [m, n] in [[40, 67], [67, 40], [33, 33], [1, 5], [5, 1]] {
            let g = decaying(shape, 20, 0.6);
            let rank = 5.min(m).min(n);
            let [basis] = &bases(form, &g, shape, rank, &[1], false)[..] else { panic!("one basis") };
            let (small, large) = (m.min(n), m.max(n));
            let along: Vec<f64> = widen(&g);
            let along = match m >= n {
                true => (0..small * large).map(|k| along[(k % large) * n + k / large]).collect(),
                false => along,
            };
            let want = leading_vectors(&along, small, large, rank);
            assert_close(format!("{form:?} {shape:?}"), basis, &want, 2e-4);
        }
    }
}

#[test]
fn a_basis_is_renewed_when_it_is_due_and_never_in_a_halted_run() {
    let g = decaying([6, 9], 6, 0.5);
    let [first, second, third, fourth] = &bases(FORMS[0], &g, [6, 9], 2, &[2, 3, 4, 5], false)[..] else {
        panic!("four")
    };
    assert!(first.iter().chain(second).all(|x| *x == 7.0), "not due in steps 2 and 3");
    assert!(third.iter().all(|x| x.abs() <= 1.0) && third == fourth, "{third:?}");
    let [halted] = &bases(FORMS[0], &g, [6, 9], 2, &[1], true)[..] else { panic!("one") };
    assert!(halted.iter().all(|x| *x == 7.0));
}

#[test]
fn gradients_without_so_many_directions_make_no_nan() {
    for form in FORMS {
        for (g, what) in [(vec![0.0; 54], "zero"), (decaying([6, 9], 1, 1.0), "rank one"), (vec![1e-30; 54], "tiny")] {
            let [basis] = &bases(form, &g, [6, 9], 4, &[1], false)[..] else { panic!("one basis") };
            assert!(basis.iter().all(|x| x.is_finite() && x.abs() < 1.001), "{what}: {basis:?}");
        }
    }
}
