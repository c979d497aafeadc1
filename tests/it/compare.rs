//! `multinorm compare` as a user runs it: what it writes, how it resumes, what it refuses.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use web_time::SystemTime;

use crate::program::{PROGRAM, heed_interrupts, random_millis, send_signal};

const STEPS: usize = 6;

#[test]
fn a_comparison_measures_everything_and_goes_on_where_it_stands() {
    let place = TestDir::new();
    let begun = place.compare("folder", &["--optimizers", "adam,sgd", "--lr-sweep", "1,2"]);
    assert_eq!((&begun["runs_done"], &begun["complete"]), (&4.into(), &true.into()));
    let finished = place.changed("folder/runs/sgd-x2-rest1-seed0");

    // More optimizers and seeds in the same folder: finished runs are not repeated.
    let all = ["--optimizers", "adam,sinkgd,sgd", "--lr-sweep", "1,2", "--seeds", "2"];
    let found = place.compare("folder", &all);
    assert_eq!(place.changed("folder/runs/sgd-x2-rest1-seed0"), finished, "a finished run is left alone");
    assert_eq!(found, place.json("folder/compare.json"), "--json prints what compare.json holds");
    assert_document(&found);
    let picture = fs::read_to_string(place.path("folder/losses.svg")).unwrap();
    assert!(["adam", "sinkgd", "sgd"].iter().all(|name| picture.contains(&format!(">{name}</text>"))), "{picture}");
    let state = fs::read_to_string(place.path("folder/state.svg")).unwrap();
    assert!(["adam", "sinkgd", "sgd"].iter().all(|name| state.contains(name)), "{state}");
    let page = fs::read_to_string(place.path("folder/report.html")).unwrap();
    assert_report(&page, &["adam", "sinkgd", "sgd"]);
    // Adam updates all parameters, SinkGD leaves some to Adam.
    assert!(page.contains("rest: the same<") && page.contains("rest: Adam"), "{page}");

    // With the same seed, all optimizers start from the same weights and batch.
    let first_loss = |run: &Value| (run["seed"].clone(), run["training"]["loss"][0].to_string());
    let mut firsts: Vec<_> = runs(&found).iter().map(first_loss).map(|(seed, loss)| (seed.to_string(), loss)).collect();
    assert_eq!(firsts.len(), 9);
    firsts.sort();
    firsts.dedup();
    assert_eq!(firsts.len(), 2, "one first loss a seed: {firsts:?}");
    assert_ne!(firsts[0].1, firsts[1].1, "another seed is another start");

    // With nothing left to do, the numbers stay the same, including seconds.
    assert_eq!(place.compare("folder", &all), found);

    // From scratch, the same losses.
    let again = place.compare("again", &all);
    assert_same_losses(&again, &found);
    for id in ["adam-x1-rest1-seed0", "sinkgd-x2-rest1-seed0"] {
        let checkpoints = place.path(&format!("again/runs/{id}/checkpoints"));
        assert_eq!(fs::read_dir(checkpoints).unwrap().count(), 1, "of a finished run the last checkpoint stays");
    }
}

#[test]
fn a_comparison_that_was_killed_or_interrupted_ends_with_the_same_losses() {
    let place = TestDir::new();
    let words = ["--optimizers", "adam,sinkgd", "--lr-sweep", "1,2", "--set", "train.steps=40"];
    let whole = place.compare("whole", &words);
    let mut cut = 0;
    for attempt in 0..6 {
        let mut child = place.spawn("cut", &words);
        let mut progress = BufReader::new(child.stderr.take().unwrap());
        if !await_first_step(&mut progress) {
            break;
        }
        std::thread::sleep(random_millis(300));
        if attempt % 2 == 0 || cfg!(not(unix)) {
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            send_signal("INT", child.id());
            let mut told = String::new();
            progress.read_to_string(&mut told).unwrap();
            let output = child.wait_with_output().unwrap();
            let stopped: Value =
                serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
            let hint = told.contains("stopped; repeat the command to resume: multinorm compare");
            assert_eq!(hint, stopped["complete"] == false, "{told}");
        }
        cut += 1;
    }
    assert!(cut > 0, "the comparison is always done before it can be cut short");
    eprintln!("cut short {cut} times");
    assert_same_losses(&place.compare("cut", &words), &whole);
}

#[test]
fn the_rates_of_linear_layers_and_rest_are_searched_as_a_grid() {
    let place = TestDir::new();
    let one_rest = ["--optimizers", "adam,sinkgd", "--lr-sweep", "1,2"];
    assert_eq!(place.compare("folder", &one_rest)["runs_done"], 4);
    let before = place.changed("folder/runs/sinkgd-x2-rest1-seed0");
    let grid = [&one_rest[..], &["--rest-lr-sweep", "0.1,1"]].concat();
    let output = place.command("folder", &grid).output().unwrap();
    let (found, told) = (place.json("folder/compare.json"), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{told}");
    let searched = "factors 1, 2 on the linear layers' learning rate and 0.1, 1 on the rest's: 4 pairs";
    assert!(told.contains(&format!("search     {searched} an optimizer")), "{told}");
    assert_eq!((&found["complete"], &found["runs_done"]), (&true.into(), &8.into()));
    assert_eq!(place.changed("folder/runs/sinkgd-x2-rest1-seed0"), before, "a finished run is left alone");

    let config = |run: &str| {
        let text = fs::read_to_string(place.path(&format!("folder/runs/{run}/config.toml"))).unwrap();
        let config: toml::Table = text.parse().unwrap();
        let optimizer = &config["optimizer"];
        [&optimizer["lr"], &optimizer["embedding"]["lr"], &optimizer["norm"]["lr"]].map(|lr| lr.as_float().unwrap())
    };
    assert_eq!(config("sinkgd-x2-rest0.1-seed0"), [0.04, 0.002, 0.002]);
    assert_eq!(config("adam-x2-rest0.1-seed0"), [0.002, 0.0002, 0.0002], "its rest takes both factors");
    assert_eq!(config("adam-x2-rest1-seed0"), [0.002; 3]);
    for optimizer in found["optimizers"].as_array().unwrap() {
        let points: Vec<[f64; 2]> = optimizer["sweep"]
            .as_array()
            .unwrap()
            .iter()
            .map(|point| ["linear", "rest"].map(|side| point["factors"][side].as_f64().unwrap()))
            .collect();
        assert_eq!(points, [[1.0, 0.1], [2.0, 0.1], [1.0, 1.0], [2.0, 1.0]]);
        let best = ["linear", "rest"].map(|side| optimizer["best_factors"][side].as_f64().unwrap());
        let edge = |factor: f64, smallest: f64| if factor == smallest { "smallest" } else { "largest" };
        let edges = serde_json::json!({"linear": edge(best[0], 1.0), "rest": edge(best[1], 0.1)});
        assert_eq!(optimizer["best_at_edge"], edges, "of two factors the best is at an edge: {optimizer}");
    }
    let page = fs::read_to_string(place.path("folder/report.html")).unwrap();
    for part in [
        "Sensitivity to the learning rate of the linear layers",
        "Sensitivity to the learning rates of the rest",
        "<td>× 0.1</td>",
        "rest’s rate takes both factors",
        "Its best factor on the rest",
    ] {
        assert!(page.contains(part), "{part} is missing from {page}");
    }

    // The human-readable output.
    let mut table = Command::new(PROGRAM);
    table.arg("compare").arg(place.path("config.toml")).args(&grid).arg("--out").arg(place.path("folder"));
    let Output { status, stdout, .. } = table.output().unwrap();
    let table = String::from_utf8(stdout).unwrap();
    assert!(status.success() && table.contains(&format!("searched with seed 0: {searched} an optimizer")), "{table}");
    assert!(table.contains("the reference is adam") && table.contains("all tokens of adam's run over"), "{table}");
    let header: Vec<&str> =
        table.lines().find(|line| line.starts_with("optimizer ")).unwrap().split_whitespace().collect();
    assert_eq!(header[..3], ["optimizer", "factor", "rest"]);
    assert!(header.windows(2).any(|pair| pair == ["tokens/s", "effective"]), "{header:?}");
}

#[test]
fn a_run_that_diverges_is_a_result() {
    let place = TestDir::new();
    let found = place.compare("folder", &["--optimizers", "sgd,sinkgd", "--lr-sweep", "1,1e32", "--seeds", "2"]);
    assert_eq!((&found["complete"], &found["reference"]), (&true.into(), &"sgd".into()));
    let sgd = &found["optimizers"][0];
    assert!(sgd["sweep"][0]["eval_loss"].is_number() && sgd["sweep"][0]["diverged"].is_null(), "{sgd}");
    assert!(sgd["sweep"][1]["eval_loss"].is_null(), "{sgd}");
    assert!(sgd["sweep"][1]["diverged"].as_str().unwrap().contains("step 2"), "{sgd}");
    let edges = serde_json::json!({"linear": "smallest", "rest": null});
    assert_eq!((&sgd["best_factors"]["linear"], &sgd["best_at_edge"]), (&1.0.into(), &edges));
    let page = fs::read_to_string(place.path("folder/report.html")).unwrap();
    assert!(page.contains(">diverged</span>"));
    let remark = "Its best factor on the linear layers' learning rate, 1, is the smallest that was tried";
    assert!(page.contains(remark) && !page.contains("Its best factor on the rest"), "{page}");

    let lost = place.compare("lost", &["--optimizers", "sgd,adam", "--lr-sweep", "1e32"]);
    let sgd = &lost["optimizers"][0];
    assert_eq!(sgd["verdict"], "diverged at every factor");
    assert!(sgd["best_factors"].is_null() && sgd["eval_loss"].is_null() && sgd["to_reference"].is_null(), "{sgd}");
    // It has ended and is not retried.
    assert_eq!(place.compare("lost", &["--optimizers", "sgd,adam", "--lr-sweep", "1e32"]), lost);
}

#[test]
fn what_takes_no_gradient_fine_tunes_what_the_reference_has_trained() {
    let place = TestDir::new();
    let words = ["--optimizers", "mezo,sgd,adam,subzero", "--lr-sweep", "1", "--seeds", "2"];
    let found = place.compare("folder", &words);
    assert_eq!(
        (&found["complete"], &found["runs_done"], &found["reference"]),
        (&true.into(), &8.into(), &"adam".into())
    );
    let names = |list: &str| found[list].as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(
        (names("optimizers"), names("fine_tuned")),
        (vec!["sgd".into(), "adam".into()], vec!["mezo".into(), "subzero".into()])
    );
    let start = &found["fine_tuned_from"];
    assert_eq!((&start["optimizer"], &start["seed"]), (&"adam".into(), &0.into()));
    let adam = runs(&found).iter().find(|run| run["optimizer"] == "adam" && run["seed"] == 0).unwrap();
    assert_eq!(Some(&start["eval_loss"]), adam["validation"]["loss"].as_array().unwrap().last());
    let from = |run: &str| fs::read_to_string(place.path(&format!("folder/runs/{run}/config.toml"))).unwrap();
    for tuned in found["fine_tuned"].as_array().unwrap() {
        let name = tuned["name"].as_str().unwrap();
        assert_eq!((&tuned["forward_passes"], &tuned["backward_passes"]), (&(2 * STEPS).into(), &0.into()));
        let difference = tuned["eval_loss"]["mean"].as_f64().unwrap() - start["eval_loss"].as_f64().unwrap();
        assert!((tuned["difference"]["nats"].as_f64().unwrap() - difference).abs() < 1e-12);
        // Nearly as good as the weights it started from; a run from random weights would be far off.
        assert!(difference.abs() < 0.02, "{name}: {difference}");
        assert!(
            tuned["to_reference"].is_null() && tuned["verdict"].as_str().unwrap().contains("from which it started")
        );
        assert!(from(&format!("{name}-x1-rest1-seed1")).contains("adam-x1-rest1-seed0"));
    }
    assert!(!from("sgd-x1-rest1-seed0").contains("init_from"));
    let page = fs::read_to_string(place.path("folder/report.html")).unwrap();
    assert!(page.contains("Fine-tuning without gradients") && page.contains(">subzero</th>"), "{page}");
    assert_eq!(place.compare("folder", &words), found, "nothing is left to do");

    // A better factor found later for the reference does not change the starting point.
    let more = ["--optimizers", "mezo,sgd,adam,subzero", "--lr-sweep", "1,4", "--seeds", "2"];
    let wider = place.compare("folder", &more);
    assert_eq!((&wider["complete"], &wider["fine_tuned_from"]), (&true.into(), start));
    assert!(from("mezo-x4-rest1-seed0").contains("adam-x1-rest1-seed0"));

    // Given a model, all optimizers start from it and are compared with each other.
    let model = place.path("folder/runs/adam-x1-rest1-seed0");
    let tuning = ["--optimizers", "mezo,adam", "--lr-sweep", "1", "--from", model.to_str().unwrap()];
    let tuned = place.compare("tuned", &tuning);
    assert!(tuned["fine_tuned"].as_array().unwrap().is_empty() && tuned["fine_tuned_from"].is_null());
    let firsts: Vec<f64> = runs(&tuned).iter().map(|run| numbers(&run["training"]["loss"])[0]).collect();
    // MeZO's first loss is the mean of the losses on either side.
    assert!((firsts[0] - firsts[1]).abs() < 1e-3 && firsts[0] < 5.5, "{firsts:?}");
    let [mezo, adam] = [0, 1].map(|at| &tuned["optimizers"][at]);
    assert_eq!((&mezo["backward_passes"], &adam["backward_passes"]), (&0.into(), &STEPS.into()));
    assert!(mezo["difference"].is_object() && mezo["verdict"].as_str().unwrap().contains("adam"));
    // The same command remains the same comparison even if that run has continued in the meantime.
    let checkpoints = model.join("checkpoints");
    let newest = fs::read_dir(&checkpoints).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let newer = checkpoints.join("step-99999999");
    fs::create_dir(&newer).unwrap();
    for file in fs::read_dir(&newest).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(file.path(), newer.join(file.file_name())).unwrap();
    }
    assert_eq!(place.compare("tuned", &tuning), tuned);
    fs::remove_dir_all(&newest).unwrap();
    place.refuses("tuned", &tuning, 1, "which no longer exists: restore it, or choose another `--out`");
}

#[test]
fn where_the_reference_diverges_there_is_nothing_to_fine_tune() {
    let place = TestDir::new();
    let words = ["--optimizers", "sgd,mezo", "--lr-sweep", "1e32"];
    let found = place.compare("folder", &words);
    assert_eq!((&found["complete"], &found["runs_done"]), (&true.into(), &1.into()));
    let mezo = &found["fine_tuned"][0];
    let verdict = "nothing to start from: sgd diverged at every factor";
    assert_eq!((&mezo["verdict"], mezo["eval_loss"].is_null()), (&verdict.into(), true), "{mezo}");
}

#[test]
fn wrong_words_and_other_comparisons_are_refused() {
    let place = TestDir::new();
    let adam = ["--optimizers", "adam,sgd", "--lr-sweep", "1"];
    let with = |words: &[&'static str]| [&adam[..], words].concat();
    for (words, status, expected) in [
        (vec!["--optimizers", "adm"], 2, "no optimizer is called `adm`; the optimizers are adafactor"),
        (vec!["--optimizers", "adm"], 2, "did you mean `adam`?"),
        (vec!["--optimizers", "mezo"], 2, "mezo takes losses and no gradient, and fine-tunes a trained model"),
        (vec!["--lr-sweep", "1"], 2, "--optimizers"),
        (vec!["--optimizers", "adam", "--lr-sweep", ""], 2, "--lr-sweep"),
        (vec!["--optimizers", "adam", "--lr-sweep", "1,0"], 2, "a factor must be finite and above 0, got 0"),
        (
            vec!["--optimizers", "adam", "--rest-lr-sweep", "1,-1"],
            2,
            "--rest-lr-sweep: a factor must be finite and above 0",
        ),
        (vec!["--optimizers", "adam", "--seeds", "0"], 2, "--seeds: at least 1"),
        (with(&["--set", "optimizer.lr=1"]), 2, "sweep with --lr-sweep and --rest-lr-sweep"),
        (with(&["--set", "train.stepz=1"]), 2, "did you mean `steps`?"),
    ] {
        place.refuses("folder", &words, status, expected);
        assert!(!place.path("folder").exists(), "{words:?} left a folder");
    }
    place.compare("folder", &adam);
    let before = place.json("folder/compare.json");
    for (words, expected) in [
        (with(&["--set", "train.steps=7"]), "holds another comparison: its train.steps is 6, the command says 7"),
        (vec!["--optimizers", "adam", "--lr-sweep", "1"], "--optimizers leaves out sgd"),
        (vec!["--optimizers", "adam,sgd", "--lr-sweep", "2"], "command's --lr-sweep leaves out 1"),
        (with(&["--rest-lr-sweep", "2"]), "command's --rest-lr-sweep leaves out 1"),
    ] {
        place.refuses("folder", &words, 1, expected);
    }
    fs::write(place.path("text.txt"), text() + "One sentence more.\n").unwrap();
    place.refuses("folder", &adam, 1, "restore that text and tokenizer");
    place.refuses(".", &adam, 1, "holds something other than a comparison");
    assert_eq!(place.json("folder/compare.json"), before);

    // A plan in the earlier format, when one factor scaled all learning rates.
    let mut kept = place.json("folder/plan.json");
    let kept_keys = kept.as_object_mut().unwrap();
    kept_keys.remove("lr_sweep").unwrap();
    kept_keys.insert("factors".into(), serde_json::json!([1.0]));
    fs::write(place.path("folder/plan.json"), kept.to_string()).unwrap();
    place.refuses("folder", &adam, 1, "of an earlier multinorm, where one factor moved every learning rate");
    assert_eq!(place.json("folder/compare.json"), before);
}

/// Checks the documented keys, and that the numbers are consistent.
fn assert_document(found: &Value) {
    for key in ["program", "command", "adapter", "driver", "reference", "noise_rule"] {
        assert!(found[key].is_string(), "no {key} in {found}");
    }
    for key in ["name", "license", "training_tokens", "validation_tokens", "split"] {
        assert!(!found["corpus"][key].is_null(), "no corpus.{key}");
    }
    assert_eq!((&found["reference"], &found["tokens_per_run"]), (&"adam".into(), &(STEPS * 4 * 16).into()));
    let factors = serde_json::json!({"linear": [1.0, 2.0], "rest": [1.0]});
    assert_eq!((&found["seeds"], &found["factors"]), (&serde_json::json!([0, 1]), &factors));
    assert_eq!((&found["config"]["train"]["steps"], &found["runs_done"]), (&STEPS.into(), &9.into()));
    for run in runs(found) {
        assert_eq!(run["outcome"], "finished");
        assert_eq!(run["training"]["step"].as_array().unwrap().len(), STEPS);
        assert_eq!(run["validation"]["step"], serde_json::json!([2, 4, 6]));
        let secs: Vec<f64> = numbers(&run["training"]["secs"]);
        assert!(secs.len() == STEPS && secs[0] > 0.0 && secs.is_sorted(), "{secs:?}");
    }
    for optimizer in found["optimizers"].as_array().unwrap() {
        assert_optimizer(found, optimizer);
    }
}

fn assert_optimizer(found: &Value, optimizer: &Value) {
    let name = optimizer["name"].as_str().unwrap();
    let finals: Vec<f64> =
        runs_at_best(found, optimizer).map(|run| *numbers(&run["validation"]["loss"]).last().unwrap()).collect();
    assert_eq!(finals.len(), 2, "{name}: two seeds at the best factors");
    let mean = (finals[0] + finals[1]) / 2.0;
    let sd = (finals[0] - finals[1]).abs() / 2f64.sqrt();
    let close = |key: &str, value: &Value, wanted: f64| {
        let value = value.as_f64().unwrap_or_else(|| panic!("{name}: {key} of {optimizer}"));
        assert!((value - wanted).abs() <= 1e-9 * wanted.abs().max(1e-9), "{name}: {key} is {value}, not {wanted}");
    };
    close("mean", &optimizer["eval_loss"]["mean"], mean);
    close("sd", &optimizer["eval_loss"]["sd"], sd);
    close("perplexity", &optimizer["perplexity"], mean.exp());
    let lowest = optimizer["sweep"].as_array().unwrap().iter().map(|point| point["eval_loss"].as_f64().unwrap());
    assert_eq!(lowest.fold(f64::INFINITY, f64::min), finals[0], "{name}: the first seed chose the factors");
    // The gradient comes from the end of the best run, whichever run was measured first.
    let followed = optimizer["spectrum"]["passes"].as_array().unwrap();
    let wanted = match name {
        "adam" => vec!["gradient", "adamw"],
        "sgd" => vec!["gradient"],
        _ => [&["gradient"][..], &["row", "column"].repeat(5)].concat(),
    };
    assert_eq!(followed.iter().map(|entry| entry["pass"].as_str().unwrap()).collect::<Vec<_>>(), wanted, "{name}");
    assert_eq!(optimizer["spectrum"]["step"], STEPS + 1);
    assert!(followed.iter().all(|entry| entry["operator_norm"].as_f64().unwrap() > 0.0));
    let bytes = |key: &str| optimizer["cost"][key].as_u64().unwrap();
    assert_eq!(bytes("state_bytes"), bytes("state_bytes_linear") + bytes("state_bytes_rest"));
    let (linear, all) = (found["parameters_linear"].as_u64().unwrap(), found["parameters"].as_u64().unwrap());
    let expected = match name {
        "adam" => [8 * linear, 8 * (all - linear)],
        "sinkgd" => [0, 8 * (all - linear)],
        _ => [0, 0],
    };
    assert_eq!([bytes("state_bytes_linear"), bytes("state_bytes_rest")], expected, "{name}");
    let share = &optimizer["cost"]["update_share"];
    assert!(share.is_null() || (0.0..=1.0).contains(&share.as_f64().unwrap()), "{name}: {share}");
    let speeds = runs_at_best(found, optimizer)
        .map(|run| found["tokens_per_run"].as_f64().unwrap() / numbers(&run["training"]["secs"]).last().unwrap());
    close("tokens_per_sec", &optimizer["tokens_per_sec"], speeds.sum::<f64>() / 2.0);
    assert!(optimizer["settings"]["lr"].is_number());
    let effective: Vec<Option<f64>> = [0, 1].map(|seed| effective_tokens_per_sec(found, optimizer, seed)).to_vec();
    let to_reference = &optimizer["to_reference"];
    for (seed, wanted) in effective.iter().enumerate() {
        let of_seed = &to_reference["seeds"][seed];
        assert_eq!((&of_seed["seed"], of_seed["reached"].is_null()), (&seed.into(), wanted.is_none()), "{optimizer}");
        if let Some(wanted) = wanted {
            close("a seed's effective", &of_seed["reached"]["effective_tokens_per_sec"], *wanted);
        }
    }
    match effective[..] {
        [Some(a), Some(b)] => close("effective", &to_reference["mean"]["effective_tokens_per_sec"], (a + b) / 2.0),
        _ => assert!(to_reference["mean"].is_null(), "{optimizer}"),
    }
    if name == "adam" {
        assert!(
            to_reference["mean"].is_object(),
            "its own final loss is reached at the latest as it ends: {optimizer}"
        );
        assert!(optimizer["difference"].is_null() && optimizer["verdict"] == "the reference");
    } else {
        assert!(optimizer["difference"]["is_noise"].is_boolean(), "{optimizer}");
        assert!(optimizer["verdict"].as_str().unwrap().contains("the noise of the seeds"), "{optimizer}");
    }
}

fn runs_at_best<'a>(found: &'a Value, optimizer: &'a Value) -> impl Iterator<Item = &'a Value> {
    let is_best = |run: &&Value| run["optimizer"] == optimizer["name"] && run["factors"] == optimizer["best_factors"];
    runs(found).iter().filter(is_best)
}

/// Computed from the curves in the document: all tokens of Adam's run divided by the seconds that the optimizer needs
/// to first reach Adam's final loss.
fn effective_tokens_per_sec(found: &Value, optimizer: &Value, seed: u64) -> Option<f64> {
    let run_of = |optimizer| runs_at_best(found, optimizer).find(|run| run["seed"] == seed).unwrap();
    let adam = found["optimizers"].as_array().unwrap().iter().find(|other| other["name"] == "adam").unwrap();
    let wanted = *numbers(&run_of(adam)["validation"]["loss"]).last().unwrap();
    let validation = &run_of(optimizer)["validation"];
    let (losses, secs) = (numbers(&validation["loss"]), numbers(&validation["secs"]));
    let at = losses.iter().position(|loss| *loss <= wanted)?;
    let secs_until = if at == 0 {
        secs[0]
    } else {
        let share = (losses[at - 1] - wanted) / (losses[at - 1] - losses[at]);
        secs[at - 1] + share * (secs[at] - secs[at - 1])
    };
    Some(found["tokens_per_run"].as_f64().unwrap() / secs_until)
}

/// Checks that the page is well-formed and self-contained, with a plot of each kind and every name.
fn assert_report(page: &str, optimizers: &[&str]) {
    for name in optimizers {
        assert!(page.contains(&format!("{name}</th>")), "{name} is missing");
    }
    for part in [
        "<caption>",
        "Training loss by step",
        "Validation loss by second",
        "Sensitivity",
        "over the seeds",
        "Spectrum of the step",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    let plots = page.matches("<svg class=\"plot\"").count();
    assert!(plots >= 11, "{plots} plots");
    assert_eq!([page.matches("role=\"img\"").count(), page.matches("<desc id=").count()], [plots, plots]);
    for outside in ["<script", "<link", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside} reaches outside the page");
    }
    assert!(!page.replace("http://www.w3.org/2000/svg", "").contains("http"), "the page names another");
    let mut open = Vec::new();
    for tag in page.split('<').skip(1).map(|piece| piece.split_once('>').expect("a tag ends").0) {
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes another element");
        } else if !tag.starts_with('!') && !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

/// Checks that all losses, and everything derived only from losses, are bit-identical.
fn assert_same_losses(a: &Value, b: &Value) {
    assert_eq!(a["complete"], true);
    for key in ["runs_done", "reference", "baseline_bigram_loss", "config"] {
        assert_eq!(a[key], b[key], "{key}");
    }
    let losses = |found: &Value| -> Vec<String> {
        let words = |run: &Value| {
            let [training, validation] = ["training", "validation"].map(|curve| &run[curve]);
            let lists = [&training["step"], &training["loss"], &validation["step"], &validation["loss"]];
            format!("{} {} {} {lists:?}", run["optimizer"], run["factors"], run["seed"])
        };
        runs(found).iter().map(words).collect()
    };
    assert_eq!(runs(a).len(), runs(b).len());
    losses(a).iter().zip(&losses(b)).for_each(|(a, b)| assert_eq!(a, b));
    for (a, b) in a["optimizers"].as_array().unwrap().iter().zip(b["optimizers"].as_array().unwrap()) {
        for key in ["name", "sweep", "best_factors", "eval_loss", "best_eval_loss", "difference", "verdict"] {
            assert_eq!(a[key], b[key], "{key} of {}", a["name"]);
        }
        assert_eq!(a["to_reference"]["mean"]["steps"], b["to_reference"]["mean"]["steps"]);
    }
}

/// A folder with a text, and settings small enough for nine runs in seconds.
struct TestDir(TempDir);

impl TestDir {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("text.txt"), text()).unwrap();
        let config = format!(
            "[model]\nvocab_size = 256\nhidden_size = 32\nintermediate_size = 40\nnum_hidden_layers = 1\n\
             num_attention_heads = 2\nhead_dim = 16\n\
             [data]\nsource = [{:?}]\ntokenizer = \"bytes\"\nvalidation_fraction = 0.1\ncache_dir = {:?}\n\
             [schedule]\nwarmup_fraction = 0\n\
             [train]\nsteps = {STEPS}\nbatch_size = 4\nmicro_batch_size = 2\nsequence_length = 16\n\
             [eval]\nevery = 2\nmax_tokens = 512\nbatch_size = 4\n[checkpoint]\nevery = 3\nkeep = 2\n",
            place.path("text.txt"),
            place.path("cache"),
        );
        fs::write(place.path("config.toml"), config).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }

    /// When a run's files were last written.
    fn changed(&self, run: &str) -> Vec<SystemTime> {
        let files = ["metrics.jsonl", "config.toml", "outcome.json", "checkpoints"];
        files.map(|file| self.path(run).join(file).metadata().unwrap().modified().unwrap()).to_vec()
    }

    fn command(&self, folder: &str, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("compare").arg(self.path("config.toml")).args(words).arg("--json");
        command.arg("--out").arg(self.path(folder));
        command
    }

    fn compare(&self, folder: &str, words: &[&str]) -> Value {
        let Output { status, stdout, stderr } = self.command(folder, words).output().unwrap();
        let told = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{status}: {told}");
        serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("not one JSON document: {error}\n{told}"))
    }

    fn spawn(&self, folder: &str, words: &[&str]) -> Child {
        heed_interrupts();
        self.command(folder, words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn refuses(&self, folder: &str, words: &[&str], status: i32, expected: &str) {
        let output = self.command(folder, words).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {told}");
        assert!(told.contains(expected) && !told.contains("panicked"), "no {expected:?} in {told}");
        assert!(output.stdout.is_empty());
    }
}

fn runs(found: &Value) -> &Vec<Value> {
    found["runs"].as_array().unwrap()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Waits until a run of a comparison is in progress, unless none is left.
fn await_first_step(progress: &mut impl BufRead) -> bool {
    let mut lines = progress.lines().map(Result::unwrap);
    lines.any(|line| line.starts_with("run ") && line.contains(" · step "))
}

/// 20 kB of sentences, the same each time.
fn text() -> String {
    let words = ["no", "wind", "moves", "the", "grey", "water", "below", "an", "old", "bridge", "of", "stone"];
    let (mut text, mut state) = (String::new(), 7_u64);
    while text.len() < 20_000 {
        for place in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text += words[(state >> 33) as usize % words.len()];
            text += if place < 7 { " " } else { ".\n\n" };
        }
    }
    text
}
