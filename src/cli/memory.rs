//! When a run needs more memory than is available: a table of what it needs, and settings that need less.

use multinorm::config::{Precision, Recompute, RecomputePolicy, RunConfig};
use multinorm::gpu::{Memory, Profile, bytes_in_words};
use multinorm::train::record_training;
use multinorm::{Error, Result};

use super::console::note;
use super::output::memory_table;

/// Rejects a run that exceeds the machine's memory on a software adapter, which computes in that memory. Nothing else
/// would, until the system kills the program.
pub fn check_memory(needed: &Memory, config: &RunConfig, profile: &Profile) -> Result<()> {
    let Some(available) = available_bytes().filter(|_| profile.software) else { return Ok(()) };
    let needed = needed.total();
    if needed <= available {
        return Ok(());
    }
    let message = format!(
        "the run needs {} on a software adapter, and the machine has {} of memory available",
        bytes_in_words(needed),
        bytes_in_words(available)
    );
    Err(report_memory_remedies(Error::TooLarge(message), config, profile))
}

/// After an out-of-memory error: prints what the run needs, and settings that need less.
pub fn report_memory_remedies(error: Error, config: &RunConfig, profile: &Profile) -> Error {
    let Error::TooLarge(_) = &error else { return error };
    let Ok(memory) = memory_of(config, profile) else { return error };
    note!("{}", memory_table(&[("this run", &memory)]));
    let remedies = remedies(config, profile, memory.total());
    if !remedies.is_empty() {
        note!("these settings take less memory, the mildest first:");
        let width = remedies.iter().map(|(settings, _)| settings.len()).max().unwrap_or_default();
        for (settings, total) in remedies {
            note!("  {settings:<width$}{:>12}", bytes_in_words(total));
        }
    }
    error
}

fn memory_of(config: &RunConfig, profile: &Profile) -> Result<Memory> {
    Ok(record_training(config, profile)?.recorder.memory())
}

/// Up to three cumulative changes that take less memory, with the total of each: recomputing activations, which changes
/// no number; smaller micro-batches of the same batches; half precision. `least` is what the run takes without changes.
fn remedies(config: &RunConfig, profile: &Profile, mut least: u64) -> Vec<(String, u64)> {
    let mut remedies = Vec::new();
    let mut config = config.clone();
    let mut settings = Vec::new();
    let mut consider = |config: &RunConfig, setting: String| {
        let Ok(total) = memory_of(config, profile).map(|memory| memory.total()) else { return };
        if total < least {
            least = total;
            settings.push(format!("--set {setting}"));
            remedies.push((settings.join(" "), total));
        }
    };
    if config.train.recompute != RecomputePolicy::Always(Recompute::Layer) {
        config.train.recompute = RecomputePolicy::Always(Recompute::Layer);
        consider(&config, "train.recompute=layer".into());
    }
    let micro = config.train.micro_batch_size;
    if let Some(smaller) = (1..=micro / 2).rev().find(|smaller| config.train.batch_size.is_multiple_of(*smaller)) {
        config.train.micro_batch_size = smaller;
        config.eval.batch_size = config.eval.batch_size.min(smaller);
        if config.validate().is_ok() {
            consider(
                &config,
                format!("train.micro_batch_size={smaller} --set eval.batch_size={}", config.eval.batch_size),
            );
        }
    }
    if profile.f16 && config.train.precision == Precision::F32 {
        config.train.precision = Precision::F16;
        if config.validate().is_ok() {
            consider(&config, "train.precision=f16".into());
        }
    }
    remedies
}

/// Memory available without swapping, if the system reports it.
fn available_bytes() -> Option<u64> {
    available_in(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_are_read() {
        let meminfo = "MemTotal:       24684112 kB\nMemFree:         100 kB\nMemAvailable:   22901234 kB\n";
        assert_eq!(available_in(meminfo), Some(22_901_234 * 1024));
        assert_eq!(available_in("MemTotal: 1 kB\n"), None);
    }
}
