//! The program as a user runs it: what it prints, what it writes into folders, and how it fails.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use multinorm::gpu::bytes_in_words;
use serde_json::Value;
use web_time::Instant;

use super::program::*;

const ADAMW: &[&str] = &["optimizer.name=adamw", "train.micro_batch_size=4"];

#[test]
fn a_run_writes_what_is_promised_and_repeats_to_the_bit() {
    let place = TestDir::new();
    let first = place.train("first", &[]);
    let number = |key: &str| first[key].as_f64().unwrap_or_else(|| panic!("{key} is {}", first[key]));
    assert_eq!((number("steps"), number("tokens")), (12.0, 12.0 * 4.0 * 16.0));
    assert!(number("final_loss") < 5.0 && number("eval_loss") < 5.0, "it learned nothing: {first}");
    assert!(number("baseline_bigram_loss") > 0.0 && number("tokens_per_sec") > 0.0, "{first}");
    let classes = first["memory"].as_object().unwrap();
    assert_eq!(classes.values().map(|bytes| bytes.as_u64().unwrap()).sum::<u64>(), first["peak_bytes"]);
    for class in ["parameters", "gradients", "optimizer_state", "activations", "scratch"] {
        assert!(classes.contains_key(class), "no {class} in {first}");
    }
    let folder = place.path("first");
    assert_eq!(first["checkpoint"], place.text("first/checkpoints/step-00000012"));
    assert_eq!(
        names(&folder),
        ["checkpoints", "config.toml", "metrics.jsonl", "session.json", "tensorboard", "texts.jsonl"]
    );
    assert_eq!(names(&folder.join("checkpoints")), ["step-00000006", "step-00000012"]);
    assert_whole_checkpoints(&folder);
    let events = names(&folder.join("tensorboard"));
    assert!(events.len() == 1 && events[0].starts_with("events.out.tfevents."), "{events:?}");

    let records = metrics(&folder);
    let steps: Vec<_> = records.iter().filter(|record| record.get("loss").is_some()).collect();
    assert_eq!(steps.len(), 12);
    for (index, record) in steps.iter().enumerate() {
        assert_eq!(record["step"], index + 1);
        for key in ["tokens", "loss", "lr", "grad_norm", "tokens_per_sec"] {
            assert!(record[key].is_number(), "no {key} in {record}");
        }
    }
    let evaluated: Vec<_> = records.iter().filter(|record| record.get("eval_loss").is_some()).collect();
    assert_eq!(evaluated.iter().map(|record| record["step"].as_u64().unwrap()).collect::<Vec<_>>(), [6, 12]);
    assert!(evaluated.iter().all(|record| record["perplexity"].is_number()));
    assert_eq!((&evaluated[1]["eval_loss"], &steps[11]["loss"]), (&first["eval_loss"], &first["final_loss"]));

    // The second run gets nothing but the first one's config.toml.
    let again = place.path("again");
    let output = program(&["train", &place.text("first/config.toml"), "--out", &place.text("again"), "--json"]);
    let second = json(&output);
    assert_same_run(&first, &folder, &second, &again);
    let configs = [&folder, &again].map(|run| fs::read_to_string(run.join("config.toml")).unwrap());
    assert_eq!(configs[0], configs[1]);

    // A different seed must give a different run, or the comparison above means nothing.
    let other = place.train("other", &["train.seed=1"]);
    assert_ne!(other["final_loss"], first["final_loss"]);
}

#[test]
fn a_run_resumes_to_the_same_bits_whatever_is_computed_again() {
    let place = TestDir::new();
    let whole = place.train("whole", &[]);
    let run = place.text("resumed");
    place.train("resumed", &["train.recompute=attention"]);
    fs::remove_dir_all(place.path("resumed/checkpoints/step-00000012")).unwrap();
    let output = program(&["train", "--resume", &run, "--set", "train.recompute=layer", "--json"]);
    let resumed = json(&output);
    assert!(stderr(&output).contains("recompute  layer\n"), "{}", stderr(&output));
    for key in ["final_loss", "eval_loss"] {
        assert_eq!(whole[key].to_string(), resumed[key].to_string(), "{key}");
    }
    for file in ["model.safetensors", "trainer.safetensors"] {
        let read = |run: &str| fs::read(place.path(run).join("checkpoints/step-00000012").join(file)).unwrap();
        assert!(read("whole") == read("resumed"), "{file} differs");
    }
    // The initial settings are kept, and the changes are reported.
    let began_with = fs::read_to_string(place.path("resumed/config.toml")).unwrap();
    assert!(began_with.contains("recompute = \"attention\""), "{began_with}");
    let told = "changed    train.recompute is \"layer\", it was \"attention\"\n";
    assert!(stderr(&output).contains(told), "{}", stderr(&output));
    let changes = fs::read_to_string(place.path("resumed/changes.jsonl")).unwrap();
    assert_eq!(changes, "{\"changed\":{\"train.recompute\":[\"attention\",\"layer\"]},\"step\":6}\n");
}

#[cfg(target_os = "linux")]
#[test]
fn no_driver_speaks_before_the_program() {
    let output = Command::new(PROGRAM).arg("devices").env_remove("XDG_RUNTIME_DIR").output().unwrap();
    stdout(&output);
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_run_without_json_prints_a_summary() {
    let place = TestDir::new();
    let output = program(&["train", &place.text("config.toml"), "--out", &place.text("run")]);
    let words = stdout(&output);
    for expected in ["done", "training loss", "validation loss", "bigram baseline", "checkpoint", "multinorm generate"]
    {
        assert!(words.contains(expected), "no {expected:?} in {words}");
    }
}

#[test]
fn a_dry_run_tells_the_memory_of_the_run() {
    let place = TestDir::new();
    let sgd = &["optimizer.name=sgd", "model.tie_word_embeddings=true"];
    let layer = &["train.recompute=layer"];
    for (name, sets) in [("sinkgd", &[][..]), ("adamw", ADAMW), ("sgd", sgd), ("layer", layer)] {
        let real = place.train(name, sets);
        let dry = json(&place.dry_run(sets, true));
        assert_eq!(dry["memory"], real["memory"], "{sets:?}");
        let kind = real["recompute"].as_str().unwrap();
        assert_eq!((kind, &dry["recompute"]), (if name == "layer" { "layer" } else { "none" }, &real["recompute"]));
        assert_eq!(dry["memory_recompute"][kind], real["memory"], "{sets:?}");
        assert_eq!((&dry["fits"], &dry["tokens_per_step"]), (&Value::Bool(true), &Value::from(64)));
    }
    let dry = json(&place.dry_run(&[], true));
    assert_eq!(dry["memory"], dry["memory_sinkgd"]);
    for (class, types) in dry["memory_by_type"].as_object().unwrap() {
        let sum: u64 = types.as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap()).sum();
        assert_eq!(sum, dry["memory"][class], "{class}: {types}");
    }
    let words = stdout(&place.dry_run(&[], false));
    assert!(words.contains(&format!("{:>15}", dry["memory"]["parameters"])), "{words}");
    let activations = ["none", "attention", "layer"].map(|kind| {
        let bytes = dry["memory_recompute"][kind]["activations"].as_u64().unwrap();
        assert_eq!(dry["memory_precision"]["f32"][kind], dry["memory_recompute"][kind]);
        let half = dry["memory_precision"]["f16"][kind]["activations"].as_u64().unwrap();
        assert!(half < bytes, "{kind}: {half} in half precision");
        let row = format!("{kind:<12}{:>22}", bytes_in_words(bytes));
        assert!(words.contains(&row) && words.contains(&format!("{:>22}", bytes_in_words(half))), "{words}");
        bytes
    });
    assert!(activations.is_sorted_by(|more, less| more > less), "{activations:?}");
    assert!(words.contains("recompute     none (auto: "), "{words}");
}

/// GiB of weights and optimizer state in bf16, without gradients: GaLore's and RACS's accounting, recomputed from the
/// sizes.
#[test]
fn a_dry_run_of_each_preset_counts_as_papers_do() {
    let published = [
        ("tiny", None),
        ("9m", None),
        ("20m", None),
        ("60m", Some(["0.23", "0.32"])),
        ("130m", Some(["0.43", "0.75"])),
        ("350m", Some(["0.93", "2.06"])),
        ("1b", Some(["2.98", "7.48"])),
    ];
    for (preset, gib) in published {
        let set = format!("model.preset={preset}");
        let words = stdout(&limited_dry_run(&set, false));
        for expected in ["parameters", "gradients", "optimizer_state", "activations", "scratch", "total", "bf16"] {
            assert!(words.contains(expected), "{preset}: no {expected:?} in {words}");
        }
        let dry = json(&limited_dry_run(&set, true));
        let kept = |optimizer: &str| {
            let bytes = |class: &str| dry[format!("memory_{optimizer}")][class].as_u64().unwrap();
            (bytes("parameters") + bytes("optimizer_state")) as f64 / 2.0 / f64::powi(2.0, 30)
        };
        if let Some(gib) = gib {
            assert_eq!([kept("sinkgd"), kept("adamw")].map(|gib| format!("{gib:.2}")), gib, "{preset}");
        }
    }
}

#[test]
fn a_trained_model_is_evaluated_inspected_and_writes() {
    let place = TestDir::new();
    let trained = place.train("run", &[]);
    let run = place.text("run");
    let checkpoint = trained["checkpoint"].as_str().unwrap();

    let from_run = json(&program(&["eval", &run, "--json"]));
    assert_eq!(from_run["loss"], trained["eval_loss"], "the same windows in the same batches");
    assert_eq!(json(&program(&["eval", checkpoint, "--json"])), from_run);
    let loss = from_run["loss"].as_f64().unwrap();
    assert!((from_run["perplexity"].as_f64().unwrap() - loss.exp()).abs() < 1e-9 * loss.exp());
    assert_eq!(from_run["tokens"], 1024, "eval.max_tokens of the run");

    let text = "the quick brown fox sleeps\n".repeat(20);
    place.write("other.txt", &text);
    fs::write(place.path("other.npy"), npy(text.as_bytes())).unwrap();
    let from_text = json(&program(&["eval", &run, "--data", &place.text("other.txt"), "--json"]));
    let from_tokens = json(&program(&["eval", &run, "--tokens", &place.text("other.npy"), "--json"]));
    assert_eq!(from_text, from_tokens, "the byte tokenizer's ids are the bytes");
    assert_eq!(from_text["tokens"], (text.len() - 1) / 16 * 16);
    assert_ne!(from_text["loss"], from_run["loss"]);
    let words = stdout(&program(&["eval", &run]));
    assert!(words.contains("nats a token") && words.contains("perplexity"), "{words}");

    let written = |more: &[&str]| {
        let args = [&["generate", &run, "--prompt", "the quick"], more].concat();
        let output = program(&args);
        let told = stderr(&output);
        let tokens = told.lines().find_map(|line| line.split_once(" tokens, ")).unwrap_or_else(|| panic!("{told}"));
        (output.stdout, tokens.0.parse::<usize>().unwrap())
    };
    let (text, n_tokens) = written(&["--seed", "7", "--max-tokens", "24"]);
    assert!(text.starts_with(b"the quick") && n_tokens == 24, "{n_tokens} tokens: {text:?}");
    assert_eq!(written(&["--seed", "7", "--max-tokens", "24"]).0, text);
    assert_ne!(written(&["--seed", "8", "--max-tokens", "24"]).0, text);
    let greedy = |seed: &str| written(&["--temperature", "0", "--max-tokens", "12", "--seed", seed]);
    assert_eq!(greedy("1"), greedy("2"));
    assert_eq!(greedy("1").1, 12);

    let words = stdout(&program(&["inspect", &run]));
    for expected in ["last step     12", "step-00000006", "hidden 16", "model.embed_tokens.weight", "lm_head.weight"] {
        assert!(words.contains(expected), "no {expected:?} in {words}");
    }
    let of_run = json(&program(&["inspect", &run, "--json"]));
    assert_eq!((&of_run["run"]["last_step"]["step"], &of_run["config"]["hidden_size"]), (&12.into(), &16.into()));
    assert_eq!(of_run["run"]["checkpoints"].as_array().unwrap().len(), 2);
    let embedding = &of_run["tensors"][0];
    assert_eq!(embedding["name"], "model.embed_tokens.weight");
    assert_eq!((&embedding["shape"], &embedding["role"]), (&serde_json::json!([256, 16]), &"embedding".into()));
    assert!(embedding["std"].as_f64().unwrap() > 0.0 && embedding["largest"].as_f64().unwrap() > 0.0, "{embedding}");

    let args = ["generate", &run, "--prompt", "the quick", "--seed", "7", "--max-tokens", "24", "--json"];
    let of_text = json(&program(&args));
    assert_eq!(of_text["text"].as_str().unwrap().as_bytes(), text.trim_ascii_end(), "what was written without --json");
    assert_eq!((&of_text["tokens"], &of_text["prompt"]), (&24.into(), &"the quick".into()));
    assert!(of_text["stopped"].as_str().unwrap().contains("--max-tokens"), "{of_text}");
}

#[test]
fn shells_and_man_learn_the_programs_words() {
    let commands =
        ["train", "watch", "tokenize", "eval", "generate", "inspect", "compare", "normalize", "bench", "kernels"];
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout(&program(&["completions", shell]));
        for word in commands.iter().chain(&["devices", "--resume", "--lr-sweep"]) {
            assert!(script.contains(word.trim_start_matches('-')), "no {word} for {shell}");
        }
    }
    assert_eq!(program(&["completions", "tcsh"]).status.code(), Some(2));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man1");
    assert_eq!(stdout(&program(&["man", "--out", out.to_str().unwrap()])), "");
    let pages = names(&out);
    assert!(pages.contains(&"multinorm.1".into()), "{pages:?}");
    for command in commands {
        let page = fs::read_to_string(out.join(format!("multinorm-{command}.1"))).unwrap();
        assert!(page.starts_with(".ie") && page.contains(&format!("multinorm\\-{command}")), "{page}");
        assert!(page.contains("Examples:"), "no example in {command}'s page:\n{page}");
        let help = stdout(&program(&[command, "--help"]));
        assert!(help.contains(&format!("Examples:\n  multinorm {command}")), "{help}");
        assert!(help.contains("--json"), "{help}");
    }
    assert!(stdout(&program(&["man"])).contains("multinorm"));
}

#[test]
fn a_trained_model_is_fine_tuned_with_its_sizes_and_its_tokenizer() {
    let place = TestDir::new();
    let first = place.train("first", &[]);
    let from = place.text("first");
    let tune = |out: &str, words: &[&str]| {
        // Neither [model] nor a tokenizer is given: both come from the model.
        let source = format!("data.source={}", place.text("text.txt"));
        let cache = format!("data.cache_dir={}", place.text("cache"));
        let out = place.text(out);
        let base = ["train", "--from", &from, "--out", &out, "--json", "--set", &source, "--set", &cache];
        let small = ["train.sequence_length=16", "train.batch_size=4", "train.steps=4", "eval.max_tokens=1024"];
        let small = small.iter().flat_map(|set| ["--set", set]);
        program(&base.into_iter().chain(small).chain(words.iter().copied()).collect::<Vec<_>>())
    };
    let tuned = json(&tune("tuned", &["--set", "optimizer.name=mezo"]));
    let [before, after] = [&first, &tuned].map(|summary| summary["eval_loss"].as_f64().unwrap());
    assert!((before - after).abs() < 0.02 && before < 5.5, "{before} {after}");
    assert_eq!(tuned["memory"]["gradients"].as_u64().unwrap_or(0), 0, "{tuned}");
    let config = fs::read_to_string(place.path("tuned/config.toml")).unwrap();
    assert!(config.contains("hidden_size = 16") && config.contains("tokenizer.json") && config.contains("init_from"));
    // Resuming continues the run instead of starting over.
    let cut = tune("tuned2", &["--set", "optimizer.name=mezo", "--set", "checkpoint.every=2"]);
    assert!(cut.status.success());
    fs::remove_dir_all(place.path("tuned2/checkpoints/step-00000004")).unwrap();
    let resumed = json(&program(&["train", "--resume", &place.text("tuned2"), "--json"]));
    assert_eq!((&resumed["eval_loss"], &resumed["final_loss"]), (&tuned["eval_loss"], &tuned["final_loss"]));

    // Adapters are saved next to the unchanged model, and are used in evaluation and generation.
    let adazeta = ["--set", "optimizer.name=adazeta", "--set", "optimizer.lr=0.001", "--set", "checkpoint.every=2"];
    let adapted = json(&tune("adapted", &adazeta));
    let checkpoint = place.path("adapted/checkpoints/step-00000004");
    let files = names(&checkpoint);
    for file in ["tensor_train_adapter.json", "tensor_train_adapter.safetensors", "model.safetensors"] {
        assert!(files.contains(&file.to_owned()), "{files:?}");
    }
    let read =
        |run: &str, step: &str| fs::read(place.path(&format!("{run}/checkpoints/step-{step}/model.safetensors")));
    assert!(read("first", "00000012").unwrap() == read("adapted", "00000004").unwrap(), "the model itself");
    let loss = |folder: &str| {
        let words = ["eval", folder, "--data", &place.text("text.txt"), "--json"];
        json(&program(&words))["loss"].as_f64().unwrap()
    };
    let (folder, plain) = (checkpoint.to_str().unwrap(), place.text("first"));
    let [with, without] = [loss(folder), loss(&plain)];
    assert!(with != without && (with - without).abs() < 0.5, "{with} {without}");
    fs::remove_dir_all(&checkpoint).unwrap();
    let resumed = json(&program(&["train", "--resume", &place.text("adapted"), "--json"]));
    assert_eq!((&resumed["eval_loss"], &resumed["final_loss"]), (&adapted["eval_loss"], &adapted["final_loss"]));
    assert_eq!(loss(folder), with);
    let text =
        |folder: &str| stdout(&program(&["generate", folder, "--prompt", "the", "--seed", "1", "--max-tokens", "40"]));
    assert!(text(folder).starts_with("the") && text(folder) != text(&plain));
    assert!(stdout(&program(&["inspect", folder])).contains("adapters"));
    fails(&["train", "--from", folder, "--out", &place.text("none")], 1, &["holds adapters, too, which would be lost"]);
    fs::write(checkpoint.join("tensor_train_adapter.json"), "{\"bottleneck\": 0, \"tensor_rank\": 5, \"scale\": 1}")
        .unwrap();
    fails(&["eval", folder], 1, &["tensor_train_adapter.json", "bottleneck: must be from 1 to 4096, got 0"]);

    // The model that a run started from may be deleted.
    fs::rename(place.path("first"), place.path("gone")).unwrap();
    assert!(
        program(&["train", "--resume", &place.text("tuned2"), "--set", "train.steps=5", "--json"]).status.success()
    );
    assert!(program(&["eval", &place.text("tuned2"), "--json"]).status.success());
    fs::rename(place.path("gone"), place.path("first")).unwrap();
    fs::remove_file(place.path("first/checkpoints/step-00000012/tokenizer.json")).unwrap();

    let refused = |words: &[&str], expected: &str| {
        let output = tune("refused", words);
        assert!(!output.status.success() && stderr(&output).contains(expected), "{}", stderr(&output));
        assert!(!place.path("refused").exists());
    };
    // This fails before looking for data.
    let other = ["--set", "model.num_hidden_layers=1", "--set", "data.tokenizer=bytes", "--set", "data.source=no.txt"];
    refused(&other, "train.init_from: the model in");
    refused(&[&other[..], &["--dry-run"]].concat(), "train.init_from: the model in");
    refused(&[], "data.tokenizer: ");
    refused(&["--set", "train.init_from=nowhere"], "nowhere: there is no such directory");
    fails(&["train", "--from", "nowhere", "--out", &place.text("none")], 1, &["nowhere: there is no such directory"]);
}

#[test]
fn devices_are_listed_and_one_is_chosen() {
    let listed = json(&program(&["devices", "--json"]));
    let listed = listed.as_array().unwrap();
    for (index, adapter) in listed.iter().enumerate() {
        assert_eq!(adapter["index"], index);
        for key in ["name", "backend", "device_type", "driver"] {
            assert!(adapter[key].is_string(), "{key} of {adapter}");
        }
        assert!(adapter["features"].is_array() && adapter["limits"].is_object() && adapter["selected"].is_boolean());
        assert!(adapter["variants"]["measured"].is_object(), "{adapter}");
    }
    let selected: Vec<_> = listed.iter().filter(|adapter| adapter["selected"] == true).collect();
    assert_eq!(selected.len(), 1, "{listed:?}");
    let name = selected[0]["name"].as_str().unwrap();
    assert!(stdout(&program(&["devices"])).contains(name));

    let place = TestDir::new();
    let run = place.text("run");
    for args in [&["devices"][..], &["train", &place.text("config.toml"), "--out", &run]] {
        fails(&[args, &["--adapter", "nonesuch"]].concat(), 1, &["no adapter \"nonesuch\"", name]);
    }
    assert!(!place.path("run").exists());
}

#[test]
fn wrong_data_and_settings_fail_before_anything_is_written() {
    let place = TestDir::new();
    place.write("empty.txt", "");
    place.write("short.txt", "hello");
    place.write("lopsided.txt", &"ab cd ef gh\n".repeat(12));
    place.write("words.json", &word_tokenizer(300));
    let [missing, empty, short, lopsided, words] =
        ["missing.txt", "empty.txt", "short.txt", "lopsided.txt", "words.json"].map(|name| place.text(name));
    let source = |path: &str| format!("data.source={path}");
    let (config, out) = (place.text("config.toml"), place.text("run"));
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (&[&source(&missing)], 1, &["missing.txt, which does not exist", "built-in corpus: austen"]),
        (&[&source(&empty)], 1, &["empty.txt is empty"]),
        (&[&source(&short)], 1, &["one window takes 17", "set train.sequence_length to"]),
        (
            &[&source(&lopsided), "data.validation_fraction=0.9", "train.sequence_length=64"],
            1,
            &["the training text has", "one window takes 65", "set train.sequence_length to"],
        ),
        (
            &[&format!("data.tokenizer={words}")],
            2,
            &["model.vocab_size: is 256, but the tokenizer has 300 entries", "set it to 300 or more"],
        ),
        (&["train.stepz=1"], 2, &["--set train.stepz: unknown key", "did you mean `steps`?"]),
        (&["train.steps=many"], 2, &["--set train.steps: expected a whole number", "got the string \"many\""]),
        (&["model.head_dim=7"], 2, &["model.head_dim: must be a multiple of 4"]),
    ];
    for (sets, status, expected) in cases {
        let sets: Vec<_> = sets.iter().flat_map(|set| ["--set", set]).collect();
        fails(&[&["train", &config, "--out", &out], &sets[..]].concat(), status, expected);
        assert!(!place.path("run").exists(), "{sets:?} left a folder");
    }
    for (text, expected) in [
        ("[train]\nstepz = 1\n", ["wrong.toml: [train] stepz: unknown key", "did you mean `steps`?"]),
        ("[train]\nsteps = 'ten'\n", ["wrong.toml: [train] steps: expected a whole number", "got the string \"ten\""]),
        ("[train\n", ["wrong.toml: TOML parse error at line 1", "[train"]),
    ] {
        place.write("wrong.toml", text);
        fails(&["train", &place.text("wrong.toml"), "--out", &out], 2, &expected);
    }
    fails(&["train", &missing], 1, &["missing.txt", "No such file"]);
    fails(&["eval", &place.text("nowhere")], 1, &["nowhere: there is no such directory"]);
    assert!(!place.path("run").exists());
}

#[test]
fn a_model_beyond_the_adapter_fails_before_data_is_read() {
    let place = TestDir::new();
    // 8 GiB just for the residual stream: binding sizes are 32-bit, and activations are not split into parts.
    let sets = ["model.hidden_size=4096", "train.batch_size=32768", "train.micro_batch_size=32768"];
    let source = format!("data.source={}", place.text("missing.txt"));
    let (config, out) = (place.text("config.toml"), place.text("run"));
    let mut args = vec!["train", &config, "--out", &out, "--set", &source];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    let began = Instant::now();
    fails(&args, 1, &["8589934592", "the adapter's largest is", "choose a smaller model"]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!place.path("run").exists());
    args.extend(["--dry-run", "--json"]);
    assert_eq!(json(&program(&args))["fits"], false);
}

#[test]
fn sizes_beyond_the_adapter_are_refused_with_the_largest_that_fits() {
    let place = TestDir::new();
    let run = |sets: &[&str]| program(&place.train_args("run", sets).iter().map(String::as_str).collect::<Vec<_>>());
    for (key, sets) in [
        (
            "train.micro_batch_size",
            &["train.sequence_length=128", "train.micro_batch_size=65535", "train.batch_size=65535"][..],
        ),
        ("eval.batch_size", &["train.sequence_length=128", "eval.batch_size=65535"]),
    ] {
        let output = run(sets);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("workgroups in one dimension") && !told.contains("panicked"), "{told}");
        let advice = told.split("the largest that fits is ").nth(1).unwrap_or_else(|| panic!("no advice in {told}"));
        let advice = advice.split_whitespace().next().unwrap();
        assert!(advice.starts_with(&format!("{key}=")), "{advice}");
        // The advised value works, and one more does not.
        let fits = |set: &str| {
            let sets = [sets, &[set]].concat();
            json(&place.dry_run(&sets, true))["fits"].as_bool().unwrap()
        };
        assert!(fits(advice), "{advice}");
        if key == "eval.batch_size" {
            let (key, n) = advice.split_once('=').unwrap();
            assert!(!fits(&format!("{key}={}", n.parse::<usize>().unwrap() + 1)), "{advice}");
        }
    }
    assert!(!place.path("run").exists());
    for (set, expected) in [
        ("optimizer.iterations=1000000", "optimizer.iterations: must be at most 1000, got 1000000"),
        ("model.num_hidden_layers=10000", "model.num_hidden_layers: must be at most 1000"),
    ] {
        check_failure(&["train", "--set", set], &run(&[set]), 2, &[expected]);
    }
    let trained = place.train("run", &[]);
    // Never use more windows at a time than there are.
    let all =
        json(&program(&["eval", &place.text("run"), "--batch-size", "10000000", "--json"]))["loss"].as_f64().unwrap();
    assert!((all - trained["eval_loss"].as_f64().unwrap()).abs() < 1e-5, "{all}");
}

/// On a software adapter, which uses main memory.
#[cfg(target_os = "linux")]
#[test]
fn a_run_that_memory_cannot_hold_is_refused_with_what_would_take_less() {
    let place = TestDir::new();
    let sets = [
        "model.num_hidden_layers=300",
        "model.hidden_size=1024",
        "model.intermediate_size=2048",
        "model.num_attention_heads=16",
        "model.num_key_value_heads=16",
        "model.head_dim=64",
        "train.sequence_length=1024",
        "train.batch_size=16",
        "train.micro_batch_size=16",
        "train.precision=f32",
    ];
    let args = place.train_args("run", &sets);
    let output = program(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let told = stderr(&output);
    assert!(
        output.status.code() == Some(1) && told.contains("the run needs ") && told.contains("of memory available"),
        "{told}"
    );
    assert!(told.contains("activations") && told.contains("mildest first"), "{told}");
    // Each takes less memory than the one before, and its claim matches a dry run.
    let mut before = u64::MAX;
    for line in told.lines().filter_map(|line| line.trim().strip_prefix("--set ")) {
        let changes: Vec<&str> = line.split("  ").next().unwrap().split(" --set ").map(str::trim).collect();
        let all = [&sets[..], &changes].concat();
        let memory = &json(&place.dry_run(&all, true))["memory"];
        let total: u64 = memory.as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap()).sum();
        assert!(total < before && line.ends_with(&bytes_in_words(total)), "{total}: {line}");
        before = total;
    }
    assert!(before < u64::MAX && !place.path("run").exists(), "{told}");
}

#[test]
fn broken_model_folders_are_refused() {
    let place = TestDir::new();
    place.train("run", &[]);
    let model = place.path("run/checkpoints/step-00000012");
    let weights = fs::read(model.join("model.safetensors")).unwrap();
    let folder = model.to_str().unwrap();

    fs::write(model.join("model.safetensors"), &weights[..20_000]).unwrap();
    let wanted = weights.len().to_string();
    fails(&["eval", folder], 1, &["model.safetensors: holds 20000 bytes", &wanted, "truncated"]);
    fails(&["train", "--resume", folder], 1, &["model.safetensors: holds 20000 bytes", "truncated"]);
    fs::write(model.join("model.safetensors"), weights).unwrap();

    fs::write(model.join("tokenizer.json"), word_tokenizer(300)).unwrap();
    let expected = ["the tokenizer has 300 entries", "vocab_size is 256", "do not belong together"];
    fails(&["eval", folder, "--data", &place.text("text.txt")], 1, &expected);
    fails(&["generate", folder, "--prompt", "the"], 1, &expected);

    let mut ids = npy(&[1; 40]);
    *ids.last_mut().unwrap() = 1; // the high byte of the last id: 257
    fs::write(place.path("high.npy"), ids).unwrap();
    fails(&["eval", folder, "--tokens", &place.text("high.npy")], 1, &["257", "256"]);
    fails(&["eval", folder, "--tokens", &place.text("text.txt")], 1, &["text.txt"]);
}

#[test]
fn numbers_that_overflow_name_step_tensor_and_the_last_good_checkpoint() {
    let place = TestDir::new();
    let (config, out) = (place.text("config.toml"), place.text("run"));
    let args = ["train", &config, "--out", &out, "--set", "optimizer.name=sgd", "--set", "optimizer.lr=1e30"];
    let saving = [&args[..], &["--set", "checkpoint.every=1"]].concat();
    let last = "The last good checkpoint is ";
    let expected = ["step 2: the loss is NaN", "first tensor that went wrong", "lower the learning rate", last];
    fails(&saving, 1, &[&expected[..], &["step-00000001"]].concat());
    assert_eq!(names(&place.path("run/checkpoints")), ["step-00000001"]);
    assert_whole_checkpoints(&place.path("run"));
    assert!(metrics(&place.path("run")).iter().all(|record| record["step"] == 1), "step 2 was not recorded");
    fs::remove_dir_all(place.path("run")).unwrap();
    fails(&args, 1, &["step 2", "No checkpoint was written yet"]);
    assert!(!place.path("run/checkpoints").exists());
}

/// Checks what every bench document says about the machine and versions.
fn assert_says_where(document: &Value) {
    for key in ["adapter", "driver", "backend", "version", "wgpu_version"] {
        assert!(document[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {document}");
    }
    assert!(document["choices"]["measured"].is_object(), "{document}");
}

#[test]
fn a_benched_step_tells_where_its_time_goes_and_leaves_a_trace() {
    let place = TestDir::new();
    let trace = place.text("trace.json");
    let args = ["bench", "step", &place.text("config.toml"), "--steps", "2", "--trace", &trace, "--json"];
    let told = json(&program(&args));
    assert_says_where(&told);
    let number = |key: &str| told[key].as_f64().unwrap_or_else(|| panic!("{key} of {told}"));
    assert_eq!(told["variants"]["product nt 32x16x16 of 1, high"]["variant"], "shuffled", "{told}");
    for key in [
        "first_step_secs",
        "median_secs",
        "in_a_row_secs",
        "host_secs",
        "device_secs",
        "ideal_bytes",
        "ideal_bytes_secs",
    ] {
        assert!(number(key) > 0.0, "{key}");
    }
    assert!(number("host_secs") <= number("median_secs"));
    // Weights used in products: q, k, v and o of 16 × 16, gate, up and down of 16 × 20, in both layers, and the head.
    let weights = 2 * (4 * 16 * 16 + 3 * 16 * 20) + 256 * 16;
    let attention = 2 * 2 * 16 * 17;
    assert_eq!(number("model_flops"), f64::from(3 * 64 * (2 * weights + attention)));
    let utilisation =
        number("model_flops") / number("in_a_row_secs") / told["ceilings"]["fma_flops_per_sec"].as_f64().unwrap();
    assert!((number("utilisation_of_multiply_add") / utilisation - 1.0).abs() < 1e-9);
    let shares: f64 =
        told["kernels"].as_array().unwrap().iter().map(|row| row["share_of_step"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");

    let trace: Value = serde_json::from_str(&fs::read_to_string(&trace).unwrap()).unwrap();
    assert_says_where(&trace["otherData"]);
    let events = trace["traceEvents"].as_array().unwrap();
    let lane = |lane: u64| -> Vec<(&str, f64, f64)> {
        let of_lane = events.iter().filter(|event| event["ph"] == "X" && event["tid"] == lane);
        let ends = |event: &Value| ["ts", "dur"].map(|key| event[key].as_f64().unwrap());
        of_lane.map(|event| (event["name"].as_str().unwrap(), ends(event)[0], ends(event).iter().sum())).collect()
    };
    let (host, device) = (lane(1), lane(2));
    for name in ["record", "allocate", "compile", "submit", "wait", "steps in a row"] {
        assert!(host.iter().any(|event| event.0 == name), "no {name} in {host:?}");
    }
    // Two micro-batches: the second one's plan is timed too.
    let dispatches: usize = [&device].iter().map(|lane| lane.len()).sum();
    assert!(dispatches > 100 && device.iter().any(|event| event.0 == "next micro-batch"), "{dispatches} on the device");
    let of_kernel = events.iter().find(|event| event["name"].as_str().is_some_and(|name| name.starts_with("matmul")));
    assert!(of_kernel.unwrap()["args"]["shapes"].is_string() && of_kernel.unwrap()["args"]["plan"].is_string());
    for mut lane in [host, device] {
        lane.sort_by(|a, b| a.1.total_cmp(&b.1).then(b.2.total_cmp(&a.2)));
        let mut open: Vec<(&str, f64, f64)> = Vec::new();
        for event in lane {
            open.retain(|outer| outer.2 > event.1 + 1e-4);
            let within = open.last().is_none_or(|outer| event.2 <= outer.2 + 1e-4);
            assert!(within, "{event:?} begins in {:?} and ends after it", open.last());
            open.push(event);
        }
    }
}

#[test]
fn benched_kernels_are_those_of_the_step_beside_the_ceilings() {
    let place = TestDir::new();
    let args = ["bench", "kernels", &place.text("config.toml"), "--seconds", "0.001", "--json"];
    let told = json(&program(&[&args[..], &["--filter", "matmul_strided"]].concat()));
    assert_says_where(&told);
    for ceiling in ["copy_bytes_per_sec", "fma_flops_per_sec"] {
        assert!(told["ceilings"][ceiling].as_f64().unwrap() > 0.0, "{told}");
    }
    let products = told["products"].as_array().unwrap();
    let sizes: Vec<_> = products.iter().map(|product| product["mnk"].to_string()).collect();
    assert_eq!(sizes, ["[509,251,127]"; 3], "the others have kernels of their own");
    assert!(products.iter().all(|product| product["error"].as_f64().unwrap() < 1e-4 && product["secs"].is_number()));

    let told = json(&program(&[&args[..], &["--filter", "rope"]].concat()));
    let rows = told["models"][0]["dispatches"].as_array().unwrap();
    // Queries and keys together, forward and backward, in both layers, for two micro-batches.
    let per_step: u64 = rows.iter().map(|row| row["per_step"].as_u64().unwrap()).sum();
    assert_eq!((rows.len(), per_step), (2, 2 * 2 * 2), "{rows:?}");
    for row in rows {
        assert!(row["secs"].as_f64().unwrap() > 0.0 && row["share_of_ceiling"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!((&row["kernel"], &row["ceiling"]), (&"rope".into(), &"copy".into()));
    }
    fails(&["bench", "kernels", "--preset", "61m"], 2, &["61m", "60m"]);
    fails(&["bench", "kernels", "--seconds", "0"], 2, &["--seconds"]);
}

#[test]
fn benched_optimizers_update_one_matrix_and_a_whole_model() {
    let place = TestDir::new();
    let config = place.text("config.toml");
    let args = ["bench", "optimizers", &config, "--optimizers", "sgd,adamw,mezo", "--shape", "37x61", "--json"];
    let told = json(&program(&args));
    assert_says_where(&told);
    let moved = |of: &str, key: &str| -> Vec<u64> {
        let rows = told[of].as_array().unwrap();
        assert!(rows.iter().all(|row| row["update_secs"].as_f64().unwrap() > 0.0), "{rows:?}");
        rows.iter().map(|row| row[key].as_u64().unwrap()).collect()
    };
    let small = 4 * 5 + 16; // statistics and the step's numbers
    let matrix = 4 * 37 * 61;
    let of_matrix = moved("updates", "bytes_moved");
    assert!((3 * matrix..3 * matrix + small).contains(&of_matrix[0]), "{of_matrix:?} of {matrix}");
    assert!((7 * matrix..7 * matrix + small).contains(&of_matrix[1]), "{of_matrix:?} of {matrix}");
    let weights = 4 * (256 * 16 + 2 * (4 * 16 * 16 + 3 * 16 * 20 + 2 * 16) + 16 + 256 * 16);
    assert_eq!(moved("model_updates", "least_bytes"), [3 * weights, 7 * weights, 6 * weights]);
}

#[test]
fn kernels_are_listed_and_translated() {
    let listed = json(&program(&["kernels", "--json"]));
    let listed = listed["kernels"].as_array().unwrap();
    assert_eq!(listed.len(), multinorm::kernels::all().count());
    let of = |name: &str| listed.iter().find(|kernel| kernel["name"] == name).unwrap();
    assert_eq!(of("rope")["bindings"][0]["reads"], "always");
    assert_eq!(of("matvec")["bindings"][2]["reads"], "if ACCUMULATE");
    assert_eq!(of("bench_matrix_units")["needs"].as_array().unwrap().len(), 3);
    let used = |name: &str| of(name)["used_by"].to_string();
    assert!(used("rope").contains("first micro-batch") && used("rope").contains("generate"), "{}", used("rope"));
    assert!(used("lion").contains("optimizer lion") && used("bench_copy").contains("bench"), "{}", used("lion"));
    let table = stdout(&program(&["kernels"]));
    assert!(multinorm::kernels::all().all(|kernel| table.contains(kernel.name)));

    let rope = multinorm::kernels::all().find(|kernel| kernel.name == "rope").unwrap();
    assert!(stdout(&program(&["kernels", "rope"])).contains(rope.source().trim_end()));
    assert_eq!(stdout(&program(&["kernels", "rope", "--emit", "wgsl"])), rope.source());
    // Overrides with a run's values, kernels without overrides, and a file not named after its kernel.
    for name in ["rope", "gaussian", "attention_64", "matmul_strided"] {
        assert!(stdout(&program(&["kernels", name, "--emit", "msl"])).contains("kernel void"), "{name}");
        let heads = if name == "rope" { &["--constant", "HEADS=3"][..] } else { &[] };
        let hlsl = stdout(&program(&[&["kernels", name, "--emit", "hlsl"], heads].concat()));
        assert!(hlsl.contains("[numthreads(") && (heads.is_empty() || hlsl.contains("HEADS = 3u")), "{hlsl}");
    }
    let place = TestDir::new();
    let file = place.text("rope.spv");
    let piped = program(&["kernels", "rope", "--emit", "spirv"]);
    assert!(piped.status.success() && piped.stdout.starts_with(&[3, 2, 0x23, 7]), "{}", stderr(&piped));
    assert!(stdout(&program(&["kernels", "rope", "--emit", "spirv", "--out", &file])).is_empty());
    assert_eq!(fs::read(&file).unwrap(), piped.stdout);
    assert!(program(&["kernels", "bench_matrix_units", "--emit", "spirv"]).status.success());
    // Subgroup operations, with the lane count of a run that has them.
    for name in ["attention_tiled_shuffled", "attention_tiled_backward_query_shuffled"] {
        let emitted = program(&["kernels", name, "--emit", "spirv"]);
        crate::shaders::validate_spirv(name, &emitted.stdout, false);
    }
    let shared = stdout(&program(&["kernels", "attention_tiled_shared", "--emit", "hlsl"]));
    assert!(shared.contains("BATCH = 4u"), "{shared}");

    fails(&["kernels", "bench_matrix_units", "--emit", "hlsl"], 1, &["bench_matrix_units", "hlsl", "Vulkan"]);
    fails(&["kernels", "matmul_nt_tile"], 2, &["matmul_nt_tile:", "`matmul_nt_tile_64`"]);
    fails(&["kernels", "rope", "--emit", "msl", "--constant", "HEAD=3"], 2, &["rope has no override HEAD;", "HEADS"]);
    assert_eq!(program(&["kernels", "--emit", "msl"]).status.code(), Some(2), "of which kernel?");
}

#[test]
fn kernels_are_listed_without_an_adapter() {
    // Neither loader finds a driver.
    let hidden =
        ["VK_ICD_FILENAMES", "VK_DRIVER_FILES", "__EGL_VENDOR_LIBRARY_FILENAMES"].map(|name| (name, "/nowhere"));
    let without =
        |args: &[&str]| Command::new(PROGRAM).args(args).env_remove("MULTINORM_ADAPTER").envs(hidden).output();
    let listed = json(&without(&["kernels", "--json"]).unwrap());
    if cfg!(target_os = "linux") {
        assert!(listed["adapter"].is_null() && listed["kernels"][0]["runs"].is_null(), "{}", listed["adapter"]);
        let refused = without(&["kernels", "--backend", "gl"]).unwrap();
        check_failure(&["kernels", "--backend", "gl"], &refused, 1, &["no adapter of the backend"]);
    }
}

/// A dry run in a process limited to 2 GiB: the large presets would not fit if anything were allocated.
fn limited_dry_run(set: &str, as_json: bool) -> Output {
    let mut args = vec!["train", "--dry-run", "--set", set];
    args.extend(as_json.then_some("--json"));
    if cfg!(target_os = "linux") {
        let script = "ulimit -d 2097152; exec \"$0\" \"$@\"";
        Command::new("sh").args(["-c", script, PROGRAM]).args(args).output().unwrap()
    } else {
        program(&args)
    }
}
