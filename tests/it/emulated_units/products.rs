use half::f16;
use multinorm::gpu::DType;
use multinorm::kernels::matmul::{self, Layout, Numbers, Product, Tile, Variant};
use multinorm::kernels::swiglu::{swiglu, swiglu_of_products};
use multinorm::kernels::{Output, Target, bench};

use super::{case, run};
use crate::kernels::matmul::{SPLIT_TOLERANCE, TOLERANCE, reference_of};
use crate::support::{OUTPUTS, assert_close, assert_close_in, random, sum, widen};

/// Checks a product with `matmul_units`.
fn check(layout: Layout, mnk: [usize; 3], parts: usize, output: Output) {
    let mut case = case();
    let [a_shape, b_shape] = layout.operands(mnk);
    let (a, a_values) = case.random(&a_shape, 1);
    let (b, b_values) = case.random(&b_shape, 2);
    let (y, before) = case.target(&mnk[..2], output, 5);
    let (product, variant) =
        (Product { layout, mnk, matrices: 1, numbers: Numbers::Single }, Variant { tile: &matmul::UNITS, parts });
    matmul::record(&mut case.rec, &product, variant, [&a, &b], Target::new(&y, output));
    let want = sum(&before, &reference_of(layout, &a_values, &b_values, mnk));
    let what = format!("emulated {layout:?} {mnk:?} in {parts}, {output:?}");
    assert_close(what, &run(case).read(&y), &want, SPLIT_TOLERANCE);
}

// The driver takes seconds to compile a kernel for each shape and layout, so each occurs once here, and each layout
// extends beyond a tile in both directions.

#[test]
fn a_product_beyond_a_tile_is_added_to_what_is_there() {
    check(Layout::Nt, [160, 144, 100], 1, Output::Accumulate);
}

#[test]
fn a_product_in_parts_is_their_sum() {
    for output in OUTPUTS {
        check(Layout::Nn, [160, 144, 100], 3, output);
    }
}

#[test]
fn a_product_of_several_tiles_is_written() {
    check(Layout::Tn, [144, 272, 36], 1, Output::Write);
}

#[test]
fn a_product_of_one_whole_tile_is_written() {
    check(Layout::Tn, [128, 128, 16], 1, Output::Write);
}

#[test]
fn a_product_of_few_rows_and_many_depths_is_written() {
    check(Layout::Nt, [16, 48, 260], 1, Output::Write);
}

#[test]
fn matrices_of_every_size_keep_their_digits() {
    const SIZES: [[f32; 2]; 6] = [[1e-12, 1e-12], [1e-12, 1.0], [1e-6, 1e12], [1.0, 1.0], [1e12, 1e-12], [1e12, 1e12]];
    let mnk @ [m, n, k] = [32, 48, 20];
    let mut case = case();
    let mut checks = Vec::new();
    for layout in Layout::ALL {
        // Matrices of different magnitudes in one tensor, each to be scaled by its own largest number.
        let [a, b] = [m * k, n * k].map(|len| random(SIZES.len() * len, len as u64));
        let sized = |values: &[f32], operand: usize| -> Vec<f32> {
            let matrices = values.chunks(values.len() / SIZES.len()).zip(SIZES);
            matrices.flat_map(|(matrix, sizes)| matrix.iter().map(move |x| sizes[operand] * x)).collect()
        };
        let (a, b) = (sized(&a, 0), sized(&b, 1));
        let pairs = a.chunks(m * k).zip(b.chunks(k * n));
        let want: Vec<_> = pairs.map(|(a, b)| reference_of(layout, &widen(a), &widen(b), mnk)).collect();
        let [a_shape, b_shape] = layout.operands(mnk).map(|[rows, cols]| [SIZES.len(), rows, cols]);
        let (a, b, y) = (case.input(&a_shape, &a), case.input(&b_shape, &b), case.output(&[SIZES.len(), m, n]));
        let product = Product { layout, mnk, matrices: SIZES.len(), numbers: Numbers::Single };
        let variant = Variant { tile: &matmul::UNITS, parts: 1 };
        matmul::record(&mut case.rec, &product, variant, [&a, &b], Target::new(&y, Output::Write));
        checks.push((layout, y, want));
    }
    let done = run(case);
    for (layout, y, want) in checks {
        for ((found, want), [of_a, of_b]) in done.read(&y).chunks(m * n).zip(want).zip(SIZES) {
            assert_close(format!("emulated {layout:?} of {of_a:e} and {of_b:e}"), found, &want, SPLIT_TOLERANCE);
        }
    }
}

#[test]
fn the_ceiling_of_matrix_units_adds_up_its_rounds() {
    const ROUNDS: u32 = 3;
    let mut case = case();
    let halves = |len, seed| random(len, seed).into_iter().map(half::f16::from_f32).collect::<Vec<_>>();
    let (a_values, b_values) = (halves(2 * 256, 1), halves(4 * 256, 2));
    let (a, b) = (case.input(&[2, 16, 16], &a_values), case.input(&[4, 16, 16], &b_values));
    let y = case.output(&[4, 2, 4, 16, 16]);
    bench::matrix_units(&mut case.rec, &a, &b, &y, ROUNDS);
    let wide = |values: &[half::f16]| values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let (a, b) = (wide(&a_values), wide(&b_values));
    let pairs = a.chunks(256).flat_map(|a| b.chunks(256).map(move |b| (a, b)));
    let products = pairs.flat_map(|(a, b)| reference_of(Layout::Nn, a, b, [16; 3]));
    let of_a_subgroup: Vec<f64> = products.map(|x| f64::from(ROUNDS) * x).collect();
    assert_close("emulated rounds", &run(case).read(&y), &of_a_subgroup.repeat(4), 1e-5);
}

/// Checks a half-precision product with a tile on matrix units; a weight's gradient divides out a loss scale of 64.
fn check_half(tile: &'static Tile, layout: Layout, mnk: [usize; 3], parts: usize, output: Output) {
    let mut case = case();
    let ([a_shape, b_shape], [type_a, type_b, type_y]) = (layout.operands(mnk), Numbers::Half.dtypes(layout));
    let (a, a_values) = case.random_in(type_a, &a_shape, 1);
    let (b, b_values) = case.random_in(type_b, &b_shape, 2);
    let (y, before) = case.target_in(type_y, &mnk[..2], output, 5);
    let factor = case.input(&[1], &[1.0f32 / 64.0]);
    let scale = if layout == Layout::Tn { 1.0 / 64.0 } else { 1.0 };
    let target = Target { factor: (layout == Layout::Tn).then_some(&factor), ..Target::new(&y, output) };
    let product = Product { layout, mnk, matrices: 1, numbers: Numbers::Half };
    matmul::record(&mut case.rec, &product, Variant { tile, parts }, [&a, &b], target);
    // Weights are converted to f16 on loading.
    let b_values: Vec<f64> = b_values.into_iter().map(|x| f64::from(half::f16::from_f64(x))).collect();
    let found: Vec<f64> = reference_of(layout, &a_values, &b_values, mnk).into_iter().map(|x| scale * x).collect();
    let what = format!("emulated {tile:?} {layout:?} {mnk:?} in {parts}, {output:?}");
    assert_close_in(type_y, what, &run(case).read(&y), &sum(&before, &found), TOLERANCE);
}

#[test]
fn half_precision_beyond_a_tile_in_every_layout() {
    for tile in [&matmul::HALF_UNITS, &matmul::HALF_UNITS_16] {
        for layout in Layout::ALL {
            check_half(tile, layout, [132, 148, 100], 1, Output::Accumulate);
        }
    }
}

#[test]
fn half_precision_in_parts_and_at_odd_sizes() {
    for layout in Layout::ALL {
        check_half(&matmul::HALF_UNITS, layout, [20, 260, 212], 3, Output::Write);
        check_half(&matmul::HALF_UNITS, layout, [4, 4, 4], 1, Output::Write);
    }
    check_half(&matmul::HALF_UNITS_16, Layout::Nt, [148, 12, 200], 2, Output::Accumulate);
}

#[test]
fn half_precision_by_subgroups_that_share_the_depths() {
    for layout in Layout::ALL {
        check_half(&matmul::HALF_UNITS_TILE_32, layout, [36, 44, 300], 1, Output::Accumulate);
        check_half(&matmul::HALF_UNITS_TILE_32, layout, [68, 20, 292], 2, Output::Write);
        check_half(&matmul::HALF_UNITS_TILE_32, layout, [4, 4, 4], 1, Output::Write);
    }
}

/// Checks that gate, up and SwiGLU in one kernel are bit-identical to two products and `swiglu`.
fn check_swiglu(mnk: [usize; 3]) {
    let [m, n, k] = mnk;
    let mut case = case();
    let product = Product { layout: Layout::Nt, mnk, matrices: 1, numbers: Numbers::Half };
    let tile = Variant { tile: &matmul::HALF_UNITS, parts: 1 };
    let what = product.what(&case.rec.profile);
    case.rec.profile.choices.insert(what, tile.to_string());
    let mut x_values = random(m * k, 1);
    x_values[..k].iter_mut().for_each(|x| *x *= 2e4); // so large that gate and up overflow
    let (x, x_values) = case.numbers(DType::F16, &[m, k], &x_values);
    let [(to_gate, gate_values), (to_up, up_values)] = [2, 3].map(|seed| case.random(&[n, k], seed));
    let [one, apart] = [(); 2].map(|()| [(); 3].map(|()| case.output_in(DType::F16, &[m, n])));
    swiglu_of_products(&mut case.rec, &x, [&to_gate, &to_up], one.each_ref());
    let chosen: Vec<_> = case.rec.choices().values().map(|choice| choice.variant.as_str()).collect();
    assert_eq!(chosen, ["matmul_swiglu_half_units"]);
    for (weight, y) in [(&to_gate, &apart[0]), (&to_up, &apart[1])] {
        matmul::record(&mut case.rec, &product, tile, [&x, weight], Target::new(y, Output::Write));
    }
    swiglu(&mut case.rec, &apart[0], &apart[1], &apart[2]);
    let done = run(case);
    // NaNs need not have the same bits.
    let bits = |x: f16| if x.is_nan() { None } else { Some(x.to_bits()) };
    for (name, one, apart) in [("gate", 0), ("up", 1), ("activated", 2)].map(|(name, at)| (name, &one[at], &apart[at]))
    {
        let [one, apart] =
            [one, apart].map(|tensor| done.read_as::<f16>(tensor).into_iter().map(bits).collect::<Vec<_>>());
        let differ = one.iter().zip(&apart).position(|(one, apart)| one != apart);
        assert_eq!(differ, None, "{name} of {mnk:?}: {} numbers a row", n);
    }
    // Apart from the row that overflows, gate and up match the reference products.
    for (name, y, weight) in [("gate", &one[0], gate_values), ("up", &one[1], up_values)] {
        let weight: Vec<f64> = weight.into_iter().map(|x| f64::from(f16::from_f64(x))).collect();
        let want = reference_of(Layout::Nt, &x_values, &weight, mnk);
        let what = format!("emulated {name} of {mnk:?}");
        assert_close_in(DType::F16, what, &done.read(y)[n..], &want[n..], TOLERANCE);
    }
}

#[test]
fn swiglu_in_its_products_has_the_bits_of_three_kernels() {
    for mnk in [[132, 148, 100], [260, 84, 36], [128, 64, 32], [20, 260, 212], [8, 4, 4]] {
        check_swiglu(mnk);
    }
}
