use multinorm::gpu::{Class, DType, Profile, Recorder};
use multinorm::kernels::matmul::{Layout, Numbers, Product};
use multinorm::kernels::swiglu;
use multinorm::reference;

use crate::support::{Case, assert_close_in, devices_and_types, everything, random};

/// One exponential and one division; the worst seen is 1.3e-6.
const TOLERANCE: f64 = 1e-5;

/// Gates of moderate size, and two for which a naive exponential overflows f32.
fn gates(len: usize) -> Vec<f32> {
    let mut gates: Vec<f32> = random(len, 1).iter().map(|x| 3.0 * x).collect();
    if let [first, second, ..] = &mut gates[..] {
        [*first, *second] = [-120.0, 120.0];
    }
    gates
}

#[test]
fn forward_and_gradients_agree_with_the_reference() {
    for (gpu, dtype) in devices_and_types() {
        for [rows, cols] in [[1, 1], [1, 64], [7, 13], [65, 67], [7, 172], [1, 4]] {
            let mut case = Case::on(gpu);
            let shape = [rows, cols];
            let (gate, gate_values) = case.numbers(dtype, &shape, &gates(rows * cols));
            let (up, up_values) = case.random_in(dtype, &shape, 2);
            let (dy, dy_values) = case.random_in(dtype, &shape, 3);
            let y = case.output_in(dtype, &shape);
            swiglu::swiglu(&mut case.rec, &gate, &up, &y);
            swiglu::swiglu_backward(&mut case.rec, &gate, &up, &dy);
            let done = case.run();

            let what = |name: &str| format!("software: {}, {dtype:?} {name} {shape:?}", gpu.profile.software);
            let want = reference::swiglu::forward(&gate_values, &up_values);
            assert_close_in(dtype, what("y"), &done.read(&y), &want, TOLERANCE);
            assert_close_in(dtype, what("y made again"), &done.read(&dy), &want, TOLERANCE);
            let (dgate, dup) = reference::swiglu::backward(&gate_values, &up_values, &dy_values);
            assert_close_in(dtype, what("dgate"), &done.read(&gate), &dgate, TOLERANCE);
            assert_close_in(dtype, what("dup"), &done.read(&up), &dup, TOLERANCE);
        }
    }
}

/// The products before a SwiGLU in `60m`'s layers, for 4096 tokens: their parts fit in a binding.
const LARGE: [usize; 3] = [4096, 1376, 512];

fn product(mnk: [usize; 3], numbers: Numbers) -> Product {
    Product { layout: Layout::Nt, mnk, matrices: 1, numbers }
}

/// Records one SwiGLU and the products before it.
fn recorded(profile: &Profile, [m, n, k]: [usize; 3], numbers: Numbers) -> Recorder {
    let mut rec = Recorder::new(profile);
    let [type_x, type_w, type_y] = numbers.dtypes(Layout::Nt);
    let mut tensor = |dtype: DType, shape: [usize; 2]| rec.persistent(Class::Scratch, dtype, "any", &shape);
    let (x, weights) = (tensor(type_x, [m, k]), [(); 2].map(|()| tensor(type_w, [n, k])));
    let made = [(); 3].map(|()| tensor(type_y, [m, n]));
    rec.begin("all");
    swiglu::swiglu_of_products(&mut rec, &x, weights.each_ref(), made.each_ref());
    rec
}

#[test]
fn large_products_in_half_precision_on_matrix_units_share_a_kernel_with_swiglu() {
    let kernels = |profile: &Profile, mnk, numbers| {
        let rec = recorded(profile, mnk, numbers);
        rec.dispatches("all").iter().map(|(kernel, _)| *kernel).collect::<Vec<_>>()
    };
    let (all, one) = (everything(), ["matmul_swiglu_half_units"]);
    assert_eq!(kernels(&all, LARGE, Numbers::Half), one);
    // The variant measured to be fastest for the two products.
    let measured = |variant: &str| {
        let mut profile = everything();
        for mnk in [LARGE, [128, 576, 576]] {
            let what = product(mnk, Numbers::Half).what(&profile);
            profile.choices.insert(what, variant.into());
        }
        profile
    };
    assert_eq!(kernels(&measured("half_units"), [128, 576, 576], Numbers::Half), one);
    let apart = |profile: &Profile, mnk, numbers| {
        let found = kernels(profile, mnk, numbers);
        assert!(found.len() >= 3 && !found.contains(&one[0]), "{found:?}");
        assert!(found.last().unwrap().starts_with("swiglu"), "{found:?}");
    };
    apart(&measured("half_units in 2 parts"), LARGE, Numbers::Half);
    apart(&measured("half_units_tile_32"), LARGE, Numbers::Half);
    apart(&all, [128, 576, 576], Numbers::Half); // a smaller tile
    apart(&all, [128, 2048, 2048], Numbers::Half); // parts
    apart(&all, [4096, 1375, 512], Numbers::Half);
    apart(&all, LARGE, Numbers::Single);
    apart(&Profile { max_workgroup_bytes: 16 << 10, ..everything() }, LARGE, Numbers::Half);
    apart(&Profile { matrix_units: false, ..everything() }, LARGE, Numbers::Half);
}

#[test]
fn products_that_share_a_kernel_with_swiglu_are_counted_and_not_measured() {
    let (all, rec) = (everything(), recorded(&everything(), LARGE, Numbers::Half));
    let (words, choice) = rec.choices().iter().next().unwrap();
    assert_eq!(rec.choices().len(), 1);
    assert_eq!(*words, format!("swiglu of {}", product(LARGE, Numbers::Half).what(&all)));
    assert_eq!(Product::of_words(words), None, "what is measured is a product");
    assert_eq!(choice.flops, 2 * 2 * LARGE.map(|n| n as u64).iter().product::<u64>());
    let apart = recorded(&Profile { matrix_units: false, ..all }, LARGE, Numbers::Half);
    assert_eq!(apart.choices().values().map(|choice| choice.flops).sum::<u64>(), choice.flops);
}
