//! Where alternating row and column passes lead: five matrices, every half-step, and the rate predicted and observed.
//! With a directory as its argument, it also writes a plot of each there.
#![expect(clippy::disallowed_methods, reason = "a main may block")]

use multinorm::config::Pass;
use multinorm::gpu::{Gpu, GpuOptions};
use multinorm::normalize::{Matrix, Options, normalize, picture};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

fn matrices() -> [(&'static str, &'static str, [usize; 2], Vec<f32>); 5] {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut normal = |len: usize| -> Vec<f32> { (0..len).map(|_| StandardNormal.sample(&mut rng)).collect() };
    let outer = |u: Vec<f32>, v: Vec<f32>| u.iter().flat_map(|u| v.iter().map(move |v| u * v)).collect();
    [
        (
            "2×3",
            "far from balance in two columns: slow, and good to watch",
            [2, 3],
            vec![3.0, -1.0, 0.5, 0.1, 0.2, -4.0],
        ),
        ("Gaussian", "X⊙X is near constant, so its second singular value is small", [64, 64], normal(64 * 64)),
        ("rank one", "sign(G), in one iteration: rows and columns factor apart", [5, 7], outer(normal(5), normal(7))),
        (
            "triangular",
            "every entry above the diagonal must vanish, for no permutation passes through it: the error falls like 1/k",
            [6, 6],
            (0..36).map(|at| if at / 6 <= at % 6 { 1.0 } else { 0.0 }).collect(),
        ),
        (
            "no support",
            "three rows live in two columns, which cannot hold as much: the iteration swings for ever",
            [4, 4],
            (0..16).map(|at| if at / 4 < 3 && at % 4 < 2 { 0.0 } else { 1.0 }).collect(),
        ),
    ]
}

#[pollster::main]
async fn main() -> multinorm::Result<()> {
    let gpu = Gpu::open(&GpuOptions::default()).await?;
    let folder = std::env::args().nth(1);
    let passes = vec![Pass::Row, Pass::Column];
    let options = Options { passes, iterations: 6, tolerance: 0.0, spectrum: folder.is_some() };
    for (name, why, shape, values) in matrices() {
        println!("{name} {shape:?}: {why}");
        let matrix = Matrix::new(name, &shape, values)?;
        let report = normalize(&gpu, &matrix, &options, |entry, _| {
            let (q, cosine) = (&entry.quantities, entry.quantities.cosine_to_previous.unwrap_or(1.0));
            print!("  {} {:<9} rows off by {:.2e}, ", entry.iteration, entry.pass, q.row_deviation_rms);
            println!("columns by {:.2e}, cosine to the step before {cosine:.7}", q.column_deviation_rms);
        });
        let report = report.await?;
        let rate = |rate: Option<f64>| rate.map_or("none".into(), |rate| format!("{rate:.4}"));
        if let Some(folder) = &folder {
            let file = std::path::Path::new(folder).join(format!("{}.svg", name.replace([' ', '×'], "-")));
            multinorm::files::write_atomic(&file, picture(name, &report).as_bytes())?;
        }
        println!("  rate predicted {}, observed {}\n", rate(report.rate_predicted), rate(report.rate_observed));
    }
    Ok(())
}
