use multinorm::gpu::{Class, DType, Profile, Recorder};
use multinorm::kernels::Target;
use multinorm::kernels::matmul::{self, Layout, Numbers, Product, Variant, select, tiles};
use multinorm::reference;

use crate::support::{
    Case, FORMS, OUTPUTS, assert_close, assert_close_in, everything, full_gpu, full_software_gpu, random, sum,
    web_profile, widen,
};

/// `[M, N, K]` below, at and above blocks of 8 and tiles of 64 and 128; each dimension is not a multiple of 4 once.
const SHAPES: [[usize; 3]; 13] = [
    [1, 515, 130], // one row: matvec
    [65, 132, 36],
    [132, 68, 37],
    [65, 67, 68],
    [160, 144, 100],
    [72, 64, 16],
    [12, 20, 28],
    [4, 4, 4],
    [7, 13, 12],
    [9, 65, 17],
    [3, 200, 1],
    [1, 1, 1],
    [16, 48, 260],
];

/// For sums of K products of normal numbers; the worst seen is 1.1e-6.
pub const TOLERANCE: f64 = 6e-6;
/// The same with operands split into two halves; f32 rounding in the units' sums adds to the error.
pub const SPLIT_TOLERANCE: f64 = 4e-5;

/// The product in f64.
pub fn reference_of(layout: Layout, a: &[f64], b: &[f64], mnk: [usize; 3]) -> Vec<f64> {
    match layout {
        Layout::Nt => reference::matmul::nt(a, b, mnk),
        Layout::Nn => reference::matmul::nn(a, b, mnk),
        Layout::Tn => reference::matmul::tn(a, b, mnk),
    }
}

/// Every variant of a product that the profile allows.
fn check_variants(new_case: &dyn Fn() -> Case, what: &str, product: Product, accumulate: bool) {
    let Product { layout, mnk, numbers, .. } = product;
    let [m, n, _] = mnk;
    let mut case = new_case();
    let ([a_shape, b_shape], [type_a, type_b, type_y]) = (layout.operands(mnk), numbers.dtypes(layout));
    let (a, a_values) = case.random_in(type_a, &a_shape, 1);
    let (b, b_values) = case.random_in(type_b, &b_shape, 2);
    // A weight's gradient divides out the loss scale.
    let is_scaled = numbers == Numbers::Half && layout == Layout::Tn;
    let factor = case.input(&[1], &[1.0f32 / 64.0]);
    let scale = if is_scaled { 1.0 / 64.0 } else { 1.0 };
    let product_of =
        |b: &[f64]| -> Vec<f64> { reference_of(layout, &a_values, b, mnk).into_iter().map(|x| scale * x).collect() };
    let want = product_of(&b_values);
    // If the units multiply halves, weights are converted on loading.
    let b_of_halves: Vec<f64> = b_values.iter().map(|&x| f64::from(half::f16::from_f64(x))).collect();
    let want_of_halves = product_of(&b_of_halves);
    let mut checks = Vec::new();
    for tile in tiles(&case.rec.profile, &product) {
        let parts: &[usize] = if tile.splits { &[1, 3] } else { &[1] };
        for &parts in parts {
            if parts > 1 && n % 4 != 0 {
                continue; // the parts are summed in vec4s
            }
            for output in if accumulate { &OUTPUTS[..] } else { &OUTPUTS[..1] } {
                let (y, before) = case.target_in(type_y, &[m, n], *output, 5);
                let target = Target { factor: is_scaled.then_some(&factor), ..Target::new(&y, *output) };
                matmul::record(&mut case.rec, &product, Variant { tile, parts }, [&a, &b], target);
                let tolerance = if tile == &matmul::UNITS { SPLIT_TOLERANCE } else { TOLERANCE };
                let what = format!("{what} {numbers:?} {layout:?} {tile:?} in {parts}, {output:?}, {mnk:?}");
                let want = if tile.is_of_half_units() { &want_of_halves } else { &want };
                checks.push((what, y, sum(&before, want), tolerance));
            }
        }
    }
    let done = case.run();
    for (what, y, want, tolerance) in checks {
        assert_close_in(type_y, what, &done.read(&y), &want, tolerance);
    }
}

#[test]
fn every_variant_agrees_with_the_reference() {
    // Each shape compiles its own kernels, so use few: with each dimension above a tile, below one, and odd.
    for (mnk, accumulate) in
        [([132, 68, 37], true), ([160, 144, 100], true), ([7, 13, 12], false), ([3, 200, 1], false)]
    {
        for layout in Layout::ALL {
            // The variants do not depend on the form.
            let product = Product { layout, mnk, matrices: 1, numbers: Numbers::Single };
            check_variants(&|| Case::new(FORMS[0]), "web limits", product, accumulate);
        }
    }
}

#[test]
fn variants_of_this_adapters_features_agree_with_the_reference() {
    for mnk in [[160, 144, 100], [16, 48, 260], [140, 76, 40]] {
        for layout in Layout::ALL {
            let product = Product { layout, mnk, matrices: 1, numbers: Numbers::Single };
            check_variants(&|| Case::on(full_gpu()), "features", product, true);
        }
    }
}

#[test]
fn rows_shared_between_lanes_give_the_bits_of_rows_loaded_by_each() {
    // Rows in blocks of 64, 16 (few workgroups) and 8 (a sum so long that the loops may not take more), and of several
    // matrices; neither a whole number of blocks nor of lanes.
    for (matrices, mnk @ [m, n, _]) in [(1, [516, 132, 40]), (1, [20, 76, 8]), (1, [12, 4, 40_000]), (3, [132, 68, 16])]
    {
        for layout in Layout::ALL {
            let mut case = Case::on(full_software_gpu());
            let product = Product { layout, mnk, matrices, numbers: Numbers::Single };
            let [a, b] = layout.operands(mnk).map(|[rows, cols]| [matrices, rows, cols]);
            let ((a, _), (b, _)) = (case.random(&a, 1), case.random(&b, 2));
            let outputs = [&matmul::REGISTERS, &matmul::SHUFFLED].map(|tile| {
                assert!(tiles(&case.rec.profile, &product).contains(&tile), "{tile:?}");
                let y = case.output(&[matrices, m, n]);
                let variant = Variant { tile, parts: 1 };
                matmul::record(&mut case.rec, &product, variant, [&a, &b], Target::new(&y, OUTPUTS[0]));
                y
            });
            let chosen = select(&case.rec.profile, &product);
            assert_eq!(chosen.tile, &matmul::SHUFFLED, "{layout:?} {mnk:?}");
            let done = case.run();
            let [registers, shuffled] = outputs.map(|y| done.read(&y));
            assert!(registers == shuffled, "{layout:?} {mnk:?}");
        }
    }
}

#[test]
fn every_variant_in_half_precision_agrees_with_the_reference() {
    for (mnk, accumulate) in
        [([132, 68, 37], true), ([160, 144, 100], true), ([7, 13, 12], false), ([3, 200, 1], false)]
    {
        for layout in Layout::ALL {
            let product = Product { layout, mnk, matrices: 1, numbers: Numbers::Half };
            check_variants(&|| Case::on(full_gpu()), "half", product, accumulate);
        }
    }
}

#[test]
fn operands_of_every_size_keep_their_digits() {
    // Gradients can have any magnitude: halves are scaled into range by each operand's largest number.
    let mnk @ [m, n, _] = [160, 144, 100];
    let scaled = |values: &[f32], scale: f32| values.iter().map(|x| scale * x).collect::<Vec<f32>>();
    for layout in Layout::ALL {
        let [a_shape, b_shape] = layout.operands(mnk);
        let [a, b] = [(a_shape, 1), (b_shape, 2)].map(|(shape, seed)| random(shape[0] * shape[1], seed));
        let mut case = Case::on(full_gpu());
        let product = Product { layout, mnk, matrices: 1, numbers: Numbers::Single };
        let mut checks = Vec::new();
        for (of_a, of_b) in [(1e-12, 1e-12), (1e-12, 1.0), (1e-6, 1e12), (1.0, 1.0), (1e12, 1e-12), (1e12, 1e12)] {
            let (a, b) = (scaled(&a, of_a), scaled(&b, of_b));
            let want = reference_of(layout, &widen(&a), &widen(&b), mnk);
            let (a, b) = (case.input(&a_shape, &a), case.input(&b_shape, &b));
            for tile in tiles(&case.rec.profile, &product) {
                let y = case.output(&[m, n]);
                let variant = Variant { tile, parts: 1 };
                matmul::record(&mut case.rec, &product, variant, [&a, &b], Target::new(&y, OUTPUTS[0]));
                let tolerance = if tile == &matmul::UNITS { SPLIT_TOLERANCE } else { TOLERANCE };
                checks.push((format!("{layout:?} {tile:?} of {of_a:e} and {of_b:e}"), y, want.clone(), tolerance));
            }
        }
        let done = case.run();
        for (what, y, want, tolerance) in checks {
            assert_close(what, &done.read(&y), &want, tolerance);
        }
    }
}

#[test]
fn what_is_chosen_agrees_with_the_reference() {
    for form in FORMS {
        for mnk in SHAPES {
            for layout in Layout::ALL {
                let mut case = Case::new(form);
                let [a_shape, b_shape] = layout.operands(mnk);
                let (a, a_values) = case.random(&a_shape, 1);
                let (b, b_values) = case.random(&b_shape, 2);
                let y = case.output(&mnk[..2]);
                matmul::product(&mut case.rec, layout, [&a, &b], &y, OUTPUTS[0]);
                let want = reference_of(layout, &a_values, &b_values, mnk);
                assert_close(format!("{form:?} {layout:?} {mnk:?}"), &case.run().read(&y), &want, TOLERANCE);
            }
        }
    }
}

#[test]
fn matrices_one_after_the_other_are_multiplied_together() {
    let mnk @ [m, n, k] = [20, 72, 36];
    for layout in Layout::ALL {
        let mut case = Case::new(FORMS[1]);
        let [a_shape, b_shape] = layout.operands(mnk).map(|[rows, cols]| [3, rows, cols]);
        let (a, a_values) = case.random(&a_shape, 1);
        let (b, b_values) = case.random(&b_shape, 2);
        let y = case.output(&[3, m, n]);
        matmul::product(&mut case.rec, layout, [&a, &b], &y, OUTPUTS[0]);
        let pairs = a_values.chunks(m * k).zip(b_values.chunks(k * n));
        let want: Vec<f64> = pairs.flat_map(|(a, b)| reference_of(layout, a, b, mnk)).collect();
        assert_close(format!("three products {layout:?}"), &case.run().read(&y), &want, TOLERANCE);
    }
}

#[test]
fn a_matrix_times_itself_reads_one_buffer_twice() {
    for form in FORMS {
        let mut case = Case::new(form);
        let (x, values) = case.random(&[12, 20], 1);
        let y = case.output(&[12, 12]);
        matmul::nt(&mut case.rec, &x, &x, &y, OUTPUTS[0]);
        let want = reference::matmul::nt(&values, &values, [12, 12, 20]);
        assert_close(format!("{form:?} x xT"), &case.run().read(&y), &want, TOLERANCE);
    }
}

#[test]
#[should_panic(expected = "matmul Nt: [2, 4] and [3, 5]")]
fn inner_dimensions_that_differ_panic_with_both_shapes() {
    let mut case = Case::new(FORMS[0]);
    let [x, w, y] = [[2, 4], [3, 5], [2, 3]].map(|shape| case.output(&shape));
    matmul::nt(&mut case.rec, &x, &w, &y, OUTPUTS[0]);
}

#[test]
fn the_choice_follows_the_adapter_and_the_shape() {
    let software = web_profile(FORMS[0]);
    let plain = web_profile(FORMS[1]);
    let check = |profile: &Profile, layout, mnk, tile, parts| {
        let chosen = select(profile, &Product { layout, mnk, matrices: 1, numbers: Numbers::Single });
        assert_eq!(chosen, Variant { tile, parts }, "{layout:?} {mnk:?}");
    };
    use Layout::{Nn, Nt, Tn};
    check(&software, Nt, [512, 512, 512], &matmul::REGISTERS, 1);
    let lanes_of_8 = Profile { subgroup_lanes: Some(8), min_subgroup_lanes: Some(8), ..software.clone() };
    check(&lanes_of_8, Nt, [512, 512, 512], &matmul::SHUFFLED, 1);
    check(&lanes_of_8, Nt, [512, 512, 508], &matmul::REGISTERS, 1);
    check(&lanes_of_8, Tn, [512, 512, 60_000], &matmul::REGISTERS, 1);
    check(&software, Nt, [512, 512, 510], &matmul::STRIDED, 1);
    check(&software, Tn, [510, 512, 512], &matmul::STRIDED, 1);
    check(&software, Tn, [1 << 20, 2048, 512], &matmul::TILE_64, 1);
    check(&plain, Nt, [1, 512, 512], &matmul::ROW, 1);
    // A batch's forward pass fills the card as it is; its weight gradients only do so if split into parts.
    check(&plain, Nt, [16384, 512, 512], &matmul::TILE_128, 1);
    check(&plain, Tn, [512, 512, 16384], &matmul::TILE_128, 16);
    check(&plain, Tn, [768, 768, 16384], &matmul::TILE_128, 7);
    check(&plain, Tn, [2048, 768, 16384], &matmul::TILE_128, 11);
    check(&plain, Nn, [128, 576, 576], &matmul::TILE_64, 9);
    check(&plain, Nt, [128, 49152, 576], &matmul::TILE_128, 1);
    check(&plain, Nt, [16384, 5461, 2048], &matmul::TILE_128, 1);
    check(&everything(), Nt, [16384, 512, 512], &matmul::UNITS, 1);
    check(&everything(), Tn, [512, 512, 16384], &matmul::UNITS, 16);
    check(&everything(), Nn, [2048, 512, 32000], &matmul::UNITS, 16);
    check(&everything(), Nt, [128, 576, 576], &matmul::TILE_64, 9);
    check(&everything(), Nt, [16384, 5461, 2048], &matmul::TILE_128, 1);
}

#[test]
fn half_precision_takes_the_tile_on_matrix_units_that_fits_the_product_and_the_adapter() {
    use Layout::{Nn, Nt, Tn};
    let all = everything();
    let small = Profile { max_workgroup_bytes: 16 << 10, ..everything() };
    let without = Profile { matrix_units: false, ..everything() };
    for (profile, layout, mnk, tile, parts) in [
        (&all, Nt, [16384, 512, 512], &matmul::HALF_UNITS, 1),
        (&all, Tn, [512, 512, 16384], &matmul::HALF_UNITS, 16),
        (&all, Nt, [128, 49152, 576], &matmul::HALF_UNITS, 1),
        // With a small batch: one part, unless the sum is long.
        (&all, Nt, [128, 576, 576], &matmul::HALF_UNITS_TILE_32, 1),
        (&all, Nn, [128, 576, 1536], &matmul::HALF_UNITS_TILE_32, 1),
        (&all, Tn, [576, 576, 128], &matmul::HALF_UNITS_TILE_32, 1),
        (&all, Tn, [64, 64, 16384], &matmul::HALF_UNITS_TILE_32, 16),
        (&all, Nt, [8, 576, 576], &matmul::TILE_64, 9),
        (&small, Nt, [16384, 512, 512], &matmul::HALF_UNITS_16, 1),
        (&small, Nt, [128, 576, 576], &matmul::TILE_64, 9),
        (&without, Nt, [16384, 512, 512], &matmul::TILE_128, 1),
        (&without, Nt, [128, 576, 576], &matmul::TILE_64, 9),
    ] {
        let chosen = select(profile, &Product { layout, mnk, matrices: 1, numbers: Numbers::Half });
        assert_eq!(chosen, Variant { tile, parts }, "{layout:?} {mnk:?}");
    }
}

#[test]
fn the_largest_number_of_each_matrix_is_found() {
    for form in FORMS {
        for [matrices, rows, cols] in [[1, 1, 4], [3, 37, 20], [2, 512, 516]] {
            let mut case = Case::new(form);
            let mut values = random(matrices * rows * cols, 7);
            for (matrix, of_matrix) in values.chunks_mut(rows * cols).enumerate() {
                of_matrix[rows * cols - 1 - matrix] = -100.0 * (matrix + 1) as f32; // inside the last vec4
            }
            let x = case.input(&[matrices, rows, cols], &values);
            let shares = matmul::largest(&mut case.rec, &x, matrices);
            let kept = case.output(&shares.shape);
            multinorm::kernels::bench::copy(&mut case.rec, &shares, &kept);
            let found: Vec<f32> = case.run().read(&kept);
            for (matrix, of_matrix) in found.chunks(found.len() / matrices).enumerate() {
                let largest = of_matrix.iter().fold(0.0_f32, |most, &x| most.max(x));
                assert_eq!(largest, 100.0 * (matrix + 1) as f32, "{form:?} matrix {matrix} of {matrices}");
            }
        }
    }
}

#[test]
fn the_size_of_an_operand_is_measured_once_for_as_long_as_nothing_writes_it() {
    let mut rec = Recorder::new(&everything());
    let [x, w, y, z] = [[1024, 1024]; 4].map(|shape| rec.persistent(Class::Scratch, DType::F32, "any", &shape));
    rec.begin("products");
    matmul::nt(&mut rec, &x, &w, &y, OUTPUTS[0]);
    matmul::nn(&mut rec, &x, &w, &z, OUTPUTS[0]); // both operands were measured before
    matmul::nt(&mut rec, &z, &w, &y, OUTPUTS[0]); // z is new
    matmul::nn(&mut rec, &y, &z, &w, OUTPUTS[0]); // y is new
    matmul::nn(&mut rec, &y, &w, &z, OUTPUTS[0]); // w was written
    let measured = rec.dispatches("products").iter().filter(|(kernel, _)| *kernel == "largest").count();
    assert_eq!(measured, 5);
}
