use multinorm::kernels::subspace::renew_basis;
use multinorm::reference::galore::leading_vectors;
use multinorm::reference::gram_schmidt::orthonormalize;

use super::sgd::{halted, statistics, step};
use crate::support::{Case, FORMS, Form, assert_close, random, widen};

/// The leading singular vectors of `gradient` that the device finds in each of these steps.
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

/// Similar to U·diag(decayⁱ)·Vᵀ: a sum of ever smaller products of random vectors.
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
fn many_directions_are_told_apart_over_three_orders_of_magnitude() {
    // Odd and even numbers of rows, below and above the number of lanes in a workgroup.
    for (form, shape @ [m, n], rank) in
        [(FORMS[0], [90, 120], 85), (FORMS[1], [301, 67], 61), (FORMS[1], [270, 280], 266)]
    {
        let small = m.min(n);
        let g = decaying(shape, small, 1e-3f32.powf(1.0 / small as f32));
        let [basis] = &bases(form, &g, shape, rank, &[1], false)[..] else { panic!("one basis") };
        let along = widen(&g);
        let column = |k: usize| (0..small).map(move |i| f64::from(basis[i * rank + k]));
        // The gradient's length along each direction, that is, its decreasing singular values.
        let image = |k: usize| -> Vec<f64> {
            let u: Vec<f64> = column(k).collect();
            match m <= n {
                true => (0..n).map(|j| (0..m).map(|i| u[i] * along[i * n + j]).sum()).collect(),
                false => (0..m).map(|i| (0..n).map(|j| u[j] * along[i * n + j]).sum()).collect(),
            }
        };
        let images: Vec<Vec<f64>> = (0..rank).map(image).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let lengths: Vec<f64> = images.iter().map(|x| dot(x, x).sqrt()).collect();
        assert!(lengths.windows(2).all(|pair| pair[1] <= pair[0] * 1.0001), "{shape:?}: {lengths:?}");
        for (a, b) in (0..rank).step_by(7).flat_map(|a| (a..rank).step_by(5).map(move |b| (a, b))) {
            let apart = dot(&column(a).collect::<Vec<_>>(), &column(b).collect::<Vec<_>>());
            assert!((apart - f64::from(u8::from(a == b))).abs() < 2e-5, "{shape:?}: {a} and {b}: {apart}");
            let cosine = dot(&images[a], &images[b]) / (lengths[a] * lengths[b]);
            assert!(a == b || cosine.abs() < 2e-3, "{shape:?}: images of {a} and {b}: {cosine}");
        }
    }
}

/// Orthonormal rows u and v, and U·diag(σ)·Vᵀ with as many of them as there are σ.
fn with_singular_values(sigma: &[f64], [m, n]: [usize; 2]) -> (Vec<f64>, Vec<f32>) {
    let orthonormal = |cols: usize, seed: u64| {
        let mut rows = widen(&random(sigma.len() * cols, seed));
        orthonormalize(&mut rows, cols);
        rows
    };
    let (u, v) = (orthonormal(m, 3), orthonormal(n, 4));
    let at =
        |i: usize, j: usize| -> f64 { sigma.iter().enumerate().map(|(k, s)| s * u[k * m + i] * v[k * n + j]).sum() };
    let g = (0..m * n).map(|index| at(index / n, index % n) as f32).collect();
    (u, g)
}

#[test]
fn a_search_keeps_what_is_ten_thousand_times_smaller_than_the_largest() {
    // Fewer directions than there are, so that the search must find the right ones.
    let shape @ [m, n] = [64, 96];
    let sigma: Vec<f64> = (0..m)
        .map(|k| {
            if k == 0 {
                1.0
            } else if k < 12 {
                1e-4
            } else {
                1e-6
            }
        })
        .collect();
    let (u, g) = with_singular_values(&sigma, shape);
    for form in FORMS {
        let [basis] = &bases(form, &g, [m, n], 12, &[1], false)[..] else { panic!("one basis") };
        for (k, u) in u.chunks(m).take(12).enumerate() {
            let along = |column: usize| (0..m).map(|i| u[i] * f64::from(basis[i * 12 + column])).sum::<f64>();
            let kept: f64 = (0..12).map(|column| along(column).powi(2)).sum();
            assert!((kept - 1.0).abs() < 1e-4, "{form:?}: of direction {k} {kept} is kept");
        }
    }
}

#[test]
fn a_basis_is_orthonormal_to_the_last_of_eight_orders_of_magnitude() {
    let sigma: Vec<f64> = (0..64).map(|k| 10f64.powf(-8.0 * f64::from(k) / 64.0)).collect();
    let (_, g) = with_singular_values(&sigma, [64, 96]);
    // A row is rotated in 63 rounds in each of 9 + 6 sweeps, and then twice becomes the sum of 64 others. Each
    // rotation's cosine and sine, and each term of a sum, has a random error of about 2⁻²⁴, so a length is off by about
    // √n·2⁻²⁴. The worst of 60 rows and 1770 products is within four times that, 7.8e-6. The worst seen is 3.6e-6, on
    // NVIDIA.
    let tolerance = 4.0 * f64::from((9 + 6) * 63 + 2 * 64).sqrt() * 2f64.powi(-24);
    for form in FORMS {
        let [basis] = &bases(form, &g, [64, 96], 60, &[1], false)[..] else { panic!("one basis") };
        for (a, b) in (0..60).flat_map(|a| (a..60).map(move |b| (a, b))) {
            let product: f64 = (0..64).map(|i| f64::from(basis[i * 60 + a]) * f64::from(basis[i * 60 + b])).sum();
            assert!((product - f64::from(u8::from(a == b))).abs() < tolerance, "{form:?}: {a} and {b}: {product}");
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
            let column = |k: usize| (0..6).map(move |i| f64::from(basis[i * 4 + k]));
            for (a, b) in (0..4).flat_map(|a| (a..4).map(move |b| (a, b))) {
                let product: f64 = column(a).zip(column(b)).map(|(a, b)| a * b).sum();
                // One direction, a different one, or none.
                let wanted = if a == b && product > 0.5 { 1.0 } else { 0.0 };
                assert!((product - wanted).abs() < 1e-5, "{what}: {a} and {b}: {basis:?}");
            }
        }
    }
}
