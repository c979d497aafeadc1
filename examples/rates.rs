//! What decides how fast alternating row and column passes converge: rates of matrices with independent entries and of
//! low-rank matrices, compared with the formulas. With a .safetensors file as its argument, the rate of every matrix in it.

use std::path::{Path, PathBuf};

use multinorm::normalize::read_matrix;
use multinorm::spectrum::{Balance, rate_of_independent, rate_of_rank, synthetic};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use safetensors::SafeTensors;

fn normal(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| StandardNormal.sample(&mut rng)).collect()
}

fn tell(name: &str, shape @ [m, n]: [usize; 2], x: &[f32], formula: impl Fn(&Balance) -> f64) {
    let Some(balance) = Balance::of(x, shape) else { return println!("{name}, {m}×{n}: no limit") };
    let largest = balance.squares.iter().fold(0.0_f32, |largest, p| largest.max(*p));
    let alone = (f64::from(largest) - 1.0).powi(2) / (m * n) as f64;
    print!("{name}, {m}×{n}: heaviness {:.3}, rate {:.4}, ", balance.heaviness, balance.rate);
    println!("by the formula {:.4}, for its largest entry at least {alone:.4}", formula(&balance));
}

fn matrices() {
    println!("independent entries: (heaviness − 1)·(1/√m + 1/√n)²");
    for shape @ [m, n] in [[64, 64], [256, 256], [1024, 1024], [512, 2048], [2048, 5461]] {
        let of_heaviness = |of: &Balance| rate_of_independent(shape, of.heaviness);
        let entries = normal(m * n, 5);
        let squared: Vec<f32> = entries.iter().map(|x| x * x).collect();
        tell("normal", shape, &entries, of_heaviness);
        tell("squares of normal ones", shape, &squared, of_heaviness);
        tell("log-normal, of kurtosis 10", shape, &synthetic(shape, 10.0, 5), of_heaviness);
    }
    println!("\nnormal factors of rank k: 4/(k + 2)²");
    for rank in [1, 2, 4, 8] {
        for shape @ [m, n] in [[512, 512], [2048, 2048]] {
            let [y, z] = [normal(m * rank, 6), normal(n * rank, 7)];
            let dot = |i: usize, j: usize| (0..rank).map(|k| y[i * rank + k] * z[j * rank + k]).sum();
            let x: Vec<f32> = (0..m * n).map(|at| dot(at / n, at % n)).collect();
            tell(&format!("rank {rank}"), shape, &x, |_| rate_of_rank(rank));
        }
    }
}

fn file(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    println!("by the formula: with independent entries of the same heaviness");
    let bytes = std::fs::read(path)?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let mut names: Vec<String> =
        tensors.iter().filter(|(_, of)| of.shape().len() == 2).map(|(name, _)| name.to_owned()).collect();
    names.sort();
    for name in names {
        let matrix = read_matrix(path, Some(&name))?;
        let [m, n] = matrix.shape()[..] else { continue };
        tell(&name, [m, n], matrix.values(), |of| rate_of_independent([m, n], of.heaviness));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1) {
        Some(path) => file(&PathBuf::from(path)),
        None => {
            matrices();
            Ok(())
        }
    }
}
