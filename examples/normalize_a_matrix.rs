//! Normalizes one matrix and prints it after every pass: SinkGD's rows and columns, then `spectral`, which flattens the
//! spectrum.
#![expect(clippy::disallowed_methods, reason = "a main may block")]

use multinorm::config::Pass;
use multinorm::gpu::{Class, DType, Gpu, GpuOptions, Recorder};
use multinorm::optim::Iterate;

const G: [f32; 6] = [3.0, -1.0, 0.5, 0.1, 0.2, -4.0];

#[pollster::main]
async fn main() -> multinorm::Result<()> {
    let gpu = Gpu::open(&GpuOptions::default()).await?;
    let passes = Pass::parse_list(&["row,column,row,column,spectral:cubic:10".into()]).expect("names of passes");
    let mut rec = Recorder::new(&gpu.profile);
    let gradient = rec.persistent(Class::Gradients, DType::F32, "gradient", &[2, 3]);
    let results: Vec<_> =
        passes.iter().map(|pass| rec.persistent(Class::Scratch, DType::F32, pass.to_string(), &[2, 3])).collect();
    rec.begin("passes");
    let mut iterate = Iterate::new(&gradient)?;
    for (pass, result) in passes.iter().zip(&results) {
        iterate.passes(&mut rec, &[*pass]);
        iterate.materialize_into(&mut rec, result);
    }
    let workspace = rec.allocate(&gpu).await?;
    workspace.write(&gpu, &gradient, &G);
    workspace.run(&gpu, &["passes"]);

    print("gradient", &G);
    for (pass, result) in passes.iter().zip(&results) {
        print(&pass.to_string(), &workspace.read(&gpu, result).await?);
    }
    Ok(())
}

fn print(name: &str, x: &[f32]) {
    let norm = |x: &mut dyn Iterator<Item = &f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    println!("{name}: rows / √n and columns / √m have norms");
    for row in x.chunks(3) {
        let norm = norm(&mut row.iter()) / 3f32.sqrt();
        println!("  {:>8.4} {:>8.4} {:>8.4}   | {norm:.4}", row[0], row[1], row[2]);
    }
    let columns: Vec<_> = (0..3).map(|j| norm(&mut [x[j], x[3 + j]].iter()) / 2f32.sqrt()).collect();
    println!("  {:>8.4} {:>8.4} {:>8.4}\n", columns[0], columns[1], columns[2]);
}
