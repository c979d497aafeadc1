//! Injects faults into the shaders one at a time, to check whether the tests find them: a dropped barrier, a lost term,
//! a wrong index, a wrong bound.
//!
//! The integration tests are built once with the feature `mutants`, which makes the library read from its environment
//! what to change in which text; so a fault needs no recompilation. Each fault is first tried on the tests of the
//! modules that record the shader's kernels, and if those pass, on all tests that run a model or an optimizer.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::setup;
use crate::shell::{self, Result};

/// Read by `Kernel::source` in src/gpu/kernel.rs.
const VARIABLE: &str = "MULTINORM_MUTANT";
/// A test that takes longer does not terminate: the fault is in a loop condition.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Tests of everything built from kernels.
const WHOLE: [&str; 7] =
    ["parity", "optimizers", "head", "half_precision", "zeroth_order", "emulated_units", "normalize"];

/// One fault.
#[derive(Debug, Clone, PartialEq)]
struct Mutant {
    /// Path below `shaders/` without the extension: `rms_norm`, `lib/reduce`.
    stem: String,
    /// Byte of the file where the change starts.
    at: usize,
    old: String,
    new: String,
}

/// `mutants [N [SEED]]`: tries `N` faults, drawn from all of them with `SEED`.
pub fn run(args: &[String]) -> Result<()> {
    let number = |index: usize, default: u64| match args.get(index) {
        None => Ok(default),
        Some(word) => word.parse::<u64>().map_err(|_| format!("`{word}` is not a whole number: mutants [N [SEED]]")),
    };
    let (n, seed) = (number(0, 200)? as usize, number(1, 0)?);
    let texts = shaders(&shell::root().join("shaders"))?;
    let mut all: Vec<Mutant> = texts.iter().flat_map(|(stem, text)| mutants(stem, text)).collect();
    let n_all = all.len();
    shuffle(&mut all, seed);
    let tests = build()?;
    let modules = modules(&tests)?;
    let (mut caught, mut survivors, mut invalid) = (0, Vec::new(), 0);
    for mutant in all {
        if caught + survivors.len() == n {
            break;
        }
        let filters = modules.iter().filter(|(stem, _)| *stem == mutant.stem).map(|(_, module)| module.as_str());
        let filters: Vec<String> = filters.map(|module| format!("kernels::{module}::")).collect();
        let outcome = if !passes(&tests, &mutant, &["mutants::every_shader_is_valid".into()])? {
            invalid += 1;
            "not valid WGSL"
        } else if (filters.is_empty() || passes(&tests, &mutant, &filters)?)
            && passes(&tests, &mutant, &WHOLE.map(str::to_owned))?
        {
            survivors.push(mutant.clone());
            "SURVIVED"
        } else {
            caught += 1;
            "caught"
        };
        eprintln!("{outcome:<14}{}", words(&mutant, &texts));
    }
    let tried = caught + survivors.len();
    println!(
        "{tried} of {n_all} faults, seed {seed}: {caught} caught, {:.1} %; {invalid} more were not valid WGSL",
        100.0 * caught as f64 / tried.max(1) as f64
    );
    for survivor in &survivors {
        println!("survived: {}", words(survivor, &texts));
    }
    Ok(())
}

/// The test binary with the feature.
fn build() -> Result<PathBuf> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--release", "--package", "multinorm", "--features", "mutants", "--test", "it", "--no-run"]);
    cargo.args(["--message-format", "json"]).current_dir(shell::root()).stderr(Stdio::inherit());
    let output = cargo.output().map_err(|error| shell::cannot_start(&cargo, &error))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let executable = |line: &str| {
        let of_test = line.contains("\"kind\":[\"test\"]") && line.contains("\"name\":\"it\"");
        let path = line.split("\"executable\":\"").nth(1)?.split('"').next()?;
        of_test.then(|| PathBuf::from(path))
    };
    said.lines().filter_map(executable).next_back().ok_or_else(|| "the tests were not built".into())
}

/// Names of shaders and libraries, each with a module of `src/kernels` that has a kernel of it.
fn modules(tests: &Path) -> Result<Vec<(String, String)>> {
    let list = Command::new(tests).args(["mutants::modules_of_shaders", "--exact", "--nocapture"]).output();
    let list = list.map_err(|error| format!("{}: {error}", tests.display()))?;
    let said = String::from_utf8_lossy(&list.stdout).into_owned();
    let lines = said.lines().filter_map(|line| line.split("shader ").nth(1));
    let pairs = lines.filter_map(|line| line.split_once(' ')).map(|(stem, module)| (stem.into(), module.into()));
    Ok(pairs.collect())
}

/// Whether all tests that match the filters pass; stops at the first failure.
fn passes(tests: &Path, mutant: &Mutant, filters: &[String]) -> Result<bool> {
    let mut command = Command::new(tests);
    command.args(filters).env(VARIABLE, format!("{}\n{}\n{}\n{}", mutant.stem, mutant.at, mutant.old, mutant.new));
    command.env(setup::ORACLE_VARIABLE, shell::root().join(".multinorm/oracle-venv/bin/python"));
    command.current_dir(shell::root()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| shell::cannot_start(&command, &error))?;
    let (sender, lines) = std::sync::mpsc::channel();
    let output = child.stdout.take().expect("it is piped");
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let began = Instant::now();
    let failed = loop {
        match lines.recv_timeout(TIMEOUT.saturating_sub(began.elapsed())) {
            Ok(line) if line.ends_with("... FAILED") => break true,
            Ok(_) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => break true,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break false,
        }
    };
    if failed {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    Ok(!failed && status.success())
}

/// Every file of a folder and its subfolders, by name without extension.
fn shaders(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![(String::new(), folder.to_owned())];
    while let Some((prefix, folder)) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push((format!("{prefix}{name}/"), path));
            } else if path.extension().is_some_and(|extension| extension == "wgsl") {
                let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                found.push((format!("{prefix}{name}"), text));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The text to search for, and its replacement.
const CHANGES: [(&str, &str); 21] = [
    ("workgroupBarrier();", ""),
    (" + 1u", ""),
    (" - 1u", ""),
    (" + ", " - "),
    (" - ", " + "),
    (" * ", " + "),
    (" / ", " * "),
    (" += ", " = "),
    (" -= ", " += "),
    (" *= ", " = "),
    (" < ", " <= "),
    (" <= ", " < "),
    (" > ", " >= "),
    (" >= ", " > "),
    (" && ", " || "),
    (" || ", " && "),
    ("min(", "max("),
    ("max(", "min("),
    ("sqrt(", "abs("),
    ("lane", "0u"),
    ("[i]", "[0]"),
];

/// All faults of one text; none in its comments, declarations and overrides.
fn mutants(stem: &str, text: &str) -> Vec<Mutant> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let code = line.split("//").next().unwrap_or_default();
        let is_declaration =
            ["@group", "override ", "enable ", "alias ", "struct "].iter().any(|word| code.starts_with(word));
        let is_header = code.contains("fn ") || code.contains("@builtin") || code.contains("@compute");
        if !is_declaration && !is_header {
            for (old, new) in CHANGES {
                for (at, _) in code.match_indices(old) {
                    let is_word = old.chars().all(char::is_alphanumeric);
                    let beside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                    let within = is_word
                        && (beside(code[..at].chars().next_back()) || beside(code[at + old.len()..].chars().next()));
                    // `min(` is also the end of `subgroupMin(`.
                    let within = within || old.ends_with('(') && beside(code[..at].chars().next_back());
                    if !within {
                        found.push(Mutant { stem: stem.into(), at: start + at, old: old.into(), new: new.into() });
                    }
                }
            }
        }
        start += line.len();
    }
    found
}

/// Fisher–Yates, with one of Knuth's generators.
fn shuffle(all: &mut [Mutant], seed: u64) {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    for i in (1..all.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all.swap(i, (state >> 33) as usize % (i + 1));
    }
}

/// `rms_norm.wgsl:12: " + " becomes " - " in let at = row + 1;`.
fn words(mutant: &Mutant, texts: &[(String, String)]) -> String {
    let Mutant { stem, at, old, new } = mutant;
    let text = texts.iter().find(|(name, _)| name == stem).map_or("", |(_, text)| text);
    let number = text[..*at].matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    format!("{stem}.wgsl:{}: {old:?} becomes {new:?} in {line}", number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_stand_in_code_alone() {
        let text =
            "// a + b\noverride A: u32 = 1u + 1u;\nfn f(lane: u32) {\n    let x = planes[i] + lane; // lane\n}\n";
        let found = mutants("f", text);
        let changes: Vec<_> = found.iter().map(|mutant| (mutant.old.as_str(), mutant.new.as_str())).collect();
        assert_eq!(changes, [(" + ", " - "), ("lane", "0u"), ("[i]", "[0]")]);
        assert!(found.iter().all(|mutant| text[mutant.at..].starts_with(&mutant.old)));
        assert_eq!(words(&found[0], &[("f".into(), text.into())]).split(": ").next(), Some("f.wgsl:4"));
    }
}
