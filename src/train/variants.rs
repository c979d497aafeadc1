//! Which variants of the matrix products are the fastest here: measured once, before a first step, and kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::recording::record_training;
use crate::checkpoint::write_atomic;
use crate::config::RunConfig;
use crate::gpu::{Class, DType, Due, Gpu, Profile, Recorder};
use crate::kernels::matmul::{self, Product, Variant};
use crate::kernels::{Output, random};
use crate::{Error, Result};

/// Seconds after which no other product is measured: one that was begun is finished, and compiling its kernels takes the
/// slowest driver seen here most of another second.
const BUDGET_SECS: f64 = 1.0;
/// How much faster a variant must be than the one by rule to take its place: less is noise.
const LEAST_GAIN: f64 = 1.03;
/// Floating-point operations of a product below which its variant hardly matters.
const LEAST_FLOPS: u64 = 100_000_000;
/// Largest difference of two variants' results, over the root mean square: sums of halves come to 6e-5 at most.
const AGREEMENT: f64 = 3e-4;

/// What became of the products of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Confirmed {
    /// Products that were measured now.
    pub measured: usize,
    /// Those of them whose variant by rule was overruled.
    pub overruled: usize,
    /// Products that had to go by rule, for want of time.
    pub by_rule: usize,
    /// Seconds that it took.
    pub secs: f64,
}

/// What was chosen on one adapter, by one version of its driver and of this program.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    adapter: String,
    driver: String,
    version: String,
    choices: BTreeMap<String, String>,
}

/// Gives the profile of `gpu` the variants that are the fastest for the products of these runs: those that an earlier run measured
/// and kept in `data.cache_dir`, and, for products that none has met, those that are measured now.
///
/// What is kept stays: runs of one program on one adapter and driver choose alike, and so end in the same bits. Where time
/// runs out the variant by rule is kept. A software adapter always goes by rule, and so do runs of which the first has
/// `train.measure_variants = false`.
///
/// Errors: products of two variants that disagree, a device that fails, a folder that cannot be written.
pub async fn confirm_variants(gpu: &mut Gpu, runs: &[RunConfig]) -> Result<Confirmed> {
    let began = Instant::now();
    let Some(first) = runs.first().filter(|first| first.train.measure_variants && !gpu.profile.software) else {
        return Ok(Confirmed::default());
    };
    let path = place(&gpu.adapter_name, &gpu.driver, &first.data.cache_dir);
    let mut kept = read(&gpu.adapter_name, &gpu.driver, &path);
    gpu.profile.choices = kept.choices.clone();
    let mut flops_of: BTreeMap<String, u64> = BTreeMap::new();
    for run in runs {
        for (what, choice) in record_training(run, &gpu.profile)?.recorder.choices() {
            *flops_of.entry(what.clone()).or_default() += choice.flops;
        }
    }
    flops_of.retain(|what, flops| *flops >= LEAST_FLOPS && !kept.choices.contains_key(what));
    let mut asked: Vec<(String, u64)> = flops_of.into_iter().collect();
    asked.sort_by_key(|&(_, flops)| std::cmp::Reverse(flops));
    let mut confirmed = Confirmed::default();
    for (what, _) in asked {
        let Some((product, high)) = Product::of_words(&what) else { continue };
        let profile = Profile { splits_f32: high, ..gpu.profile.clone() };
        let candidates = matmul::candidates(&profile, &product);
        let mut fastest = candidates[0];
        if candidates.len() > 1 && began.elapsed().as_secs_f64() < BUDGET_SECS {
            fastest = measure(gpu, &profile, &product, &candidates).await?;
            confirmed.measured += 1;
            confirmed.overruled += usize::from(fastest != candidates[0]);
        } else {
            confirmed.by_rule += usize::from(candidates.len() > 1);
        }
        kept.choices.insert(what, fastest.to_string());
    }
    if kept.choices != gpu.profile.choices {
        let folder = path.parent().expect("a file in a folder");
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let text = serde_json::to_string_pretty(&kept).expect("plain data");
        write_atomic(&path, text.as_bytes())?;
        gpu.profile.choices = kept.choices;
    }
    confirmed.secs = began.elapsed().as_secs_f64();
    Ok(confirmed)
}

/// The variants that earlier runs on an adapter kept in a cache folder, by what they are for; `driver` is [`Gpu::driver`].
pub fn kept_variants(adapter: &str, driver: &str, cache_dir: &Path) -> BTreeMap<String, String> {
    read(adapter, driver, &place(adapter, driver, cache_dir)).choices
}

/// The fastest of several variants that agree; the first, where no other is faster by more than noise.
async fn measure(gpu: &Gpu, profile: &Profile, product: &Product, candidates: &[Variant]) -> Result<Variant> {
    let mut rec = Recorder::new(profile);
    let mut tensor = |name: &str, shape: [usize; 2]| {
        let shape = [&[product.matrices], &shape[..]].concat();
        rec.persistent(Class::Scratch, DType::F32, name, &shape)
    };
    let operands = product.layout.operands(product.mnk).map(|shape| tensor("operand", shape));
    let y = tensor("product", [product.mnk[0], product.mnk[1]]);
    let step = rec.persistent(Class::Scratch, DType::U32, "step", &[4]);
    rec.begin("operands");
    for (stream, operand) in (1..).zip(&operands) {
        random::gaussian(&mut rec, operand, &step, 1.0, stream, 1);
    }
    for variant in candidates {
        rec.begin(variant.to_string());
        matmul::record(&mut rec, product, *variant, [&operands[0], &operands[1]], &y, Output::Write);
    }
    let workspace = rec.allocate(gpu).await?;
    workspace.run(gpu, &["operands"]);
    // The first and the last rows are enough to see an error.
    let rows = product.matrices * product.mnk[0];
    let y = y.reshaped(&[rows, product.mnk[1]]);
    let ends = [y.rows(0..rows.min(16)), y.rows(rows.saturating_sub(16)..rows)];
    let (mut expected, mut times): (Vec<f32>, Vec<f64>) = (Vec::new(), Vec::new());
    for variant in candidates {
        let plan = variant.to_string();
        workspace.run(gpu, &[&plan]);
        let mut found: Vec<f32> = workspace.read(gpu, &ends[0]).await?;
        found.extend(workspace.read::<f32>(gpu, &ends[1]).await?);
        if expected.is_empty() {
            expected.clone_from(&found);
        }
        let square = |x: f32| f64::from(x).powi(2);
        let rms = (expected.iter().map(|&x| square(x)).sum::<f64>() / expected.len() as f64).sqrt();
        let mut differences = expected.iter().zip(&found).map(|(a, b)| f64::from((a - b).abs()));
        if let Some(worst) = differences.find(|difference| difference.is_nan() || *difference > AGREEMENT * rms) {
            let what = product.what(profile);
            return Err(Error::Gpu(format!(
                "{}: {what} by {plan} differs from {} by {worst:.1e} where numbers are {rms:.1e}: please report it, and set \
                 train.measure_variants = false meanwhile",
                gpu.adapter_name, candidates[0]
            )));
        }
        times.push(workspace.time_replays(gpu, &plan, Due::All, 2).await?);
    }
    let fastest = (0..times.len()).min_by(|&a, &b| times[a].total_cmp(&times[b])).expect("a candidate");
    log::debug!("{}: {candidates:?} take {times:?} s", product.what(profile));
    Ok(candidates[if times[0] > LEAST_GAIN * times[fastest] { fastest } else { 0 }])
}

/// One file an adapter and driver.
fn place(adapter: &str, driver: &str, cache_dir: &Path) -> PathBuf {
    let plain = |text: &str| -> String {
        let word =
            text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' });
        word.collect()
    };
    let name = format!("{}-{}.json", plain(adapter), plain(driver));
    cache_dir.join("variants").join(name)
}

/// What is kept there, if it is of this adapter, driver and program.
fn read(adapter: &str, driver: &str, path: &Path) -> Kept {
    let own = Kept {
        adapter: adapter.into(),
        driver: driver.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        choices: BTreeMap::new(),
    };
    let Ok(text) = std::fs::read_to_string(path) else { return own };
    match serde_json::from_str::<Kept>(&text) {
        Ok(kept) if (&kept.adapter, &kept.driver, &kept.version) == (&own.adapter, &own.driver, &own.version) => kept,
        Ok(_) => own,
        Err(error) => {
            log::warn!("{}: {error}: variants are measured again", path.display());
            own
        }
    }
}
