//! What a model loses when units are removed by learned scores, by Wanda's measure, by magnitude and at random, before
//! and after a short training.
//!
//! `cargo run --release --example pruning -- PROGRAM RUN OUT [STEPS]` runs `PROGRAM prune` and `PROGRAM train`, for
//! instance target/release/multinorm, on the model and the text of a run; STEPS is the length of the training. It keeps
//! every result in OUT/results.jsonl and goes on from there when it is started again, and writes OUT/table.md and
//! OUT/pruning.svg.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use multinorm::plot::{Axis, Ink, Panel, Scale, Series, lines, standalone};
use serde_json::{Value, json};

const KEEP: [f64; 4] = [0.9, 0.8, 0.7, 0.5];
const SEEDS: [u64; 3] = [0, 1, 2];
/// A tenth of the run's.
const REPAIR_LR: f64 = 0.002;
/// Held-out tokens that losses are measured on.
const MAX_TOKENS: &str = "32768";
/// Names, with the options of `multinorm prune`.
const METHODS: [(&str, &[&str]); 4] = [
    ("learned from Wanda's measure", &["--start", "wanda", "--steps", "300"]),
    ("Wanda's measure", &["--start", "wanda", "--steps", "0"]),
    ("magnitude", &["--start", "magnitude", "--steps", "0"]),
    ("random", &["--start", "random", "--steps", "0"]),
];

struct Comparison {
    program: PathBuf,
    run: PathBuf,
    out: PathBuf,
    steps: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [program, run, out, rest @ ..] = &args[..] else { return Err("pruning PROGRAM RUN OUT [STEPS]".into()) };
    let steps = rest.first().map_or(Ok(50), |steps| steps.parse())?;
    let comparison = Comparison { program: program.into(), run: run.into(), out: out.into(), steps };
    fs::create_dir_all(&comparison.out)?;
    let results = comparison.results()?;
    fs::write(comparison.out.join("table.md"), table(&results))?;
    fs::write(comparison.out.join("pruning.svg"), plot(&results))?;
    print!("{}", table(&results));
    Ok(())
}

impl Comparison {
    /// One record for each share, method and seed; those of an earlier start are taken as they are.
    fn results(&self) -> Result<Vec<Value>, Box<dyn Error>> {
        let path = self.out.join("results.jsonl");
        let earlier = fs::read_to_string(&path).unwrap_or_default();
        let mut results: Vec<Value> = earlier.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let mut log = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        for seed in SEEDS {
            for keep in KEEP {
                for (name, options) in METHODS {
                    let is_same = |of: &Value| of["method"] == name && of["keep"] == keep && of["seed"] == seed;
                    if results.iter().any(is_same) {
                        continue;
                    }
                    eprintln!("{name}, keep {keep}, seed {seed}");
                    let result = self.result(name, options, keep, seed)?;
                    writeln!(log, "{result}")?;
                    results.push(result);
                }
            }
        }
        Ok(results)
    }

    fn result(&self, name: &str, options: &[&str], keep: f64, seed: u64) -> Result<Value, Box<dyn Error>> {
        let [pruned, trained] = ["pruned", "trained"].map(|name| self.out.join(name));
        for dir in [&pruned, &trained] {
            if dir.exists() {
                fs::remove_dir_all(dir)?;
            }
        }
        let mut prune = Command::new(&self.program);
        prune.arg("prune").arg(&self.run).arg("--out").arg(&pruned).args(options);
        prune.args(["--max-tokens", MAX_TOKENS]);
        let before = ended(prune.args(["--json", "--keep", &keep.to_string(), "--seed", &seed.to_string()]))?;
        let mut train = Command::new(&self.program);
        train.arg("train").arg(self.run.join("config.toml")).arg("--from").arg(&pruned).arg("--out").arg(&trained);
        // The loss is measured on the text that `prune` measures it on. A repair takes smaller steps than the run did.
        let mut sets: Vec<String> =
            vec!["checkpoint.every=0".into(), "eval.every=0".into(), format!("eval.max_tokens={MAX_TOKENS}")];
        sets.extend([format!("train.steps={}", self.steps), format!("train.seed={seed}")]);
        sets.extend(["", "embedding.", "head.", "norm."].map(|role| format!("optimizer.{role}lr={REPAIR_LR}")));
        let after = ended(train.arg("--json").args(sets.iter().flat_map(|set| ["--set", set])))?;
        Ok(json!({
            "method": name, "keep": keep, "seed": seed, "parameters": before["parameters"],
            "whole": before["loss"]["before"], "before": before["loss"]["after"], "after": after["eval_loss"],
            "prune_secs": before["secs"],
        }))
    }
}

/// The JSON document that a command prints.
fn ended(command: &mut Command) -> Result<Value, Box<dyn Error>> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Means over seeds, with the least and the most.
fn table(results: &[Value]) -> String {
    let mut table = String::new();
    if let Some(first) = results.first() {
        table += &format!("the whole model: {:.4} nats a token\n\n", first["whole"].as_f64().unwrap_or(f64::NAN));
    }
    table += "| removed | parameters left | method | before training | after training |\n|---|---|---|---|---|\n";
    for keep in KEEP {
        for (name, _) in METHODS {
            let of = |key: &str| spread(results, name, keep, key);
            let one = results.iter().find(|result| result["keep"] == keep);
            let left = one.map_or(f64::NAN, |result| {
                let parameters = |key: &str| result["parameters"][key].as_f64().unwrap_or(f64::NAN);
                100.0 * parameters("after") / parameters("before")
            });
            let removed = 100.0 * (1.0 - keep);
            let [before, after] = ["before", "after"].map(|key| in_words(of(key)));
            table += &format!("| {removed:.0} % | {left:.1} % | {name} | {before} | {after} |\n");
        }
    }
    table
}

fn in_words(of_seeds: Option<[f64; 3]>) -> String {
    let Some(losses) = of_seeds else { return "—".into() };
    let [least, mean, most] = losses.map(|loss| format!("{loss:.4}"));
    if least == most { mean } else { format!("{mean} ({least} to {most})") }
}

/// Least, mean and most over the seeds.
fn spread(results: &[Value], method: &str, keep: f64, key: &str) -> Option<[f64; 3]> {
    let of_method = results.iter().filter(|result| result["method"] == method && result["keep"] == keep);
    let losses: Vec<f64> = of_method.filter_map(|result| result[key].as_f64()).collect();
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    let least = losses.iter().copied().reduce(f64::min)?;
    Some([least, mean, losses.iter().copied().reduce(f64::max)?])
}

fn plot(results: &[Value]) -> String {
    let legend: BTreeMap<usize, &str> = METHODS.iter().map(|(name, _)| *name).enumerate().collect();
    let panel = |key: &str, title: &str| {
        let series = METHODS.iter().enumerate().map(|(at, (name, _))| {
            let point = |keep: f64| Some((100.0 * (1.0 - keep), spread(results, name, keep, key)?[1]));
            Series { ink: Ink(at), points: KEEP.into_iter().filter_map(point).collect(), marked: true }
        });
        let axis = Axis { x: "% of units removed".into(), y: "nats a token".into(), scale: Scale::Linear };
        Panel {
            title: title.into(),
            svg: lines(&axis, &series.collect::<Vec<_>>(), None, METHODS.len()),
            legend: legend.iter().map(|(at, name)| (Ink(*at), (*name).to_owned())).collect(),
        }
    };
    let panels = [panel("before", "Right after pruning"), panel("after", "After a short training")];
    standalone("Validation loss of a pruned model", &panels)
}
