//! `multinorm bench kernels`: matrix products in the three layouts of training.

use multinorm::gpu::{Class, DType, Gpu, Recorder, Tensor};
use multinorm::kernels::{Output, matmul};
use multinorm::reference;
use multinorm::{Error, Result};
use serde_json::json;
use web_time::Instant;

use crate::cli::DeviceArgs;
use crate::cli::output::print_json;

type Launch = fn(&mut Recorder, &Tensor, &Tensor, &Tensor, Output);
type Reference = fn(&[f64], &[f64], [usize; 3]) -> Vec<f64>;

/// Replays of one product in a timed submission.
const REPEATS: usize = 10;

pub fn run(device: &DeviceArgs, json: bool) -> Result<()> {
    let gpu = device.open()?;
    let mut rows = Vec::new();
    let layouts: [(&str, Launch, Reference); 3] = [
        ("x wT", matmul::nt, reference::matmul::nt),
        ("g w", matmul::nn, reference::matmul::nn),
        ("gT x", matmul::tn, reference::matmul::tn),
    ];
    for mnk in [[512, 512, 512], [512, 1376, 512], [509, 251, 127]] {
        for (layout, launch, reference) in layouts {
            let (error, secs) = pollster::block_on(product(&gpu, layout, launch, reference, mnk))?;
            if error > 1e-5 {
                return Err(Error::Gpu(format!("{layout} {mnk:?} differs from the reference by {error:.1e}")));
            }
            let gflops = 2.0 * mnk.iter().product::<usize>() as f64 / secs / 1e9;
            rows.push(json!({ "layout": layout, "mnk": mnk, "error": error, "secs": secs, "gflops": gflops }));
            if !json {
                println!(
                    "{layout:<6} {:<18} error {error:.1e}  {:>9.3} ms  {gflops:>8.1} GFLOP/s",
                    format!("{mnk:?}"),
                    secs * 1e3
                );
            }
        }
    }
    if json {
        print_json(&json!({ "adapter": gpu.adapter_name, "driver": gpu.driver, "products": rows }))
    } else {
        Ok(())
    }
}

/// Largest difference from the reference over its root mean square, and seconds of one product.
async fn product(gpu: &Gpu, layout: &str, launch: Launch, reference: Reference, mnk: [usize; 3]) -> Result<(f64, f64)> {
    let [m, n, k] = mnk;
    let mut rec = Recorder::new(&gpu.profile);
    let (a_shape, b_shape) = match layout {
        "x wT" => ([m, k], [n, k]),
        "g w" => ([m, k], [k, n]),
        _ => ([k, m], [k, n]),
    };
    let a = rec.persistent(Class::Scratch, DType::F32, "a", &a_shape);
    let b = rec.persistent(Class::Scratch, DType::F32, "b", &b_shape);
    let y = rec.persistent(Class::Scratch, DType::F32, "y", &[m, n]);
    rec.begin("product");
    for _ in 0..REPEATS {
        launch(&mut rec, &a, &b, &y, Output::Write);
    }
    let workspace = rec.allocate(gpu).await?;
    let values =
        |len: usize, step: usize| -> Vec<f32> { (0..len).map(|i| ((i * step) % 61) as f32 / 30.0 - 1.0).collect() };
    let (a_values, b_values) = (values(a.len(), 7919), values(b.len(), 104_729));
    workspace.write(gpu, &a, &a_values);
    workspace.write(gpu, &b, &b_values);
    workspace.run(gpu, &["product"]);
    let got: Vec<f32> = workspace.read(gpu, &y).await?;
    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
    let want = reference(&wide(&a_values), &wide(&b_values), mnk);
    let rms = (want.iter().map(|value| value * value).sum::<f64>() / want.len() as f64).sqrt();
    let error =
        got.iter().zip(&want).fold(0.0_f64, |error, (got, want)| error.max((f64::from(*got) - want).abs())) / rms;
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let began = Instant::now();
        workspace.run(gpu, &["product"]);
        gpu.wait()?;
        best = best.min(began.elapsed().as_secs_f64() / REPEATS as f64);
    }
    Ok((error, best))
}
