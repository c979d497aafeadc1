use multinorm::config::{Pass, Spectral, SpectralVariant};
use multinorm::kernels::newton_schulz::symmetric_product;
use multinorm::optim::reference_pass;
use multinorm::reference;
use multinorm::reference::newton_schulz::Sequence;

use super::scaled::{normalized, uneven};
use crate::support::{Case, FORMS, assert_close, random, widen};

/// The worst seen is 1.5e-5, for Muon's quintic, which pulls apart values near its unstable fixed point.
const TOLERANCE: f64 = 1e-4;

const SPECTRALS: [Spectral; 4] = [
    Spectral { variant: SpectralVariant::Cubic, steps: 10 },
    Spectral { variant: SpectralVariant::Muon, steps: 5 },
    Spectral { variant: SpectralVariant::PolarExpress, steps: 8 },
    Spectral { variant: SpectralVariant::MuonRefined, steps: 10 },
];

fn sequence(kind: Spectral) -> Sequence {
    match kind.variant {
        SpectralVariant::Cubic => Sequence::Cubic,
        SpectralVariant::Muon => Sequence::Muon,
        SpectralVariant::PolarExpress => Sequence::PolarExpress,
        SpectralVariant::MuonRefined => Sequence::MuonRefined,
    }
}

/// The factor by which all steps together amplify a tiny singular value.
pub fn growth(kind: Spectral) -> f64 {
    let steps = kind.steps as usize;
    (0..steps).map(|step| sequence(kind).coefficients(step, steps)[0]).product()
}

#[test]
fn every_sequence_agrees_with_the_reference_on_every_shape() {
    for form in FORMS {
        // Tiny, tall, wide, square; with and without padding; larger than a tile.
        for [m, n] in [[1, 1], [1, 9], [9, 1], [3, 5], [5, 3], [13, 13], [21, 70], [70, 21], [68, 132], [33, 259]] {
            let g = random(m * n, 1);
            for kind in SPECTRALS {
                let got = normalized(form, &g, [m, n], &[Pass::Spectral(kind)]);
                let what = format!("{form:?} {} of {m}x{n}", Pass::Spectral(kind));
                assert_close(what, &got, &reference_pass(Pass::Spectral(kind), &widen(&g), [m, n]), TOLERANCE);
            }
        }
    }
}

#[test]
fn scale_rank_and_zero_rows_do_no_harm() {
    let [m, n] = [24, 40];
    let (u, v) = (random(m * 3, 2), random(3 * n, 3));
    let low_rank: Vec<f32> =
        reference::matmul::nn(&widen(&u), &widen(&v), [m, n, 3]).iter().map(|&x| x as f32).collect();
    let mut zero_rows = random(m * n, 4);
    zero_rows[3 * n..5 * n].fill(0.0);
    let row_of_one = random(n, 5);
    for form in FORMS {
        for (name, [m, n], g) in [
            ("rank 3", [m, n], &low_rank),
            ("zero rows", [m, n], &zero_rows),
            ("uneven", [m, n], &uneven(m, n, 6)),
            ("one row", [1, n], &row_of_one),
        ] {
            for scale in [1e-12f32, 1.0, 1e12] {
                let g: Vec<f32> = g.iter().map(|g| scale * g).collect();
                for kind in SPECTRALS {
                    let got = normalized(form, &g, [m, n], &[Pass::Spectral(kind)]);
                    // At low rank, every step multiplies rounding errors in the null space by its a; the worst seen is
                    // 3.3e-7 times the product.
                    let growth = if name == "rank 3" { growth(kind) } else { 0.0 };
                    let tolerance = TOLERANCE.max(1e-6 * growth);
                    let what = format!("{form:?} {} of {name} times {scale:e}", Pass::Spectral(kind));
                    assert_close(what, &got, &reference_pass(Pass::Spectral(kind), &widen(&g), [m, n]), tolerance);
                }
            }
        }
    }
}

#[test]
fn symmetric_products_are_whole_matrices() {
    let [alpha, beta, gamma] = [0.5, -1.5, 0.25];
    for form in FORMS {
        for [m, k] in [[1, 4], [4, 4], [9, 20], [64, 16], [65, 36], [131, 8]] {
            let mut case = Case::new(form);
            let (x, x_values) = case.random(&[m, k], 1);
            let z_values: Vec<f32> = {
                let z = random(m * m, 2);
                (0..m * m).map(|at| z[at / m * m + at % m] + z[at % m * m + at / m]).collect()
            };
            let z = case.input(&[m, m], &z_values);
            let (y, plain) = (case.output(&[m, m]), case.output(&[m, m]));
            symmetric_product(&mut case.rec, &x, &z, &y, [alpha, beta, gamma]);
            symmetric_product(&mut case.rec, &x, &z, &plain, [1.0, 0.0, 0.0]);
            let done = case.run();
            let product = reference::matmul::nt(&x_values, &x_values, [m, m, k]);
            assert_close(format!("{form:?} {m}x{k}"), &done.read(&plain), &product, TOLERANCE);
            let want: Vec<f64> = (0..m * m)
                .map(|at| {
                    let identity = f64::from(u8::from(at / m == at % m));
                    alpha * product[at] + beta * f64::from(z_values[at]) + gamma * identity
                })
                .collect();
            assert_close(format!("{form:?} {m}x{k} with z"), &done.read(&y), &want, TOLERANCE);
        }
    }
}

#[test]
fn a_batch_of_matrices_comes_to_the_bits_of_each_alone() {
    use multinorm::kernels::newton_schulz::newton_schulz;
    use multinorm::kernels::scaled::Scaled;
    let steps: Vec<[f64; 3]> =
        (0..3).map(|step| Sequence::Muon.coefficients(step, 3)).chain([[2.0, -1.0, 0.0]]).collect();
    for form in FORMS {
        // A single 260 × 264 matrix would have its inner dimension split into parts.
        for [m, n] in [[1, 9], [13, 13], [21, 70], [70, 21], [131, 68], [260, 264]] {
            let mut case = Case::new(form);
            let matrices: Vec<Vec<f32>> = (1..4).map(|seed| random(m * n, seed)).collect();
            let all = case.input(&[3 * m, n], &matrices.concat());
            let together = case.output(&[3 * m, n]);
            newton_schulz(&mut case.rec, &Scaled::batch(&all, 3, [m, n]), &together, &steps, 2.0);
            let alone = [0, 1, 2].map(|at: usize| {
                let (x, y) = (case.input(&[m, n], &matrices[at]), case.output(&[m, n]));
                newton_schulz(&mut case.rec, &Scaled::new(&x), &y, &steps, 2.0);
                y
            });
            let done = case.run();
            let together = done.read(&together);
            for (at, y) in alone.iter().enumerate() {
                let of_batch = &together[at * m * n..][..m * n];
                assert!(
                    of_batch.iter().zip(done.read(y)).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{form:?} {m}x{n} {at}"
                );
            }
        }
    }
}

#[test]
fn matrices_are_widened_and_narrowed_together() {
    use multinorm::kernels::newton_schulz::{NARROW, WIDEN};
    for form in FORMS {
        for ([m, n], tall) in [([3, 5], 0.0), ([6, 3], 1.0)] {
            let mut case = Case::new(form);
            let (gradient, g) = case.random(&[2 * m, n], 1);
            let ((r, rows), (c, columns)) = (case.random(&[2 * m], 2), case.random(&[2, n], 3));
            let factor = case.input(&[2], &[2.0f32, -0.5]);
            let [wide_rows, wide_cols] = [4, 8];
            let (wide, x) = (case.output(&[2, wide_rows, wide_cols]), case.output(&[2 * m, n]));
            let constant = |name, value: usize| (name, value as f64);
            let shape = [
                constant("MATRICES", 2),
                constant("ROWS", m),
                constant("COLS", n),
                constant("WIDE_ROWS", wide_rows),
                constant("WIDE_COLS", wide_cols),
                ("TALL", tall),
            ];
            let flags = [("HAS_ROWS", 1.0), ("HAS_COLS", 1.0)];
            let bindings = [&gradient, &r, &c, &factor, &wide];
            case.rec.dispatch(&WIDEN, &bindings, &[&shape[..], &flags].concat(), [1, 1, 1]);
            case.rec.dispatch(&NARROW, &[&wide, &x], &[&shape[..], &[("SCALE", 3.0)]].concat(), [1, 1, 1]);
            let done = case.run();
            let want: Vec<f64> = (0..2 * m * n)
                .map(|at| {
                    let matrix = at / (m * n);
                    3.0 * [2.0, -0.5][matrix] * g[at] * rows[at / n] * columns[matrix * n + at % n]
                })
                .collect();
            assert_close(format!("{form:?} {m}x{n}"), &done.read(&x), &want, 1e-6);
            let zeros = done.read(&wide).iter().filter(|x| **x == 0.0).count();
            assert_eq!(zeros, 2 * (wide_rows * wide_cols - m * n), "{form:?} {m}x{n}: the rest is padding");
        }
    }
}
