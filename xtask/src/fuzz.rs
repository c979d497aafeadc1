//! Fuzzing with malformed files: cargo-fuzz on the targets of `fuzz/`.

use std::process::Command;
use std::time::Instant;

use crate::shell::{self, Result};

/// Limits per input: seconds, and megabytes of the whole process.
const LIMITS: [&str; 2] = ["-timeout=20", "-rss_limit_mb=2048"];

/// `fuzz [N [TARGET…]]`: `N` inputs for every target, or for the named ones.
pub fn run(args: &[String]) -> Result<()> {
    let n = match args.first() {
        None => 100_000,
        Some(word) => word.parse::<u64>().map_err(|_| format!("`{word}` is not a whole number: fuzz [N [TARGET…]]"))?,
    };
    if !shell::succeeds(Command::new("cargo").args(["fuzz", "--version"])) {
        eprintln!("xtask: installing cargo-fuzz");
        shell::run(Command::new("cargo").args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let fuzz = shell::root().join("fuzz");
    let seeds = ["run", "--quiet", "--release", "--bin", "seeds", "--manifest-path"];
    let all = shell::output_of(Command::new("cargo").args(seeds).arg(fuzz.join("Cargo.toml")))
        .ok_or("cannot create the seed files: cargo run --manifest-path fuzz/Cargo.toml --bin seeds")?;
    let all: Vec<&str> = all.lines().collect();
    let wanted = args.get(1..).unwrap_or_default();
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(&name.as_str())) {
        return Err(format!("no target {unknown}; there are {}", all.join(", ")));
    }
    for target in all.iter().filter(|name| wanted.is_empty() || wanted.iter().any(|wanted| wanted == **name)) {
        let began = Instant::now();
        // Without a sanitizer, which would require a nightly compiler: the code of ours that a sanitizer could check is
        // safe Rust.
        let mut fuzz = Command::new("cargo");
        fuzz.args(["fuzz", "run", "--sanitizer", "none", "--release", target, "--"]).current_dir(shell::root());
        fuzz.args(LIMITS).args([format!("-runs={n}"), "-print_final_stats=1".into(), "-verbosity=0".into()]);
        shell::run(&mut fuzz)?;
        println!("{target}: {n} inputs in {:.0} s", began.elapsed().as_secs_f64());
    }
    Ok(())
}
