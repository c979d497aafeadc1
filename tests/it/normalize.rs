//! `multinorm normalize` and its library code: every half-step of every list, the rates, and the program.

use std::fs;
use std::path::Path;

use multinorm::Result;
use multinorm::config::Pass;
use multinorm::normalize::{HalfStep, HalfSteps, Matrix, Options, Report, normalize, read_matrix, write_matrix};
use multinorm::optim::reference_pass;
use multinorm::reference::passes;
use multinorm::spectrum::singular_values;
use pollster::block_on;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::kernels::newton_schulz::growth;
use crate::kernels::scaled::{normalized, uneven};
use crate::program::{fails, json, program, stdout};
use crate::support::{FORMS, Form, assert_close, gpu, random, widen};

/// Relative to the root mean square; the worst seen is 6.5e-6, in an element many times larger than that.
const TOLERANCE: f64 = 1e-5;
/// For a spectral pass on a well-conditioned matrix, as in the kernel's own test.
const SPECTRAL_TOLERANCE: f64 = 1e-4;

/// The documentation's 2×3 gradient, which converges slowly and so is easy to follow.
const G: [f32; 6] = [3.0, -1.0, 0.5, 0.1, 0.2, -4.0];

const MATRICES_OF_A_SHAPE: u64 = 8;

const LISTS: [&str; 14] = [
    "row,column",
    "column,row",
    "row",
    "column",
    "standardize",
    "sign",
    "frobenius",
    "max",
    "spectral:cubic:10",
    "spectral:muon:5",
    "spectral:polar-express:8",
    "standardize,spectral:cubic:10,frobenius",
    "row,sign,column,max,row,column",
    "max,standardize,column,spectral:muon-refined:10,row",
];

fn list(words: &str) -> Vec<Pass> {
    Pass::parse_list(&[words.to_owned()]).unwrap()
}

fn options(words: &str, iterations: u32) -> Options {
    Options { passes: list(words), iterations, tolerance: 0.0, spectrum: false }
}

fn half_steps(form: Form, g: &[f32], shape: [usize; 2], words: &str, iterations: u32) -> Result<Vec<HalfStep>> {
    let matrix = Matrix::new("g", &shape, g.to_vec())?;
    block_on(async {
        let mut steps = HalfSteps::new(gpu(form), &matrix, &list(words), iterations).await?;
        let mut all = Vec::new();
        while let Some(step) = steps.advance().await? {
            all.push(step);
        }
        Ok(all)
    })
}

fn report(g: &[f32], shape: [usize; 2], options: &Options) -> Report {
    let matrix = Matrix::new("g", &shape, g.to_vec()).unwrap();
    block_on(normalize(gpu(FORMS[0]), &matrix, options, |_, _| ())).unwrap()
}

/// A random gradient, typical of training or not: with varying shape, rank, tails, scale, and zero rows and columns.
fn any_gradient(seed: u64) -> (String, [usize; 2], Vec<f32>) {
    // Matrices of the same shape share pipelines, which take longer to compile than to run.
    let of_shape = seed / MATRICES_OF_A_SHAPE;
    let mut rng = ChaCha8Rng::seed_from_u64(of_shape);
    let most = [[3, 3], [9, 9], [9, 70], [40, 40], [90, 30], [33, 140]][of_shape as usize % 6];
    let [m, n] = if of_shape == 0 { [1, 1] } else { most.map(|most| rng.random_range(1..=most)) };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let kind = ["full", "low rank", "heavy", "uneven"][seed as usize % 4];
    let mut g: Vec<f64> = match kind {
        "full" => widen(&random(m * n, seed)),
        "low rank" => {
            let rank = rng.random_range(1..=3);
            let factors = [widen(&random(m * rank, seed)), widen(&random(rank * n, seed + 1000))];
            multinorm::reference::matmul::nn(&factors[0], &factors[1], [m, n, rank])
        }
        // Lognormal magnitudes with σ = 2.
        "heavy" => {
            let [size, sign] = [seed, seed + 1000].map(|seed| widen(&random(m * n, seed)));
            size.iter().zip(sign).map(|(size, sign)| (2.0 * size).exp() * sign.signum()).collect()
        }
        _ => widen(&uneven(m, n, seed)),
    };
    let zeros = rng.random_bool(0.3);
    if zeros {
        let (row, column) = (rng.random_range(0..m), rng.random_range(0..n));
        g[row * n..(row + 1) * n].fill(0.0);
        (0..m).for_each(|i| g[i * n + column] = 0.0);
    }
    let scale = 10f64.powi(rng.random_range(-12..=12));
    let what = format!("{seed}: {kind}{} {m}x{n} times {scale:e}", if zeros { " with zeros" } else { "" });
    (what, [m, n], g.iter().map(|x| (scale * x) as f32).collect())
}

/// The error that one f32 rounding of the input x causes in the result of `pass`, relative to its root mean square.
fn tolerance(pass: Pass, x: &[f64], [m, n]: [usize; 2]) -> f64 {
    match pass {
        // The rounding of the mean, relative to the deviation that remains once the mean is subtracted.
        Pass::Standardize => {
            let ratio = |row: &[f64]| {
                let mean = row.iter().sum::<f64>() / n as f64;
                let deviation = (row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
                if deviation > 0.0 { mean.abs() / deviation } else { 0.0 }
            };
            TOLERANCE.max(1e-6 * x.chunks_exact(n).map(ratio).fold(0.0, f64::max))
        }
        // Each step multiplies small singular values by its a, and the rounding errors next to them too: in total by
        // the product over all steps, or by the factor that brings the smallest value to 1.
        Pass::Spectral(kind) => {
            let sigma = singular_values(x, m, n);
            let norm = sigma.iter().map(|sigma| sigma * sigma).sum::<f64>().sqrt();
            let smallest = sigma.last().unwrap() / norm;
            SPECTRAL_TOLERANCE.max(1e-6 * growth(kind).min(smallest.recip()))
        }
        _ => TOLERANCE,
    }
}

/// Compares every half-step with the reference. The reference runs independently from the gradient on, but restarts
/// from the device's X before and after each pass that can amplify rounding.
fn check_every_half_step(form: Form, what: &str, g: &[f32], shape: [usize; 2], words: &str, iterations: u32) {
    let steps = half_steps(form, g, shape, words, iterations).unwrap();
    assert_eq!(steps.len(), list(words).len() * iterations as usize);
    let (mut want, mut before) = (widen(g), g);
    for (at, step) in steps.iter().enumerate() {
        let multiplies = |pass: Pass| matches!(pass, Pass::Standardize | Pass::Spectral(_));
        if multiplies(step.pass) || at > 0 && multiplies(steps[at - 1].pass) {
            want = widen(before);
        }
        let allowed = tolerance(step.pass, &want, shape);
        want = reference_pass(step.pass, &want, shape);
        let what = format!("{form:?} {words}, half-step {at} ({}) of {what}", step.pass);
        assert_close(what, &step.x, &want, allowed);
        before = &step.x;
    }
}

#[test]
fn every_half_step_of_200_matrices_agrees_with_the_reference() {
    for seed in 0..200 {
        let (what, shape, g) = any_gradient(seed);
        let form = FORMS[(seed / MATRICES_OF_A_SHAPE) as usize % 2];
        for turn in 0..4 {
            // Over all matrices, every list meets every kind and both forms.
            let words = LISTS[(5 * seed as usize + seed as usize / 4 + 3 * turn) % LISTS.len()];
            check_every_half_step(form, &what, &g, shape, words, 1 + (seed % 5 + turn as u64) as u32 % 4);
        }
    }
}

#[test]
fn every_half_step_of_large_matrices_agrees_with_the_reference() {
    for ([m, n], words) in [
        ([512, 1376], "row,column"),
        ([1376, 512], "column,row"),
        ([3, 4099], "row,column,frobenius"),
        ([4099, 3], "max,row,column"),
        ([257, 1023], "standardize,row,sign"),
        ([67, 515], "standardize,spectral:cubic:10,frobenius"),
    ] {
        check_every_half_step(FORMS[0], &format!("{m}x{n}"), &uneven(m, n, 1), [m, n], words, 3);
    }
}

#[test]
fn the_last_half_step_is_to_the_bit_what_an_optimizer_uses() {
    let shape @ [m, n] = [37, 70];
    let g = uneven(m, n, 2);
    for form in FORMS {
        for (words, iterations) in [
            ("row,column", 5),
            ("column,row", 4),
            ("max,column", 3),
            ("frobenius,row", 3),
            ("standardize,spectral:muon:5,frobenius", 1),
            ("sign,row", 1),
        ] {
            let list = list(words).repeat(iterations);
            let steps = half_steps(form, &g, shape, words, iterations as u32).unwrap();
            let same = steps.last().unwrap().x == normalized(form, &g, shape, &list);
            assert!(same, "{form:?} {words}: {iterations} iterations");
        }
    }
}

#[test]
fn the_worked_example_has_its_printed_numbers() {
    let steps = half_steps(FORMS[0], &G, [2, 3], "row,column", 5).unwrap();
    let rounded = |x: &[f32]| x.iter().map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(" ");
    assert_eq!(rounded(&steps[0].x), "1.6230 -0.5410 0.2705 0.0432 0.0865 -1.7294");
    assert_eq!(rounded(&steps[1].x), "1.4137 -1.3965 0.2186 0.0377 0.2232 -1.3972");
    assert_eq!(rounded(&steps[9].x), "1.4088 -1.2523 0.0673 0.1232 0.6570 -1.4126");
    let labels: Vec<_> = steps.iter().map(|step| (step.pass, step.iteration, step.ends_iteration)).collect();
    assert_eq!(labels[..2], [(Pass::Row, 1, false), (Pass::Column, 1, true)]);
    assert_eq!(labels[9], (Pass::Column, 5, true));
}

/// Gradients with independently known rates: name, shape, elements, approximate rate.
fn known_rates() -> [(&'static str, [usize; 2], Vec<f32>, f64); 3] {
    let [u, v] = [random(64 * 4, 5), random(4 * 172, 6)].map(|x| widen(&x));
    let product = multinorm::reference::matmul::nn(&u, &v, [64, 172, 4]);
    let (g, rows, columns) = (random(128 * 344, 7), random(128, 8), random(344, 9));
    let lognormal = (0..128 * 344).map(|at| g[at] * (rows[at / 344] + columns[at % 344]).exp()).collect();
    [
        ("Gaussian", [64, 64], random(64 * 64, 4), 0.11),
        ("rank 4", [64, 172], product.iter().map(|x| *x as f32).collect(), 0.158),
        ("lognormal rows and columns", [128, 344], lognormal, 0.0385),
    ]
}

/// The root mean square of ‖row‖/√n − 1 over all rows.
fn row_deviation(x: &[f64], [m, n]: [usize; 2]) -> f64 {
    let squares = passes::row_norms(x, m, n).into_iter().map(|norm| (norm / (n as f64).sqrt() - 1.0).powi(2));
    (squares.sum::<f64>() / m as f64).sqrt()
}

/// The fraction of the slowest-decaying part of a small deviation from the limit x that remains after an iteration.
///
/// This is a power iteration: scale the rows slightly, run one iteration, amplify the remaining scaling, and repeat.
fn slowest_part(x: &[f64], [m, n]: [usize; 2]) -> f64 {
    const SMALL: f64 = 1e-5;
    let mut direction = widen(&random(m, 12));
    let mut rate = 0.0;
    for _ in 0..150 {
        let mean = direction.iter().sum::<f64>() / m as f64;
        let norm = direction.iter().map(|d| (d - mean).powi(2)).sum::<f64>().sqrt();
        rate = norm / SMALL;
        direction.iter_mut().for_each(|d| *d = (*d - mean) * SMALL / norm);
        let scaled: Vec<f64> = (0..m * n).map(|at| x[at] * direction[at / n].exp()).collect();
        let y = passes::row(&passes::column(&scaled, m, n), m, n);
        // The logarithm of r in y = diag(r)·x·diag(c), up to a constant.
        direction = (0..m).map(|i| (y[i * n] / x[i * n]).ln()).collect();
    }
    rate
}

#[test]
fn the_predicted_rate_is_the_one_that_the_iteration_comes_to() {
    for (name, shape @ [m, n], g, about) in known_rates() {
        let told = report(&g, shape, &options("row,column", 5));
        let [predicted, observed] = [told.rate_predicted, told.rate_observed].map(Option::unwrap);
        let (mut x, mut deviations) = (widen(&g), vec![]);
        while deviations.last().is_none_or(|last| *last > 1e-13) {
            x = passes::column(&passes::row(&x, m, n), m, n);
            deviations.push(row_deviation(&x, shape));
        }
        let ratios: Vec<f64> = deviations.windows(2).map(|pair| pair[1] / pair[0]).collect();
        let slowest = slowest_part(&x, shape);
        println!("{name}: predicted {predicted:.4}, observed {observed:.4}, slowest {slowest:.4}, in f64 {ratios:.4?}");
        assert!((predicted / about - 1.0).abs() < 0.25, "{name}: {predicted} is nothing like {about}");
        assert!((slowest / predicted - 1.0).abs() < 0.01, "{name}: comes to {slowest}, {predicted} was predicted");
        // Faster parts are still decaying after a few iterations: 0.90, 0.89 and 0.78 of the prediction were observed.
        assert!((0.7..1.0).contains(&(observed / predicted)), "{name}: {observed} observed, {predicted} predicted");
        // The observation in f32 matches f64 at the same iteration.
        let at = deviations.iter().take(5).rposition(|deviation| *deviation > 1e-6).unwrap() - 1;
        assert!((observed / ratios[at] - 1.0).abs() < 0.02, "{name}: {observed}, in f64 {}", ratios[at]);
    }
}

#[test]
fn rates_of_other_lists_and_matrices_are_none_or_say_that_nothing_converges() {
    let [m, n] = [24, 40];
    let g = random(m * n, 11);
    for words in ["row", "column", "standardize,spectral", "row,column,frobenius"] {
        assert_eq!(report(&g, [m, n], &options(words, 2)).rate_predicted, None, "{words}");
    }
    assert_eq!(report(&g, [m, n], &options("row,column", 1)).rate_observed, None, "one iteration has no ratio");
    let [once, twice] = ["row,column", "row,column,row,column"].map(|words| report(&g, [m, n], &options(words, 3)));
    let [once, twice] = [once, twice].map(|told| told.rate_predicted.unwrap());
    assert!((twice / once.powi(2) - 1.0).abs() < 1e-3, "{once} for one pair of passes, {twice} for two");
    let reversed = report(&g, [m, n], &options("column,row", 3));
    assert!((reversed.rate_predicted.unwrap() / once - 1.0).abs() < 1e-3, "the order does not matter");
    assert!(reversed.rate_observed.unwrap() < 0.5, "seen on the columns: {reversed:?}");

    // A zero row changes neither rate, although its own deviation remains 1.
    let mut with_zeros = g.clone();
    with_zeros.splice(0..0, vec![0.0; n]);
    let told = report(&with_zeros, [m + 1, n], &options("row,column", 3));
    assert!((told.rate_predicted.unwrap() / once - 1.0).abs() < 1e-3, "{told:?}");
    let same = report(&g, [m, n], &options("row,column", 3)).rate_observed.unwrap();
    assert!((told.rate_observed.unwrap() / same - 1.0).abs() < 0.02, "{:?}, {same}", told.rate_observed);
    assert_eq!(told.passes.last().unwrap().quantities.row_deviation_max, 1.0);

    // A 3×2 block of zeros in 4×4: no support, so it oscillates forever.
    let mut x = [1.0; 16];
    [0, 1, 4, 5, 8, 9].into_iter().for_each(|at| x[at] = 0.0);
    let told = report(&x, [4, 4], &options("row,column", 40));
    assert_eq!(told.rate_predicted, None);
    assert!(told.rate_observed.is_none_or(|rate| (rate - 1.0).abs() < 1e-3), "{:?}", told.rate_observed);
    let of = &told.passes.last().unwrap().quantities;
    assert!((of.row_deviation_max - 0.414).abs() < 1e-3, "rows end on √2 and √(2/3): {of:?}");
    // Triangular: support without total support, so slower than any fixed rate.
    let triangle: Vec<f32> = (0..36).map(|at| if at % 6 >= at / 6 { 1.0 } else { 0.0 }).collect();
    let rate = report(&triangle, [6, 6], &options("row,column", 5)).rate_predicted.unwrap();
    assert!((0.99..1.0).contains(&rate), "{rate}");
}

#[test]
fn every_pass_but_max_ends_on_the_sphere_and_turns_less_and_less() {
    let [m, n] = [64, 172];
    let told = report(&known_rates()[1].2, [m, n], &options("row,column", 5));
    assert_eq!(told.shape, [m, n]);
    assert_eq!(told.passes.len(), 11);
    let gradient = &told.passes[0];
    assert_eq!((gradient.pass.as_str(), gradient.iteration), ("gradient", 0));
    assert_eq!((gradient.quantities.cosine_to_previous, gradient.quantities.cosine_to_gradient), (None, Some(1.0)));
    let mut last = 0.0;
    for (at, entry) in told.passes.iter().enumerate().skip(1) {
        let of = &entry.quantities;
        assert!((of.frobenius - 1.0).abs() < 1e-6, "{entry:?}");
        let cosine = of.cosine_to_previous.unwrap();
        // The matrices are rounded to f32, so a cosine is known to within 1e-7.
        assert!(cosine >= last - 1e-7, "{entry:?}: it turned more than the pass before, {last}");
        // The first pass rotates the gradient, which is on neither sphere yet.
        last = if at == 1 { last } else { cosine };
        let exact = if entry.pass == "row" { of.row_deviation_max } else { of.column_deviation_max };
        assert!(exact < 1e-6, "{entry:?}");
    }
}

#[test]
fn a_tolerance_ends_the_list_early() {
    let g = random(64 * 64, 4);
    let all = half_steps(FORMS[0], &g, [64, 64], "row,column", 4).unwrap();
    let ends: Vec<&HalfStep> = all.iter().filter(|step| step.ends_iteration).collect();
    let change = |pair: &[&HalfStep]| {
        let squares = pair[0].x.iter().zip(&pair[1].x).map(|(a, b)| f64::from(a - b).powi(2));
        (squares.sum::<f64>() / (64 * 64) as f64).sqrt()
    };
    let changes: Vec<f64> = ends.windows(2).map(change).collect(); // from the second iteration on
    for (at, change) in changes.iter().enumerate().take(2) {
        for (share, end) in [(1.001, at + 2), (0.999, at + 3)] {
            let told = report(&g, [64, 64], &Options { tolerance: share * change, ..options("row,column", 20) });
            assert_eq!(told.passes.last().unwrap().iteration as usize, end, "{share} of {change:e}: {changes:?}");
            assert_eq!(told.passes.len(), 2 * end + 1);
        }
    }
}

#[test]
fn a_matrix_that_the_device_cannot_take_is_refused() {
    let message = half_steps(FORMS[0], &[1.0; 16385], [1, 16385], "row", 1).unwrap_err().to_string();
    assert!(message.contains("1×16385 is too wide"), "{message}");
    // One row element more than fits in 128 MiB, a binding's limit in WebGPU.
    let [m, n] = [2049, 16384];
    let message = half_steps(FORMS[0], &vec![1.0; m * n], [m, n], "row", 1).unwrap_err().to_string();
    assert!(message.contains("[2049, 16384]") && message.contains("134217728"), "{message}");
}

const KEYS: [&str; 9] = [
    "pass",
    "iteration",
    "frobenius",
    "row_deviation_max",
    "row_deviation_rms",
    "column_deviation_max",
    "column_deviation_rms",
    "cosine_to_previous",
    "cosine_to_gradient",
];

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A .npy file of the worked example in its own folder.
fn example() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g.npy");
    write_matrix(&path, [2, 3], &G).unwrap();
    let text = path.to_str().unwrap().to_owned();
    (dir, text)
}

#[test]
fn the_program_prints_a_table() {
    let (_dir, file) = example();
    let words = stdout(&program(&["normalize", &file, "--passes", "row,column"]));
    let lines: Vec<&str> = words.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines[0].ends_with("g.npy, 2×3"), "{words}");
    let head = lines.iter().position(|line| line.contains("iter  pass")).unwrap();
    let table = &lines[head..head + 12]; // the header, the gradient, five iterations of two passes
    assert!(table[1].trim_start().starts_with("0  gradient") && table[11].trim_start().starts_with("5  column"));
    let width = table[0].chars().count();
    assert!(table.iter().all(|line| line.chars().count() == width), "not aligned:\n{words}");
    assert!(table[11].contains("1.00000") && table[11].contains("9.77e-2"), "{words}");
    assert!(words.contains("predicted    0.634") && words.contains("observed     0.786"), "{words}");

    let words = stdout(&program(&["normalize", &file, "--passes", "standardize,spectral", "--spectrum"]));
    let head = words.lines().find(|line| line.contains("iter  pass")).unwrap();
    assert!(["σ largest", "σ median", "σ smallest", "eff. rank"].iter().all(|name| head.contains(name)), "{words}");
    assert!(
        words.contains("1  spectral:polar-express:8") && !words.contains("2  standardize"),
        "one iteration: {words}"
    );
    assert!(words.contains("predicted    none: the list is not of row and column passes"), "{words}");
}

#[test]
fn the_programs_json_has_the_promised_keys() {
    let (_dir, file) = example();
    let told = json(&program(&["normalize", &file, "--passes", "row,column", "--iterations", "2", "--json"]));
    assert_eq!(keys(&told), ["passes", "rate_observed", "rate_predicted", "shape"]);
    assert_eq!(told["shape"], serde_json::json!([2, 3]));
    let entries = told["passes"].as_array().unwrap();
    let mut sorted = KEYS;
    sorted.sort();
    assert!(entries.iter().all(|entry| keys(entry) == sorted), "{told}");
    let labels: Vec<String> = entries.iter().map(|entry| format!("{} {}", entry["iteration"], entry["pass"])).collect();
    assert_eq!(labels.join(" "), r#"0 "gradient" 1 "row" 1 "column" 2 "row" 2 "column""#);
    assert!(entries[0]["cosine_to_previous"].is_null() && entries[0]["cosine_to_gradient"] == 1.0, "{told}");
    // Computed by hand from the limit, with rows 1.3967 -1.0237 0.0371 and 0.2219 0.9758 -1.4137; the iterates are
    // still far from it. With S its squares divided by √6, the eigenvalues of S·Sᵀ are 0.8174 ± 0.1828.
    assert!((told["rate_predicted"].as_f64().unwrap() - (0.8174 - 0.1828)).abs() < 1e-3, "{told}");

    let told = json(&program(&["normalize", &file, "--passes", "spectral", "--spectrum", "--json"]));
    let entry = &told["passes"][1];
    let values: Vec<f64> = entry["singular_values"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert!(values.len() == 2 && values[0] >= values[1] && values[0] == entry["operator_norm"], "{told}");
    assert!((values[1] - 3f64.sqrt()).abs() < 0.01, "both come to √3: {told}");
    assert!((entry["effective_rank"].as_f64().unwrap() - 2.0).abs() < 1e-3, "{told}");
    assert!(told["rate_predicted"].is_null() && told["rate_observed"].is_null(), "{told}");
}

#[test]
fn the_program_draws_what_it_found() {
    let (dir, file) = example();
    let out = dir.path().join("g.svg");
    let path = out.to_str().unwrap();
    stdout(&program(&["normalize", &file, "--passes", "row,column", "--spectrum", "--plot", path]));
    let svg = fs::read_to_string(&out).unwrap();
    for words in ["Distance from balance", "Singular values", "predicted rate 0.634", "after iteration 5", "g.npy, 2×3"]
    {
        assert!(svg.contains(words), "{words}: {svg}");
    }
    // Both curves and the line, then three spectra.
    let curves =
        svg.split("<polyline").filter(|element| element.contains("stroke-width=\"2\"") && element.contains("--ink"));
    assert_eq!(curves.count(), 6, "{svg}");
    stdout(&program(&["normalize", &file, "--passes", "spectral", "--plot", path, "--json"]));
    let svg = fs::read_to_string(&out).unwrap();
    assert!(
        !svg.contains("Singular values") && !svg.contains("predicted rate"),
        "nothing was asked or predicted: {svg}"
    );
    fails(&["normalize", &file, "--passes", "row", "--plot", "g.png"], 2, &["--plot: g.png does not end in .svg"]);
    let missing = ["cannot write missing/g.svg: there is no directory missing"];
    fails(&["normalize", &file, "--passes", "row", "--plot", "missing/g.svg"], 1, &missing);
}

#[test]
fn the_program_writes_the_last_matrix_whole() {
    let (dir, file) = example();
    let want = half_steps(FORMS[0], &G, [2, 3], "row,column", 3).unwrap();
    for name in ["x.npy", "x.safetensors"] {
        let out = dir.path().join(name);
        let out = out.to_str().unwrap();
        stdout(&program(&["normalize", &file, "--passes", "row,column", "--iterations", "3", "--out", out]));
        let x = read_matrix(Path::new(out), None).unwrap();
        assert_eq!(x.shape(), [2, 3]);
        assert_close(name, x.values(), &widen(&want.last().unwrap().x), 1e-6);
        // Output can be used as input.
        json(&program(&["normalize", out, "--passes", "column,row", "--json"]));
    }
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "nothing is left beside them: {names:?}");
}

#[test]
fn the_program_does_not_write_over_what_it_reads() {
    let (dir, file) = example();
    let before = std::fs::read(&file).unwrap();
    // Under another name, too.
    let around = dir.path().join("../").join(dir.path().file_name().unwrap()).join("g.npy").display().to_string();
    for out in [&file, &around] {
        fails(&["normalize", &file, "--passes", "row", "--out", out], 2, &["--out: ", "is the input file"]);
    }
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

/// A safetensors file of float32 tensors, as any writer produces it.
fn write_safetensors(path: &Path, tensors: &[(&str, &str, &str, Vec<u8>)]) {
    let (mut parts, mut values) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let begin = values.len();
        values.extend(bytes);
        parts.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{}]}}"#,
            values.len()
        ));
    }
    let header = format!("{{{}}}", parts.join(","));
    fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &values].concat()).unwrap();
}

#[test]
fn the_program_finds_the_tensor_that_is_meant() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g.safetensors");
    let file = path.to_str().unwrap();
    let brains: Vec<u8> = G.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect();
    let doubles: Vec<u8> = (0..8).flat_map(|i| f64::from(i).to_le_bytes()).collect();
    let norm = ("norm.weight", "F64", "[8]", doubles.clone());
    // Integer tensors next to the only matrix are ignored.
    let ids = ("ids", "I64", "[1]", vec![0; 8]);
    write_safetensors(&path, &[norm.clone(), ids, ("q_proj.weight", "BF16", "[2,3]", brains.clone())]);
    let told = json(&program(&["normalize", file, "--passes", "row,column", "--json"]));
    assert_eq!(told["shape"], serde_json::json!([2, 3]));
    let first = told["passes"][0]["frobenius"].as_f64().unwrap();
    assert!((first - 2.09364).abs() < 0.01, "the gradient of the example, in bfloat16: {first}");
    let named = json(&program(&["normalize", file, "--tensor", "norm.weight", "--passes", "row", "--json"]));
    assert_eq!(named["shape"], serde_json::json!([1, 8]));

    let expected = ["--tensor", "has no tensor `q_prj.weight`", "did you mean `q_proj.weight`?", "norm.weight [8]"];
    fails(&["normalize", file, "--tensor", "q_prj.weight", "--passes", "row"], 2, &expected);
    fails(&["normalize", file, "--tensor", "ids", "--passes", "row"], 1, &["ids is I64; only F32, F16, BF16 and F64"]);
    write_safetensors(&path, &[norm, ("a", "BF16", "[2,3]", brains.clone()), ("b", "BF16", "[3,2]", brains)]);
    let expected = ["--tensor", "holds 2 matrices, so one must be named: a [2, 3], b [3, 2]"];
    fails(&["normalize", file, "--passes", "row"], 2, &expected);
    write_safetensors(&path, &[("a", "F64", "[2,2,2]", doubles)]);
    fails(&["normalize", file, "--passes", "row"], 1, &["a has shape [2, 2, 2]; passes need a matrix"]);
}

#[test]
fn the_program_says_what_is_wrong() {
    let (dir, file) = example();
    let fails = |args: &[&str], status: i32, expected: &[&str]| {
        fails(&[&["normalize"], args].concat(), status, expected);
    };
    let row = ["--passes", "row"];
    fails(&[&["missing.npy"], &row[..]].concat(), 1, &["cannot read missing.npy"]);
    fails(&[&["missing.safetensors"], &row[..]].concat(), 1, &["cannot read missing.safetensors"]);
    fails(&[&["matrix.txt"], &row[..]].concat(), 2, &["FILE: matrix.txt ends neither in .safetensors nor in .npy"]);
    fails(&[&file, "--passes", "rows"], 2, &["--passes: no pass is called `rows`", "did you mean `row`?"]);
    fails(&[&file, "--passes", ","], 2, &["--passes: is empty"]);
    fails(&[&file, "--passes", "row", "--iterations", "0"], 2, &["--iterations: must be at least 1"]);
    fails(&[&file, "--passes", "row", "--tolerance=-1"], 2, &["--tolerance: must be 0 or more, got -1"]);
    fails(&[&file, "--passes", "row", "--tensor", "a"], 2, &["--tensor:", "holds one array and no names"]);
    fails(&[&file, "--passes", "row", "--out", "x.txt"], 2, &["--out: x.txt ends neither in"]);
    fails(
        &[&file, "--passes", "row", "--out", "missing/x.npy"],
        1,
        &["cannot write missing/x.npy: there is no directory missing"],
    );

    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    fails(&[&file, "--passes", "row"], 1, &["g.npy: holds 151 bytes, its header requires 152: the file is truncated"]);
    let nan = dir.path().join("nan.npy");
    write_matrix(&nan, [2, 3], &[1.0, 1.0, 1.0, 1.0, 1.0, f32::NAN]).unwrap();
    fails(&[nan.to_str().unwrap(), "--passes", "row"], 1, &["nan.npy holds NaN at row 1, column 2"]);
    let empty = dir.path().join("empty.npy");
    write_matrix(&empty, [0, 3], &[]).unwrap();
    fails(&[empty.to_str().unwrap(), "--passes", "row"], 1, &["empty.npy is empty: 0×3"]);
}
