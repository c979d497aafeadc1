//! Many kills, many lost devices, many steps. A short version runs with every test run. The long one, whose figures are
//! in docs/reliability.md, is `cargo test --release --test it soak -- --ignored --nocapture`.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use multinorm::checkpoint::list_checkpoints;
use web_time::Instant;

use super::program::*;

/// With these settings a run's length affects no number, so it can end wherever it is after the last kill.
const CONSTANT: [&str; 4] =
    ["schedule.kind=constant", "schedule.warmup_fraction=0", "optimizer.name=adamw", "train.micro_batch_size=4"];

#[test]
fn a_run_survives_a_few_kills() {
    kills(4);
}

#[test]
#[ignore = "minutes"]
fn a_run_survives_two_hundred_kills() {
    kills(200);
}

#[test]
#[ignore = "minutes"]
fn a_run_survives_twenty_lost_devices() {
    let place = TestDir::new();
    let sets = [&CONSTANT[..], &["train.steps=400", "checkpoint.every=7", "eval.every=50"]].concat();
    let whole = place.train("whole", &sets);
    let lost: Vec<String> = (1..=20).map(|n| (n * 19).to_string()).collect();
    let mut args = place.train_args("run", &sets);
    args.extend(["--lose-device".to_owned(), lost.join(",")]);
    let output = Command::new(PROGRAM).args(args).output().unwrap();
    assert_eq!(stderr(&output).matches("the device was lost").count(), 20);
    assert_same_run(&whole, &place.path("whole"), &json(&output), &place.path("run"));
    println!("20 lost devices, 400 steps: the same bits");
}

#[test]
fn a_run_keeps_its_memory() {
    growth(400);
}

#[test]
#[ignore = "minutes"]
fn a_run_of_five_thousand_steps_keeps_its_memory() {
    growth(5000);
}

/// Kills a run `n` times at random moments, including right after its start, then lets it finish.
fn kills(n: u32) {
    let place = TestDir::new();
    let sets = [&CONSTANT[..], &["checkpoint.every=3", "checkpoint.keep=2", "eval.every=50"]].concat();
    let endless = [&sets[..], &["train.steps=1000000"]].concat();
    let run = place.text("killed");
    let (mut n_kills, mut before_a_checkpoint) = (0, 0);
    while n_kills < n {
        let has_checkpoint = !list_checkpoints(&place.path("killed")).unwrap().is_empty();
        let mut child = if has_checkpoint {
            let mut resume = Command::new(PROGRAM);
            resume.args(["train", "--resume", &run]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        } else {
            before_a_checkpoint += 1;
            place.spawn_train("killed", &endless)
        };
        std::thread::sleep(Duration::from_millis(100) + random_millis(900));
        let was_running = child.try_wait().unwrap().is_none();
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        assert!(was_running, "it ended by itself after {n_kills} kills: {}", stderr(&output));
        n_kills += 1;
        // A run that was killed in its first moments has no folder of checkpoints yet.
        if place.path("killed/checkpoints").exists() {
            assert_only_whole_are_listed(&place.path("killed"), &n_kills);
        }
    }
    let last = list_checkpoints(&place.path("killed")).unwrap().last().map_or(0, |(step, _)| *step);
    let steps = format!("train.steps={}", last + 5);
    let ended = if last > 0 {
        json(&program(&["train", "--resume", &run, "--set", &steps, "--json"]))
    } else {
        place.train("killed", &[&sets[..], &[&steps]].concat())
    };
    let whole = place.train("whole", &[&sets[..], &[&steps]].concat());
    assert_same_run(&whole, &place.path("whole"), &ended, &place.path("killed"));
    println!("{n} kills ({before_a_checkpoint} before a first checkpoint), {} steps: the same bits", last + 5);
}

/// A run's resident memory from the end of its first fifth to its end.
fn growth(steps: u64) {
    let place = TestDir::new();
    let steps_set = format!("train.steps={steps}");
    let sets = [&CONSTANT[..], &[&steps_set, "checkpoint.every=50", "eval.every=50", "spectra.every=25"]].concat();
    let mut child = place.spawn_train("run", &sets);
    let status = format!("/proc/{}/status", child.id());
    let (mut first, mut last, mut largest) = (None, 0, 0);
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(3600));
        std::thread::sleep(Duration::from_millis(20));
        let Ok(status) = fs::read_to_string(&status) else { break };
        let Some(kib) = status.lines().find_map(|line| line.strip_prefix("VmRSS:")) else { continue };
        let bytes = 1024 * kib.trim().trim_end_matches(" kB").parse::<i64>().unwrap();
        let step = list_checkpoints(&place.path("run")).unwrap().last().map_or(0, |(step, _)| *step);
        if step >= steps / 5 {
            first.get_or_insert(bytes);
            (last, largest) = (bytes, largest.max(bytes));
        }
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(json(&output)["steps"], steps);
    let first = first.expect("it was looked at");
    println!("{steps} steps: {first} bytes after a fifth, {last} at the end, {largest} at most");
    // Checkpoints are written through buffers that the system allocates temporarily.
    assert!(last - first < 2 << 20 && largest - first < 16 << 20, "{first} bytes after a fifth, {last} at the end");
}
