//! `multinorm prune`: the learned scores against the f64 model, and the program.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use multinorm::checkpoint::load_model;
use multinorm::config::ModelConfig;
use multinorm::data::batches::Batches;
use multinorm::data::tokens::Tokens;
use multinorm::llama::UnitKind;
use multinorm::prune::{Measure, PruneDir, PruneSettings, PruneState, Scope, Selection, Shape, Start, Subject, zeroed};
use multinorm::reference::random::{stream, word_of_seed};
use multinorm::reference::{llama, prune as reference};
use pollster::block_on;
use serde_json::Value;
use web_time::Instant;

use super::program::*;
use super::support::{FORMS, gpu, random, widen};

/// Two layers of three groups of two heads and of 70 channels: more than one row's padding holds.
fn small() -> ModelConfig {
    ModelConfig {
        vocab_size: 31,
        hidden_size: 24,
        intermediate_size: 70,
        num_hidden_layers: 2,
        num_attention_heads: 6,
        num_key_value_heads: 3,
        head_dim: 8,
        ..ModelConfig::preset("tiny").unwrap()
    }
}

fn weights(config: &ModelConfig) -> Vec<Vec<f32>> {
    let values = |(at, spec): (usize, multinorm::config::ParameterSpec)| -> Vec<f32> {
        let base = if spec.shape.len() == 1 { 1.0 } else { 0.0 };
        random(spec.n_elements(), 7 + at as u64).iter().map(|x| base + 0.3 * x).collect()
    };
    config.parameters().into_iter().enumerate().map(values).collect()
}

fn tokens() -> Tokens {
    Tokens::Owned((0..500u32).map(|i| i * i % 31).collect())
}

/// The f64 model's loss with the weights that read units of a zero mask set to zero.
fn loss(
    config: &ModelConfig,
    weights: &[Vec<f32>],
    masks: [&[f64]; 2],
    [ids, targets]: [&[u32]; 2],
    batch: usize,
) -> f64 {
    let kept = |mask: &[f64], kind: UnitKind| -> Vec<Vec<usize>> {
        let layers = mask.chunks(mask.len() / config.num_hidden_layers);
        layers.map(|mask| (0..kind.per_layer(config)).filter(|unit| mask[*unit] == 1.0).collect()).collect()
    };
    let selection = Selection { heads: kept(masks[0], UnitKind::Heads), channels: kept(masks[1], UnitKind::Channels) };
    let named = config.parameters().into_iter().zip(weights).map(|(spec, values)| multinorm::checkpoint::NamedTensor {
        name: spec.name,
        shape: spec.shape,
        values: values.clone(),
    });
    let named: Vec<_> = named.collect();
    let parameters = zeroed(config, &selection, &named).into_iter().map(|tensor| llama::Parameter {
        name: tensor.name,
        shape: tensor.shape,
        values: widen(&tensor.values),
    });
    let parameters: Vec<_> = parameters.collect();
    let of_reference = llama::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        num_key_value_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        rms_norm_eps: config.rms_norm_eps,
        rope_theta: config.rope_theta,
        rope_scaling: multinorm::reference::rope::Scaling::None,
        biases: [false; 7],
        tie_word_embeddings: config.tie_word_embeddings,
    };
    llama::loss(&of_reference, &parameters, ids, targets, batch, ids.len() / batch)
}

/// Six steps of the scores by the reference: masks drawn, losses of the f64 model, estimator, projection. Rows are
/// padded to 64 units, as on the device.
fn reference_scores(
    config: &ModelConfig,
    weights: &[Vec<f32>],
    settings: &PruneSettings,
    start: [&Measure; 2],
) -> [Vec<f64>; 2] {
    let padded = |scores: &Measure| -> Vec<f64> {
        let pad = scores[0].len().next_multiple_of(64) - scores[0].len();
        let of = |row: &Vec<f64>| row.iter().map(|x| f64::from(*x as f32)).chain(vec![0.0; pad]).collect::<Vec<_>>();
        scores.iter().flat_map(of).collect()
    };
    let mut scores = start.map(padded);
    let tokens = tokens();
    let batches = Batches::new(&tokens, settings.batch_size, settings.sequence_length, settings.seed).unwrap();
    let n = settings.batch_size * settings.sequence_length;
    let mut baseline = None;
    for step in 1..=settings.steps {
        let (mut ids, mut targets) = (vec![0; n], vec![0; n]);
        batches.fill(step - 1, &mut ids, &mut targets).unwrap();
        let mut masks = [Vec::new(), Vec::new()];
        let mut losses = Vec::new();
        for sample in 0..settings.samples {
            for (kind, name) in ["heads", "channels"].into_iter().enumerate() {
                let stream = stream(&format!("mask {sample} of {name}"));
                let seed = word_of_seed(settings.seed);
                masks[kind].push(reference::draw_mask(&scores[kind], stream, step as u32, seed));
            }
            let [heads, channels] = &masks;
            let of_sample = [heads[sample].as_slice(), &channels[sample]];
            losses.push(loss(config, weights, of_sample, [&ids, &targets], settings.batch_size));
        }
        baseline = reference::baseline(baseline, &losses, settings.window);
        let lr = settings.lr * settings.schedule(step);
        for kind in UnitKind::ALL {
            let of = kind as usize;
            let moved = reference::score_step(&scores[of], &masks[of], &losses, baseline.unwrap(), lr);
            let layers = if settings.scope == Scope::Model { 1 } else { config.num_hidden_layers };
            let budget = settings.keep(kind) * (kind.per_layer(config) * config.num_hidden_layers / layers) as f64;
            let parts = moved.chunks(moved.len() / layers);
            scores[of] = parts.flat_map(|part| reference::project(part, budget)).collect();
        }
    }
    scores
}

fn state(settings: PruneSettings, scores: [Measure; 2]) -> PruneState {
    PruneState {
        settings,
        model: "none".into(),
        model_sha256: String::new(),
        data: None,
        data_sha256: String::new(),
        done: 0,
        baseline: 0.0,
        scores,
        kept: None,
    }
}

#[test]
fn scores_are_learned_as_by_the_reference_on_the_f64_model() {
    let (config, tokens) = (small(), tokens());
    let weights = weights(&config);
    let subject = Subject { config: &config, weights: &weights, tokens: &tokens };
    for form in FORMS {
        for (scope, samples) in [(Scope::Model, 2), (Scope::Layer, 3)] {
            let settings = PruneSettings {
                keep: [0.6, 0.7],
                scope,
                steps: 6,
                lr: 0.05,
                samples,
                batch_size: 2,
                sequence_length: 9,
                calibration: 8,
                seed: (7 << 32) + 3,
                ..PruneSettings::default()
            };
            let start = block_on(subject.starting_scores(gpu(form), &settings)).unwrap();
            let want = reference_scores(&config, &weights, &settings, start.each_ref());
            let dir = tempfile::tempdir().unwrap();
            let mut dir = PruneDir::create(&dir.path().join("out"), state(settings.clone(), start.clone())).unwrap();
            let (never, mut seen) = (AtomicBool::new(false), 0);
            let mut show = |_: &multinorm::prune::Progress| seen += 1;
            assert!(block_on(subject.learn(gpu(form), &mut dir, 4, &never, &mut show)).unwrap());
            assert_eq!((seen, dir.state.done), (6, 6));
            for (kind, (found, start)) in dir.state.scores.iter().zip(&start).enumerate() {
                let pitch = found[0].len().next_multiple_of(64);
                let mut moved: f64 = 0.0;
                for (layer, row) in found.iter().enumerate() {
                    for (unit, score) in row.iter().enumerate() {
                        let off = (score - want[kind][layer * pitch + unit]).abs();
                        // A loss is right to 1e-6, and the bisection ends within 1e-3 of a sum over the scope.
                        assert!(off < 3e-4, "{form:?} {scope:?} {kind} {layer} {unit}: off by {off}");
                        moved = moved.max((score - start[layer][unit]).abs());
                    }
                }
                assert!(moved > 0.02, "{form:?}: the scores have hardly moved, {moved}");
            }
        }
    }
}

#[test]
fn squares_of_inputs_are_measured_on_calibration_text() {
    // One layer and no attention: the input of down_proj is computed from the embedding alone.
    let config = ModelConfig { num_hidden_layers: 1, ..small() };
    let mut weights = weights(&config);
    let specs = config.parameters();
    let at = |name: &str| specs.iter().position(|spec| spec.name.ends_with(name)).unwrap();
    weights[at("o_proj.weight")].fill(0.0);
    let tokens = tokens();
    let settings = PruneSettings { batch_size: 2, sequence_length: 9, calibration: 4, ..PruneSettings::default() };
    let squares = block_on(multinorm::prune::mean_squares(gpu(FORMS[0]), &config, &weights, &settings, &tokens));
    let [heads, channels] = squares.unwrap();
    assert_eq!((heads[0].len(), channels[0].len()), (48, 70));
    let Tokens::Owned(ids) = &tokens else { unreachable!() };
    let of = |name: &str| widen(&weights[at(name)]);
    let (table, norm) = (of("embed_tokens.weight"), of("post_attention_layernorm.weight"));
    let (gate, up) = (of("gate_proj.weight"), of("up_proj.weight"));
    let mut want = vec![0.0; 70];
    for id in &ids[..36] {
        let x = &table[*id as usize * 24..][..24];
        let rms = (x.iter().map(|x| x * x).sum::<f64>() / 24.0 + config.rms_norm_eps).sqrt();
        let x: Vec<f64> = x.iter().zip(&norm).map(|(x, weight)| x / rms * weight).collect();
        let dot =
            |matrix: &[f64], row: usize| -> f64 { matrix[row * 24..][..24].iter().zip(&x).map(|(w, x)| w * x).sum() };
        for (channel, sum) in want.iter_mut().enumerate() {
            let gated = dot(&gate, channel);
            *sum += (gated / (1.0 + (-gated).exp()) * dot(&up, channel)).powi(2) / 36.0;
        }
    }
    for (found, want) in channels[0].iter().zip(&want) {
        assert!((found - want).abs() < 1e-5 * want.max(1e-3), "{channels:?} {want:?}");
    }
}

/// Prunes the run `run` of a folder.
fn prune(place: &TestDir, out: &str, args: &[&str]) -> Value {
    let (run, out) = (place.text("run"), place.text(out));
    let fixed = ["prune", &run, "--out", &out, "--batch-size", "2", "--sequence-length", "16", "--calibration", "8"];
    json(&program(&[&fixed[..], args, &["--json"]].concat()))
}

#[test]
fn a_pruned_model_is_one_that_everything_takes() {
    let place = TestDir::new();
    place.train("run", &["model.num_attention_heads=4", "model.num_key_value_heads=4"]);
    let made = prune(&place, "smaller", &["--keep-heads", "0.5", "--keep-channels", "0.4", "--steps", "5"]);
    assert_eq!((made["steps"].as_u64(), made["shape"].as_str()), (Some(5), Some("equal")), "{made}");
    let (config, parameters) = load_model(&place.path("smaller")).unwrap();
    assert_eq!((config.num_attention_heads, config.num_key_value_heads, config.intermediate_size), (2, 2, 8));
    assert_eq!(made["parameters"]["after"], config.n_parameters());
    assert!(parameters.iter().all(|tensor| tensor.values.iter().all(|value| value.is_finite())));
    assert_eq!(made["heads"]["kept"], serde_json::json!([2, 2]));
    // The checksums of what is delivered are right.
    multinorm::files::verify_checksums(&place.path("smaller"), |_| true).unwrap();

    // A whole model with zeros has the same loss where its layers keep the same units.
    let masked = prune(&place, "masked", &["--keep", "0.5", "--steps", "0", "--shape", "mask", "--scope", "layer"]);
    let equal = prune(&place, "equal", &["--keep", "0.5", "--steps", "0"]);
    let (whole, _) = load_model(&place.path("masked")).unwrap();
    assert_eq!(whole.num_attention_heads, 4);
    let kept = |out: &str| -> Selection {
        let text = fs::read_to_string(place.path(out).join("pruning.json")).unwrap();
        serde_json::from_value(serde_json::from_str::<Value>(&text).unwrap()["kept"].clone()).unwrap()
    };
    assert_eq!(kept("masked").heads, kept("equal").heads);
    assert_eq!(masked["loss"]["before"], equal["loss"]["before"]);

    // What reads a model reads both.
    for model in ["smaller", "masked"] {
        let generated = program(&["generate", &place.text(model), "--prompt", "the ", "--max-tokens", "3", "--json"]);
        assert_eq!(json(&generated)["tokens"], 3, "{model}");
        let inspected = json(&program(&["inspect", &place.text(model), "--json"]));
        assert!(inspected.is_object(), "{inspected}");
    }
    let (from, out, cache) =
        (place.text("smaller"), place.text("after"), format!("data.cache_dir={}", place.text("cache")));
    let source = format!("data.source={}", place.text("text.txt"));
    let sets = ["--set", &source, "--set", &cache, "--set", "train.steps=3", "--set", "train.sequence_length=16"];
    let after = json(&program(&[&["train", "--from", &from, "--out", &out, "--json"], &sets[..]].concat()));
    assert_eq!(after["steps"], 3);

    // The loss that is told is the model's.
    let text = fs::read_to_string(place.path("text.txt")).unwrap();
    place.write("held-out.txt", &text[text.len() - 4000..]);
    let data = place.text("held-out.txt");
    let made = prune(&place, "of-text", &["--data", &data, "--steps", "2", "--keep", "0.75"]);
    place.write("tail.txt", &text[text.len() - 200..]);
    let windows = ["--sequence-length", "16", "--batch-size", "2", "--json"];
    let (model, tail) = (place.text("of-text"), place.text("tail.txt"));
    let told = json(&program(&[&["eval", &model, "--data", &tail], &windows[..]].concat()));
    assert_eq!((&told["tokens"], &told["loss"]), (&made["loss"]["tokens"], &made["loss"]["after"]), "{told} {made}");
}

#[test]
fn a_stopped_pruning_resumes_to_the_same_bits() {
    let place = TestDir::new();
    place.train("run", &[]);
    let args = ["--steps", "300", "--keep", "0.6", "--save-every", "7", "--shape", "mask"];
    let whole = prune(&place, "whole", &args);
    let (run, out) = (place.text("run"), place.text("stopped"));
    let fixed = ["prune", &run, "--out", &out, "--batch-size", "2", "--sequence-length", "16", "--calibration", "8"];
    let start = || {
        let _ = fs::remove_dir_all(place.path("stopped"));
        let mut command = Command::new(PROGRAM);
        let mut child = command.args(fixed).args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let began = Instant::now();
        while lines(&place.path("stopped")) < 20 {
            assert!(began.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(1));
        }
        child
    };
    let resume = || {
        let ended = json(&program(&["prune", "--resume", &out, "--json"]));
        assert_eq!((&ended["loss"], &ended["channels"]), (&whole["loss"], &whole["channels"]));
        for file in ["model.safetensors", "losses.jsonl", "pruning.json"] {
            let [ended, whole] = ["stopped", "whole"].map(|dir| fs::read(place.path(dir).join(file)).unwrap());
            assert!(ended == whole, "{file} differs");
        }
    };
    // Killed: from the last saved scores.
    kill(start());
    fails(&["prune", &run, "--out", &out], 1, &["holds a pruning already", "--resume"]);
    resume();
    fails(&["prune", "--resume", &out], 1, &["is finished"]);
    // Stopped by a signal: from the step that it ended.
    #[cfg(unix)]
    {
        let child = start();
        send_signal("TERM", child.id());
        let output = ended_within(child, 120);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(lines(&place.path("stopped")) < 300, "it was stopped");
        resume();
    }
    // Another text, or other weights, are no continuation.
    kill(start());
    let state = place.path("stopped/pruning.json");
    let text = fs::read_to_string(&state).unwrap();
    let altered = |key: &str| {
        let at = text.find(key).unwrap() + key.len() + 3;
        let digit = if &text[at..=at] == "0" { "1" } else { "0" };
        fs::write(&state, format!("{}{digit}{}", &text[..at], &text[at + 1..])).unwrap();
    };
    altered("\"model_sha256\"");
    fails(&["prune", "--resume", &out], 1, &["has other weights than when this pruning began"]);
    altered("\"data_sha256\"");
    fails(&["prune", "--resume", &out], 1, &["the text is not the one that this pruning began with"]);
}

fn kill(mut child: std::process::Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn lines(out: &Path) -> usize {
    fs::read_to_string(out.join("losses.jsonl")).map_or(0, |text| text.lines().count())
}

#[test]
fn what_cannot_be_pruned_is_refused_with_the_reason() {
    let place = TestDir::new();
    place.train("run", &[]);
    let (run, out) = (place.text("run"), place.text("out"));
    let refused = |args: &[&str], status: i32, expected: &[&str]| {
        fails(&[&["prune", &run, "--out", &out], args].concat(), status, expected);
        assert!(!place.path("out").exists(), "{args:?}");
    };
    refused(&["--keep", "0"], 2, &["--keep", "above 0"]);
    refused(&["--keep-channels", "1.5"], 2, &["--keep", "at most 1"]);
    refused(&["--samples", "1"], 2, &["--samples", "from 2"]);
    refused(&["--save-every", "0"], 2, &["--save-every"]);
    refused(&["--sequence-length", "5000"], 2, &["--sequence-length", "positions"]);
    refused(&["--batch-size", "100000000"], 2, &["--batch-size", "from 1 to 65535"]);
    refused(&["--batch-size", "65535", "--sequence-length", "128"], 1, &["batch"]);
    refused(&["--data", "nowhere.txt"], 1, &["nowhere.txt"]);
    place.write("short.txt", "a few words");
    refused(&["--data", &place.text("short.txt")], 1, &["tokens"]);
    fails(&["prune", "--resume", &run], 1, &["holds no pruning to resume"]);
}

#[test]
fn starts_and_scopes_are_what_they_say() {
    let (config, tokens) = (small(), tokens());
    let weights = weights(&config);
    let subject = Subject { config: &config, weights: &weights, tokens: &tokens };
    let settings = PruneSettings { batch_size: 2, sequence_length: 9, calibration: 4, ..PruneSettings::default() };
    let of =
        |start| block_on(subject.starting_scores(gpu(FORMS[0]), &PruneSettings { start, ..settings.clone() })).unwrap();
    let starts = [Start::Wanda, Start::Magnitude, Start::Random, Start::Constant].map(of);
    assert_eq!(starts[3][1], vec![vec![0.7; 70]; 2]);
    for (at, start) in starts.iter().enumerate() {
        assert!(starts[..at].iter().all(|other| other != start), "{at} is another's");
        let mean = start[1][0].iter().sum::<f64>() / 70.0;
        assert!((mean - 0.7).abs() < 0.1, "{mean}");
    }
    assert_eq!(settings.shape, Shape::Equal);
}
