//! Records one kernel, runs it, and compares the result with the f64 reference.
#![expect(clippy::disallowed_methods, reason = "a main may block")]

use multinorm::gpu::{Class, DType, Gpu, GpuOptions, Recorder};
use multinorm::kernels::rms_norm::rms_norm;
use multinorm::reference;

#[pollster::main]
async fn main() -> multinorm::Result<()> {
    let gpu = Gpu::open(&GpuOptions::default()).await?;
    let (rows, cols, eps) = (3, 5, 0.1);
    let mut rec = Recorder::new(&gpu.profile);
    let x = rec.persistent(Class::Activations, DType::F32, "x", &[rows, cols]);
    let weight = rec.persistent(Class::Parameters, DType::F32, "weight", &[cols]);
    let y = rec.persistent(Class::Activations, DType::F32, "y", &[rows, cols]);
    rec.begin("norm");
    rms_norm(&mut rec, &x, &weight, &y, eps);
    let workspace = rec.allocate(&gpu).await?;

    let x_values: Vec<f32> = (0..15).map(|i| (i as f32).sin()).collect();
    let weight_values = vec![1.0, 0.5, 2.0, -1.0, 0.0_f32];
    workspace.write(&gpu, &x, &x_values);
    workspace.write(&gpu, &weight, &weight_values);
    workspace.run(&gpu, &["norm"]);
    let y_values: Vec<f32> = workspace.read(&gpu, &y).await?;

    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
    let expected = reference::rms_norm::forward(&wide(&x_values), &wide(&weight_values), rows, cols, eps);
    println!("on {}", gpu.adapter_name);
    for (got, want) in y_values.iter().zip(&expected) {
        println!("{got:>12.8} {want:>12.8} {:>9.1e}", f64::from(*got) - want);
    }
    Ok(())
}
