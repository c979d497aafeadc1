//! Matrix products in the three layouts of training, at the sizes of a model: sampled entries are compared with f64,
//! then the products are timed.

use half::f16;
use multinorm::config::RunConfig;
use multinorm::gpu::{Class, DType, Gpu, Need, Profile, Recorder, Schedule, Tensor};
use multinorm::kernels::Output;
use multinorm::kernels::matmul::{self, Layout, Numbers};
use multinorm::train::record_training;
use multinorm::{Error, Result};
use serde::Serialize;

use super::ceilings::Ceilings;
use super::steady_secs;

/// Number of entries compared with f64, a prime number of entries apart.
const SAMPLES: usize = 256;
/// Largest deviation of an f32 product, relative to the root mean square: plain halves reach 7e-4.
const TOLERANCE: f64 = 1e-4;
/// The same in half precision, whose results are rounded to 11 bits: for numbers up to four times the root mean square.
const HALF_TOLERANCE: f64 = 4e-3;

/// A verified product and its time.
#[derive(Serialize)]
pub struct Product {
    /// See [`name`].
    pub layout: &'static str,
    pub mnk: [usize; 3],
    /// See [`kernels_of`].
    pub kernels: Vec<&'static str>,
    pub error: f64,
    pub secs: f64,
    pub gflops: f64,
    pub share_of_ceiling: f64,
    /// `multiply-add`, or `matrix units`, where one f32 product takes three half-precision products.
    pub ceiling: &'static str,
}

/// A layout named by its operands, as in tables and `--json`.
pub fn name(layout: Layout) -> &'static str {
    match layout {
        Layout::Nt => "x wT",
        Layout::Nn => "g w",
        Layout::Tn => "gT x",
    }
}

/// Indices of the two factors for entry `[row, col]`, at `inner` of the inner dimension.
fn places(layout: Layout, [m, n, k]: [usize; 3], [row, col, inner]: [usize; 3]) -> [usize; 2] {
    match layout {
        Layout::Nt => [row * k + inner, col * k + inner],
        Layout::Nn => [row * k + inner, inner * n + col],
        Layout::Tn => [inner * m + row, inner * n + col],
    }
}

/// A product to measure, and whether it may run on matrix units.
pub type Asked = (matmul::Product, bool);

/// Two fixed shapes, the second no multiple of anything; then the products of a run's plans.
///
/// Errors: the settings cannot be recorded.
pub fn of_run(config: &RunConfig, profile: &Profile) -> Result<Vec<Asked>> {
    let one = |layout, mnk| (matmul::Product { layout, mnk, matrices: 1, numbers: Numbers::Single }, false);
    let shapes = [[512; 3], [509, 251, 127]].into_iter();
    let mut products: Vec<Asked> = shapes.flat_map(|mnk| Layout::ALL.map(|layout| one(layout, mnk))).collect();
    let recorder = record_training(config, profile)?.recorder;
    let recorded = recorder.choices().keys().filter_map(|what| matmul::Product::of_words(what));
    for asked in recorded.filter(|(product, _)| product.matrices == 1) {
        if !products.contains(&asked) {
            products.push(asked);
        }
    }
    Ok(products)
}

/// Records a product as the plan `product`; returns a, b and the result.
fn recorded(gpu: &Gpu, &(product, high): &Asked) -> (Recorder, [Tensor; 3]) {
    let mut rec = Recorder::new(&Profile { splits_f32: high, ..gpu.profile.clone() });
    let matmul::Product { layout, mnk, .. } = product;
    let ([a, b], [type_a, type_b, type_y]) = (layout.operands(mnk), product.numbers.dtypes(layout));
    let mut tensor = |dtype, shape: &[usize]| rec.persistent(Class::Scratch, dtype, "matrix", shape);
    let [a, b, y] = [tensor(type_a, &a), tensor(type_b, &b), tensor(type_y, &mnk[..2])];
    rec.begin("product");
    matmul::product(&mut rec, layout, [&a, &b], &y, Output::Write);
    (rec, [a, b, y])
}

/// The kernels of a product: several if the inner dimension is split or the operands are inspected first.
pub fn kernels_of(gpu: &Gpu, asked: &Asked) -> Vec<&'static str> {
    names(&recorded(gpu, asked).0)
}

fn names(recorder: &Recorder) -> Vec<&'static str> {
    recorder.dispatches("product").iter().map(|(kernel, _)| *kernel).collect()
}

/// Verifies a product, then times it.
///
/// Errors: the deviation from f64 exceeds the rounding error of its arithmetic.
pub async fn measure(gpu: &Gpu, ceilings: &Ceilings, asked: &Asked, budget_secs: f64) -> Result<Product> {
    let matmul::Product { layout, mnk, .. } = asked.0;
    let [m, n, k] = mnk;
    let (rec, [a, b, y]) = recorded(gpu, asked);
    let kernels = names(&rec);
    let on_units = rec.kernels().iter().any(|(kernel, _)| kernel.needs.contains(&Need::MatrixUnits));
    let workspace = rec.allocate(gpu).await?;
    let values =
        |len: usize, step: usize| -> Vec<f32> { (0..len).map(|i| ((i * step) % 61) as f32 / 30.0 - 1.0).collect() };
    let rounded = |tensor: &Tensor, step: usize| -> Vec<f32> {
        let values = values(tensor.len(), step);
        if tensor.dtype == DType::F16 { values.into_iter().map(|x| f16::from_f32(x).into()).collect() } else { values }
    };
    let (a_values, b_values) = (rounded(&a, 7919), rounded(&b, 104_729));
    workspace.write_numbers(gpu, &a, &a_values);
    workspace.write_numbers(gpu, &b, &b_values);
    workspace.run(gpu, &["product"]);
    let got = workspace.read_numbers(gpu, &y).await?;
    let (mut worst, mut squares) = (0.0_f64, 0.0);
    let samples = SAMPLES.min(got.len());
    for sample in 0..samples {
        // The corners first, then samples everywhere.
        let at = [0, n - 1, (m - 1) * n, m * n - 1].get(sample).copied().unwrap_or(sample * 1_000_003 % got.len());
        let multiplied = (0..k).map(|inner| places(layout, mnk, [at / n, at % n, inner]));
        let want: f64 = multiplied.map(|[at_a, at_b]| f64::from(a_values[at_a]) * f64::from(b_values[at_b])).sum();
        let error = (f64::from(got[at]) - want).abs();
        worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
        squares += want * want;
    }
    let error = worst / (squares / samples as f64).sqrt();
    if error > if asked.0.numbers == Numbers::Half { HALF_TOLERANCE } else { TOLERANCE } {
        let name = name(layout);
        return Err(Error::Gpu(format!("{name} {mnk:?} differs from f64 by {error:.1e}: nothing is timed")));
    }
    let secs =
        steady_secs(budget_secs, async |replays| workspace.time_replays(gpu, "product", Schedule::All, replays).await)
            .await?;
    let flops_per_sec = 2.0 * (m * n) as f64 * k as f64 / secs;
    let units = ceilings.matrix_units_flops_per_sec.filter(|_| on_units);
    let share_of_ceiling = flops_per_sec / units.unwrap_or(ceilings.fma_flops_per_sec);
    let ceiling = if units.is_some() { "matrix units" } else { "multiply-add" };
    let gflops = flops_per_sec / 1e9;
    Ok(Product { layout: name(layout), mnk, kernels, error, secs, gflops, share_of_ceiling, ceiling })
}
