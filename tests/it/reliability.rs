//! What a run survives: kills, a full disk, damaged files, a second run in the same folder.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use multinorm::checkpoint::list_checkpoints;
use web_time::Instant;

use super::program::*;

const ADAMW: &[&str] = &["optimizer.name=adamw", "train.micro_batch_size=4"];

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let galore: &[&str] = &[
        "optimizer.name=galore",
        "optimizer.update_interval=7",
        "train.fused_update=true",
        "train.micro_batch_size=4",
    ];
    for (rule, sets) in [("sinkgd", &["spectra.every=2"][..]), ("adamw", ADAMW), ("galore", galore)] {
        let place = TestDir::new();
        let sets = [sets, &["train.steps=40", "checkpoint.every=3", "eval.every=10"]].concat();
        let whole = place.train("whole", &sets);
        let delay = place.kill_after_a_checkpoint("killed", &sets);
        let told = format!("{rule}, killed {delay:?} after its first checkpoint");
        let killed = place.path("killed");
        assert_only_whole_are_listed(&killed, &told);
        let resumed = json(&program(&["train", "--resume", &place.text("killed"), "--json"]));
        eprintln!("{told}");
        assert_same_run(&whole, &place.path("whole"), &resumed, &killed);
        // There is nothing left to do, and asking again does no harm.
        let once_more = json(&program(&["train", "--resume", &place.text("killed"), "--json"]));
        assert_same_run(&whole, &place.path("whole"), &once_more, &killed);
    }
}

#[cfg(unix)]
#[test]
fn a_signal_saves_the_run_and_it_resumes_to_the_same_bits() {
    let place = TestDir::new();
    // Here a run's length affects no number: it can be endless until it is stopped, and end soon after.
    let sets = ["schedule.kind=constant", "schedule.warmup_fraction=0", "checkpoint.every=5", "eval.every=0"];
    let endless = [&sets[..], &["train.steps=1000000"]].concat();
    for signal in ["INT", "TERM", "HUP"] {
        let folder = place.path("stopped");
        let child = place.spawn_train("stopped", &endless);
        let began = Instant::now();
        while list_checkpoints(&folder).map_or(0, |checkpoints| checkpoints.len()) == 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "no checkpoint");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(random_millis(200));
        send_signal(signal, child.id());
        // A shell that loses its terminal may send SIGHUP twice.
        if signal == "HUP" {
            send_signal(signal, child.id());
        }
        let output = ended_within(child, 120);
        let stopped = json(&output);
        assert_eq!(stopped["stopped"], true);
        assert!(stderr(&output).contains("stopping: finishing the step and saving"), "{}", stderr(&output));
        let step = stopped["steps"].as_u64().unwrap();
        assert!(stopped["checkpoint"].as_str().unwrap().ends_with(&format!("step-{step:08}")), "{stopped}");
        assert_whole_checkpoints(&folder);
        let steps = format!("train.steps={}", step + 3);
        let resumed = json(&program(&["train", "--resume", &place.text("stopped"), "--set", &steps, "--json"]));
        assert_eq!(resumed["stopped"], false);
        let whole = place.train("whole", &[&sets[..], &[&steps]].concat());
        assert_same_run(&whole, &place.path("whole"), &resumed, &folder);
        fs::remove_dir_all(&folder).unwrap();
        fs::remove_dir_all(place.path("whole")).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_signal_in_the_first_moments_leaves_nothing_or_a_run_that_goes_on() {
    let place = TestDir::new();
    let sets = ["train.steps=40", "eval.every=0"];
    let whole = place.train("whole", &sets);
    for millis in [0, 5, 20, 50, 100, 150, 200, 250, 300] {
        let mut child = place.spawn_train("early", &sets);
        std::thread::sleep(Duration::from_millis(millis));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        send_signal("TERM", child.id());
        let output = ended_within(child, 120);
        let folder = place.path("early");
        if output.status.success() {
            let resumed = json(&program(&["train", "--resume", &place.text("early"), "--json"]));
            assert_same_run(&whole, &place.path("whole"), &resumed, &folder);
        } else {
            // Killed by the signal itself, if the program had not installed its handler yet.
            use std::os::unix::process::ExitStatusExt;
            let ended = output.status.code() == Some(143) || output.status.signal() == Some(15);
            assert!(ended && !stderr(&output).contains("panicked"), "{}: {}", output.status, stderr(&output));
            assert!(!folder.join("checkpoints").exists(), "after {millis} ms");
        }
        let _ = fs::remove_dir_all(&folder);
    }
}

#[test]
fn runs_started_at_once_get_folders_of_their_own() {
    let place = TestDir::new();
    let config = place.text("config.toml");
    let start = |_| {
        let mut command = Command::new(PROGRAM);
        command.args(["train", &config, "--json"]).current_dir(place.path("."));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let runs: Vec<_> = (0..4).map(start).collect();
    let mut folders: Vec<String> = Vec::new();
    for run in runs {
        let summary = json(&run.wait_with_output().unwrap());
        let checkpoint = summary["checkpoint"].as_str().unwrap().to_owned();
        folders.push(checkpoint.split("checkpoints").next().unwrap().to_owned());
    }
    folders.sort();
    assert_eq!(folders, ["runs/0001/", "runs/0002/", "runs/0003/", "runs/0004/"]);
    for folder in folders {
        assert_whole_checkpoints(&place.path(&folder));
        assert!(!place.path(&folder).join(".lock").exists());
    }
}

#[test]
fn a_run_that_is_being_written_is_left_alone() {
    let place = TestDir::new();
    let mut first = place.spawn_train("run", &["train.steps=1000000", "checkpoint.every=3"]);
    place.await_first_checkpoint("run");
    let (run, config) = (place.text("run"), place.text("config.toml"));
    let holder = format!("run: is being written by process {}", first.id());
    fails(&["train", "--resume", &run], 1, &[&holder, "--out", "choose another directory"]);
    let again = format!("{run}/checkpoints/step-00000003");
    fails(&["train", "--resume", &again], 1, &[&holder]);
    fails(&["train", &config, "--out", &run], 1, &["holds a run already"]);
    first.kill().unwrap();
    first.wait().unwrap();
    // The lock disappears with its process.
    let steps = latest_step(&place.path("run"));
    let set = format!("train.steps={}", steps + 1);
    assert_eq!(json(&program(&["train", "--resume", &run, "--set", &set, "--json"]))["steps"], steps + 1);
}

fn latest_step(run: &std::path::Path) -> u64 {
    let steps = names(&run.join("checkpoints")).into_iter().filter_map(|name| name.strip_prefix("step-")?.parse().ok());
    steps.max().unwrap()
}

#[test]
fn a_comparison_that_is_being_written_is_left_alone() {
    let place = TestDir::new();
    let (config, out) = (place.text("config.toml"), place.text("cmp"));
    let args = ["compare", &config, "--optimizers", "sgd", "--set", "train.steps=100000", "--out", &out];
    let mut first = Command::new(PROGRAM).args(args).stderr(Stdio::null()).spawn().unwrap();
    while !place.path("cmp/plan.json").exists() {
        assert!(first.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut second = Command::new(PROGRAM);
    let second = second.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let second = ended_within(second, 60);
    first.kill().unwrap();
    first.wait().unwrap();
    check_failure(&args, &second, 1, &[&format!("cmp: is being written by process {}", first.id())]);
}

#[test]
fn a_folder_of_other_files_is_no_place_for_a_run() {
    let place = TestDir::new();
    fs::create_dir(place.path("photos")).unwrap();
    place.write("photos/a.png", "");
    let (config, photos) = (place.text("config.toml"), place.text("photos"));
    let args = ["train", &config, "--out", &photos];
    fails(&args, 1, &["photos: holds other files (a.png) and no run"]);
    fails(&["train", args[1], "--out", &place.text("text.txt")], 1, &["text.txt: is not a directory"]);
    assert_eq!(names(&place.path("photos")), ["a.png"]);
    fails(
        &["compare", args[1], "--optimizers", "sgd", "--out", args[3]],
        1,
        &["photos: holds something other than a comparison"],
    );
    assert_eq!(names(&place.path("photos")), ["a.png"]);
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_the_run_ends_with_the_same_bits() {
    let place = TestDir::new();
    let sets = ADAMW;
    let whole = place.train("whole", sets);
    for file in ["model.safetensors", "trainer.safetensors", "trainer.json", "config.json", "tokenizer.json"] {
        place.train("run", sets);
        let newest = place.path("run/checkpoints/step-00000012");
        let path = newest.join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        let run = place.text("run");
        // Without help it is rejected, with a message.
        let named = newest.to_str().unwrap().to_owned();
        fails(&["train", "--resume", &named], 1, &[file]);
        let output = program(&["train", "--resume", &run, "--json"]);
        let told = stderr(&output);
        let resumed = json(&output);
        assert!(told.contains("step-00000012 cannot be used: ") && told.contains(file), "{told}");
        assert!(told.contains("resuming after step 6"), "{told}");
        assert_eq!(names(&place.path("run/checkpoints")).last().unwrap(), "step-00000012.set-aside");
        fs::remove_dir_all(place.path("run/checkpoints/step-00000012.set-aside")).unwrap();
        assert_same_run(&whole, &place.path("whole"), &resumed, &place.path("run"));
        fs::remove_dir_all(place.path("run")).unwrap();
    }
}

#[test]
fn weights_with_a_flipped_bit_are_refused_by_everything_that_reads_them() {
    let place = TestDir::new();
    place.train("run", &[]);
    let path = place.path("run/checkpoints/step-00000012/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 0x80;
    fs::write(&path, bytes).unwrap();
    let (run, config) = (place.text("run"), place.text("config.toml"));
    for args in [
        &["eval", &run][..],
        &["generate", &run, "--prompt", "the"],
        &["train", &config, "--from", &run, "--out", &place.text("tuned")],
    ] {
        fails(args, 1, &["model.safetensors: is damaged or was changed", "SHA256SUMS"]);
    }
}

#[test]
fn a_run_goes_on_from_any_of_its_checkpoints() {
    let place = TestDir::new();
    let whole = place.train("whole", &["checkpoint.every=3"]);
    place.train("run", &["checkpoint.every=3"]);
    let checkpoint = place.text("run/checkpoints/step-00000006");
    let output = program(&["train", "--resume", &checkpoint, "--json"]);
    assert!(stderr(&output).contains("resuming after step 6"), "{}", stderr(&output));
    let aside: Vec<_> = ["step-00000009.set-aside", "step-00000012.set-aside"].map(str::to_owned).into();
    let there = names(&place.path("run/checkpoints"));
    assert!(aside.iter().all(|name| there.contains(name)), "{there:?}");
    aside.iter().for_each(|name| fs::remove_dir_all(place.path("run/checkpoints").join(name)).unwrap());
    assert_same_run(&whole, &place.path("whole"), &json(&output), &place.path("run"));
    let missing = place.text("run/checkpoints/step-00000007");
    fails(
        &["train", "--resume", &missing],
        1,
        &["step-00000007: there is no such checkpoint; the run has step-00000006"],
    );
}

#[test]
fn a_text_is_the_same_by_its_content_wherever_it_lies() {
    let place = TestDir::new();
    let whole = place.train("whole", &[]);
    place.train("run", &[]);
    fs::remove_dir_all(place.path("run/checkpoints/step-00000012")).unwrap();
    let text = fs::read_to_string(place.path("text.txt")).unwrap();
    fs::remove_file(place.path("text.txt")).unwrap();
    let run = place.text("run");
    let changed: String = text.chars().enumerate().map(|(at, c)| if at % 500 == 250 { 'x' } else { c }).collect();
    place.write("changed.txt", &changed);
    let set = format!("data.source={}", place.text("changed.txt"));
    fails(
        &["train", "--resume", &run, "--set", &set],
        1,
        &["the run was trained on text (", "resume with the same text"],
    );
    place.write("moved.txt", &text);
    let set = format!("data.source={}", place.text("moved.txt"));
    let output = program(&["train", "--resume", &run, "--set", &set, "--json"]);
    assert!(stderr(&output).contains("changed    data.source is "), "{}", stderr(&output));
    assert_same_run(&whole, &place.path("whole"), &json(&output), &place.path("run"));
}

#[test]
fn a_damaged_cache_is_made_again() {
    let place = TestDir::new();
    let sets = ["data.tokenizer=bpe", "model.vocab_size=300"];
    let whole = place.train("whole", &sets);
    let cache = place.path("cache");
    for (folder, file) in
        [("tokens", "val_000000.bin"), ("tokens", "train_000000.bin"), ("tokenizers", "tokenizer.json")]
    {
        let [entry] = &names(&cache.join(folder))[..] else { panic!("{:?}", names(&cache.join(folder))) };
        let path = cache.join(folder).join(entry).join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        let output = Command::new(PROGRAM).args(place.train_args("again", &sets)).output().unwrap();
        let again = json(&output);
        let told = stderr(&output);
        assert!(
            told.contains(&format!("{file}: is damaged or was changed")) && told.contains("is recreated"),
            "{told}"
        );
        assert_same_run(&whole, &place.path("whole"), &again, &place.path("again"));
        fs::remove_dir_all(place.path("again")).unwrap();
        fs::remove_dir_all(cache.join(folder).join(format!("{entry}.damaged"))).unwrap();
    }
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let place = TestDir::new();
    let summary = place.train("run", &["train.steps=1"]);
    let checkpoint = Path::new(summary["checkpoint"].as_str().unwrap());
    let (config, mut tensors) = multinorm::checkpoint::load_model(checkpoint).unwrap();
    let (at, spec) = (2, &config.parameters()[2]);
    tensors[at].values[spec.shape[1] + 3] = f32::NAN;
    let model = place.path("model");
    fs::create_dir(&model).unwrap();
    multinorm::checkpoint::save_model(&model, &config, &tensors, &[], None).unwrap();
    let expected = format!("{} is NaN at [1, 3]", spec.name);
    let tokens = place.path("tokens.npy");
    fs::write(&tokens, npy(&[1; 40])).unwrap();
    let [model, tokens] = [model, tokens].map(|path| path.display().to_string());
    fails(&["eval", &model, "--tokens", &tokens], 1, &[&expected, "the model is not usable"]);
    fails(&["generate", &model, "--prompt", "a"], 1, &[&expected]);
}

#[cfg(unix)]
#[test]
fn a_full_or_closed_output_never_panics() {
    let place = TestDir::new();
    let sh = |script: &str| {
        let output = Command::new("sh").args(["-c", script, PROGRAM, &place.text("config.toml")]).output().unwrap();
        let told = stderr(&output);
        assert!(!told.contains("panicked"), "{script}: {told}");
        (output.status.code(), told)
    };
    let out = place.text("run");
    // Progress cannot be written, but the run completes.
    let (status, _) = sh(&format!("\"$0\" train \"$1\" --out {out}1 2>/dev/full"));
    assert_eq!(status, Some(0));
    let (status, _) = sh(&format!("\"$0\" train \"$1\" --out {out}2 2>&-"));
    assert_eq!(status, Some(0));
    // Nobody reads the summary: this is not a failure.
    let (status, _) = sh(&format!("{{ \"$0\" train \"$1\" --out {out}3; echo $? >{out}.status; }} | true"));
    assert_eq!((status, fs::read_to_string(place.path("run.status")).unwrap()), (Some(0), "0\n".into()));
    // The summary cannot be written: this is reported, after the run was saved.
    let (status, told) = sh(&format!("\"$0\" train \"$1\" --out {out}4 >/dev/full"));
    assert_eq!(status, Some(1));
    assert!(told.contains("cannot write to standard output: No space left"), "{told}");
    for run in ["run1", "run2", "run3", "run4"] {
        assert_eq!(names(&place.path(run).join("checkpoints")), ["step-00000006", "step-00000012"], "{run}");
    }
    let (status, told) = sh(&format!("\"$0\" inspect {out}1 >/dev/full"));
    assert_eq!((status, told.contains("cannot write to standard output")), (Some(1), true), "{told}");
}

#[test]
fn a_run_that_loses_its_device_ends_with_the_same_bits() {
    let place = TestDir::new();
    let sets = [ADAMW, &["spectra.every=2", "checkpoint.every=5"]].concat();
    let whole = place.train("whole", &sets);
    // Before the first checkpoint, twice after one, and as soon as a device is ready.
    for lost in ["2", "7,7", "0,11"] {
        let mut args = place.train_args("run", &sets);
        args.extend(["--lose-device", lost].map(str::to_owned));
        let output = Command::new(PROGRAM).args(args).output().unwrap();
        let (told, summary) = (stderr(&output), json(&output));
        let times = told.matches("the device was lost (destroyed on request); resuming after step").count();
        assert_eq!(times, lost.split(',').count(), "{told}");
        assert_same_run(&whole, &place.path("whole"), &summary, &place.path("run"));
        fs::remove_dir_all(place.path("run")).unwrap();
    }
    let (config, out) = (place.text("config.toml"), place.text("run"));
    let args = ["train", &config, "--out", &out, "--lose-device", "0,0,0"];
    fails(&args, 1, &["the device was lost: destroyed on request, 3 times without a step", "train.micro_batch_size"]);
}

/// The system's file size limit simulates a full disk without needing privileges.
#[cfg(unix)]
#[test]
fn a_disk_that_refuses_leaves_the_last_whole_checkpoint() {
    let place = TestDir::new();
    let trained = place.train("run", &["train.steps=3"]);
    // 32 blocks of 512 bytes: less than the weights, more than the metrics.
    let script = "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\"";
    let run = place.text("run");
    let args = ["-c", script, PROGRAM, "train", "--resume", &run, "--set", "train.steps=6"];
    let output = Command::new("sh").args(args).output().unwrap();
    check_failure(&args, &output, 1, &["cannot write", "model.safetensors", "File too large", "another directory"]);
    assert_eq!(names(&place.path("run/checkpoints")), ["step-00000003"]);
    assert_whole_checkpoints(&place.path("run"));
    assert_eq!(json(&program(&["eval", &run, "--json"]))["loss"], trained["eval_loss"]);
    // Once there is space again, it continues.
    assert_eq!(json(&program(&["train", "--resume", &run, "--set", "train.steps=6", "--json"]))["steps"], 6);
}

#[test]
fn folders_that_cannot_be_gone_on_with_are_refused() {
    let place = TestDir::new();
    let trained = place.train("run", &[]);
    fs::create_dir(place.path("nothing")).unwrap();
    let (config, run, nothing) = (place.text("config.toml"), place.text("run"), place.text("nothing"));
    fails(&["train", "--resume", &nothing], 1, &["nothing: holds no run to resume", "start a run with `--out`"]);
    let missing = place.text("missing");
    fails(&["train", "--resume", &missing], 1, &["missing: holds no run to resume", "start a run with `--out`"]);
    assert!(names(&place.path("nothing")).is_empty() && !place.path("missing").exists());

    let before = fs::read(place.path("run/metrics.jsonl")).unwrap();
    let no_data = format!("data.source={}", place.text("missing.txt"));
    let expected = ["run: holds a run already", "--resume", "another `--out`"];
    fails(&["train", &config, "--out", &run, "--set", &no_data], 1, &expected);
    fs::copy(place.path("config.toml"), place.path("nothing/config.toml")).unwrap();
    let expected = ["nothing: there is no checkpoint to resume from", "start with `--out`"];
    fails(&["train", "--resume", &nothing, "--set", &no_data], 1, &expected);
    let resume = |set: &'static str| ["train", "--resume", &run, "--set", set].map(str::to_owned);
    for (set, expected) in [
        ("optimizer.name=adamw", "resume with the optimizer that the run began with"),
        ("model.num_hidden_layers=1", "model.num_hidden_layers: is 1 now, and the run was trained with 2"),
        ("train.batch_size=8", "train.batch_size: is 8 now, and the run was trained with 4: it cannot change in a run"),
        ("train.seed=3", "it cannot change in a run"),
        ("data.validation_fraction=0.2", "resume with the same text and tokenizer"),
    ] {
        let args = resume(set);
        fails(
            &args.each_ref().map(String::as_str),
            if expected.contains(" is ") || expected.contains("cannot change") { 2 } else { 1 },
            &[expected],
        );
    }
    assert_eq!(fs::read(place.path("run/metrics.jsonl")).unwrap(), before);
    assert_eq!(json(&program(&["eval", &run, "--json"]))["loss"], trained["eval_loss"]);
}
