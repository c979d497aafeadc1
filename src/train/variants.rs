//! Finds the fastest matrix-product variants on this adapter: measured once, before the first step, and kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::recording::record_training_recomputing;
use crate::config::{Recompute, RunConfig};
use crate::files::write_atomic;
use crate::gpu::{Class, DType, Gpu, Profile, Recorder, Schedule};
use crate::kernels::matmul::{self, Numbers, Product, Variant};
use crate::kernels::{Output, Target, random};
use crate::{Error, Result};

/// Seconds of measuring after which no further product is started; the current one is finished.
const BUDGET_SECS: f64 = 1.0;
/// How much faster a variant must be than the one by rule to replace it: less is noise.
const LEAST_GAIN: f64 = 1.03;
/// FLOPs of all products of one shape together below which their variant hardly matters.
const LEAST_FLOPS: u64 = 100_000_000;
/// Largest difference between two variants' results, relative to the root mean square: sums of halves reach 6e-5 at
/// most.
const AGREEMENT: f64 = 3e-4;
/// The same for f16 results, in addition to the last of each number's own 11 bits: matrix units round weights too.
const HALF_AGREEMENT: f64 = 1.5e-3;

/// The outcome for a run's products.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Products measured now.
    pub measured: usize,
    /// Measured products whose variant by rule was replaced.
    pub overruled: usize,
    /// Products left to the rule because time ran out, or because a variant does not fit the adapter.
    pub by_rule: usize,
    /// Duration in seconds.
    pub secs: f64,
}

/// The choices for one adapter, driver version and program version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Chosen {
    adapter: String,
    driver: String,
    /// The features that determined which variants were available.
    features: String,
    version: String,
    /// Hash of the kernel texts to choose from.
    kernels: String,
    choices: BTreeMap<String, String>,
}

/// Gives the profile of `gpu` the fastest variants for the products of these runs: those that an earlier run measured
/// and kept in the cache, and newly measured ones for other products.
///
/// Kept choices do not change, so runs of one program on one adapter and driver choose alike and produce bit-identical
/// results. If time runs out, the variant by rule is kept. The rule always applies on a software adapter, if the first
/// run has `train.measure_variants = false`, and to runs that do not fit the adapter. If the cache folder cannot be
/// written, the next run measures again, and a warning says so.
///
/// Errors: two variants disagree on a product, or the device fails.
pub async fn measure_variants(gpu: &mut Gpu, runs: &[RunConfig]) -> Result<Measured> {
    measure_variants_within(gpu, runs, BUDGET_SECS).await
}

/// The same with `budget_secs` instead of one second; with 0, every product goes by rule from then on.
pub async fn measure_variants_within(gpu: &mut Gpu, runs: &[RunConfig], budget_secs: f64) -> Result<Measured> {
    let began = Instant::now();
    let Some(first) = runs.first().filter(|first| first.train.measure_variants && !gpu.profile.software) else {
        return Ok(Measured::default());
    };
    let path = place(&gpu.adapter_name, &gpu.driver, &first.data.cache_dir());
    gpu.profile.choices = BTreeMap::new();
    let wanted = wanted(runs, &gpu.profile)?;
    gpu.profile.choices = read(gpu, &path).of(&wanted);
    let mut asked: Vec<(String, u64)> = wanted.clone().into_iter().collect();
    asked.retain(|(what, _)| !gpu.profile.choices.contains_key(what));
    asked.sort_by_key(|&(_, flops)| std::cmp::Reverse(flops));
    let mut result = Measured::default();
    let mut found = BTreeMap::new();
    for (what, _) in asked {
        let Some((product, high)) = Product::of_words(&what) else { continue };
        let profile = Profile { splits_f32: high, ..gpu.profile.clone() };
        let candidates = matmul::candidates(&profile, &product);
        if candidates.len() < 2 {
            continue;
        }
        let mut fastest = None;
        if began.elapsed().as_secs_f64() < budget_secs {
            fastest = match measure(gpu, &profile, &product, &candidates).await {
                Err(Error::TooLarge(_)) => None,
                other => Some(other?),
            };
        }
        match fastest {
            Some(_) => result.measured += 1,
            None => result.by_rule += 1,
        }
        result.overruled += usize::from(fastest.is_some_and(|fastest| fastest != candidates[0]));
        found.insert(what, fastest.unwrap_or(candidates[0]).to_string());
    }
    if !found.is_empty() {
        gpu.profile.choices.extend(found.clone());
        match keep(&read(gpu, &path), &path, found) {
            Ok(kept) => gpu.profile.choices = kept.of(&wanted),
            Err(error) => log::warn!("{error}: the next run measures its variants again"),
        }
    }
    result.secs = began.elapsed().as_secs_f64();
    Ok(result)
}

/// The products of these runs worth measuring, with their FLOPs. No others are looked up: measurements for another run
/// must not change the results of a run that goes by rule.
///
/// Errors: a run that cannot be recorded.
fn wanted(runs: &[RunConfig], profile: &Profile) -> Result<BTreeMap<String, u64>> {
    let mut flops_of: BTreeMap<String, u64> = BTreeMap::new();
    for run in runs {
        // The products are the same for every kind of recomputation, which must not change the results.
        let recorder = record_training_recomputing(run, profile, Recompute::None)?.recorder;
        if recorder.check_limits().is_err() {
            continue; // training it reports this properly
        }
        for (what, choice) in recorder.choices() {
            *flops_of.entry(what.clone()).or_default() += choice.flops;
        }
    }
    flops_of.retain(|_, flops| *flops >= LEAST_FLOPS);
    Ok(flops_of)
}

impl Chosen {
    fn of(&self, wanted: &BTreeMap<String, u64>) -> BTreeMap<String, String> {
        let choices = self.choices.iter().filter(|(what, _)| wanted.contains_key(*what));
        choices.map(|(what, variant)| (what.clone(), variant.clone())).collect()
    }
}

/// Adds what was found to what is kept, and returns everything: choices kept by another run meanwhile stay.
fn keep(kept: &Chosen, path: &Path, found: BTreeMap<String, String>) -> Result<Chosen> {
    let folder = path.parent().expect("a file in a folder");
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut choices = found;
    choices.extend(kept.choices.clone());
    let chosen = Chosen { choices, ..kept.clone() };
    write_atomic(path, serde_json::to_string_pretty(&chosen).expect("plain data").as_bytes())?;
    Ok(chosen)
}

/// The variants that earlier runs on this adapter kept in a cache folder, by use.
pub fn kept_variants(profile: &Profile, adapter: &str, driver: &str, cache_dir: &Path) -> BTreeMap<String, String> {
    read_of(profile, adapter, driver, &place(adapter, driver, cache_dir)).choices
}

/// Those of them that [`measure_variants`] would find for a run on this adapter.
///
/// Errors: a run that cannot be recorded.
pub fn kept_variants_of(run: &RunConfig, gpu: &Gpu) -> Result<BTreeMap<String, String>> {
    let by_rule = Profile { choices: BTreeMap::new(), ..gpu.profile.clone() };
    let path = place(&gpu.adapter_name, &gpu.driver, &run.data.cache_dir());
    Ok(read(gpu, &path).of(&wanted(std::slice::from_ref(run), &by_rule)?))
}

/// The file in a run's folder that lists its variants; with them it resumes bit-identically.
const FILE: &str = "variants.json";

/// Keeps the variants of a run in its folder, even if nothing was measured: another run may measure before this one is
/// resumed. On a software adapter nothing is ever measured.
///
/// Errors: the folder cannot be written.
pub fn keep_variants_of_run(folder: &Path, profile: &Profile) -> Result<()> {
    if profile.software {
        return Ok(());
    }
    let text = serde_json::to_string_pretty(&profile.choices).expect("plain data");
    write_atomic(&folder.join(FILE), text.as_bytes())
}

/// The variants that a run started with, if its folder lists them.
///
/// Errors: the file cannot be read.
pub fn variants_of_run(folder: &Path) -> Result<Option<BTreeMap<String, String>>> {
    let path = folder.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io("read", &path))?,
    };
    serde_json::from_str(&text).map(Some).map_err(|error| Error::checkpoint(&path, error.to_string()))
}

/// The fastest of several variants that agree; the first, unless another is faster by more than noise.
async fn measure(gpu: &Gpu, profile: &Profile, product: &Product, candidates: &[Variant]) -> Result<Variant> {
    let mut rec = Recorder::new(profile);
    let mut tensor = |name: &str, dtype: DType, shape: [usize; 2]| {
        let shape = [&[product.matrices], &shape[..]].concat();
        rec.persistent(Class::Scratch, dtype, name, &shape)
    };
    let ([a, b], [type_a, type_b, type_y]) =
        (product.layout.operands(product.mnk), product.numbers.dtypes(product.layout));
    let operands = [tensor("operand", type_a, a), tensor("operand", type_b, b)];
    let y = tensor("product", type_y, [product.mnk[0], product.mnk[1]]);
    let step = rec.persistent(Class::Scratch, DType::U32, "step", &[4]);
    rec.begin("operands");
    for (stream, operand) in (1..).zip(&operands) {
        random::gaussian(&mut rec, operand, &step, 1.0, stream, 1);
    }
    for variant in candidates {
        rec.begin(variant.to_string());
        matmul::record(&mut rec, product, *variant, [&operands[0], &operands[1]], Target::new(&y, Output::Write));
    }
    let workspace = rec.allocate(gpu).await?;
    workspace.run(gpu, &["operands"]);
    // The first and last rows suffice to detect an error.
    let rows = product.matrices * product.mnk[0];
    let y = y.reshaped(&[rows, product.mnk[1]]);
    let ends = [y.rows(0..rows.min(16)), y.rows(rows.saturating_sub(16)..rows)];
    let (mut expected, mut times): (Vec<f32>, Vec<f64>) = (Vec::new(), Vec::new());
    for variant in candidates {
        let plan = variant.to_string();
        workspace.run(gpu, &[&plan]);
        let mut found = workspace.read_numbers(gpu, &ends[0]).await?;
        found.extend(workspace.read_numbers(gpu, &ends[1]).await?);
        if expected.is_empty() {
            expected.clone_from(&found);
        }
        let square = |x: f32| f64::from(x).powi(2);
        let rms = (expected.iter().map(|&x| square(x)).sum::<f64>() / expected.len() as f64).sqrt();
        let (agreement, last_bit) = match product.numbers {
            Numbers::Single => (AGREEMENT, 0.0),
            Numbers::Half => (HALF_AGREEMENT, 2.0_f64.powi(-10)),
        };
        let apart = |(a, b): (&f32, &f32)| {
            let difference = f64::from((a - b).abs());
            let allowed = agreement * rms + last_bit * f64::from(a.abs());
            (difference.is_nan() || difference > allowed).then_some(difference)
        };
        if let Some(worst) = expected.iter().zip(&found).find_map(apart) {
            let what = product.what(profile);
            return Err(Error::Gpu(format!(
                "{}: {what} by {plan} differs from {} by {worst:.1e} at a root mean square of {rms:.1e}: please report it, \
                 and set train.measure_variants = false meanwhile",
                gpu.adapter_name, candidates[0]
            )));
        }
        times.push(workspace.time_replays(gpu, &plan, Schedule::All, 2).await?);
    }
    let fastest = (0..times.len()).min_by(|&a, &b| times[a].total_cmp(&times[b])).expect("a candidate");
    log::debug!("{}: {candidates:?} take {times:?} s", product.what(profile));
    Ok(candidates[if times[0] > LEAST_GAIN * times[fastest] { fastest } else { 0 }])
}

/// One file per adapter and driver.
fn place(adapter: &str, driver: &str, cache_dir: &Path) -> PathBuf {
    let plain = |text: &str| -> String {
        let word =
            text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' });
        word.collect()
    };
    let name = format!("{}-{}.json", plain(adapter), plain(driver));
    cache_dir.join("variants").join(name)
}

/// What is kept there, if it matches this adapter, driver and program.
fn read(gpu: &Gpu, path: &Path) -> Chosen {
    read_of(&gpu.profile, &gpu.adapter_name, &gpu.driver, path)
}

fn read_of(profile: &Profile, adapter: &str, driver: &str, path: &Path) -> Chosen {
    let Profile { f16, subgroup_lanes, matrix_units, .. } = profile;
    let own = Chosen {
        adapter: adapter.into(),
        driver: driver.into(),
        features: format!("f16 {f16}, subgroups {subgroup_lanes:?}, matrix units {matrix_units}"),
        version: env!("CARGO_PKG_VERSION").into(),
        kernels: format!("{:016x}", matmul::fingerprint()),
        choices: BTreeMap::new(),
    };
    let Ok(text) = std::fs::read_to_string(path) else { return own };
    match serde_json::from_str::<Chosen>(&text) {
        Ok(mut kept) => {
            let choices = std::mem::take(&mut kept.choices);
            if kept == own { Chosen { choices, ..own } } else { own }
        }
        Err(error) => {
            log::warn!("{}: {error}: variants are measured again", path.display());
            own
        }
    }
}
