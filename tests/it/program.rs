//! Running the program as a process, and a folder to run it in.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use web_time::{Instant, SystemTime};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_multinorm");

/// The files of a complete checkpoint, sorted.
pub const CHECKPOINT_FILES: [&str; 8] = [
    "SHA256SUMS",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "trainer.json",
    "trainer.safetensors",
];

/// A folder with a text, and settings small enough for a run to take well under a second.
pub struct TestDir(TempDir);

impl TestDir {
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("text.txt", &text());
        let config = format!(
            "[model]\nvocab_size = 256\nhidden_size = 16\nintermediate_size = 20\nnum_hidden_layers = 2\n\
             num_attention_heads = 2\nhead_dim = 8\n\
             [data]\nsource = [{:?}]\ntokenizer = \"bytes\"\nvalidation_fraction = 0.1\ncache_dir = {:?}\n\
             [optimizer]\nname = \"sinkgd\"\n\
             [train]\nsteps = 12\nbatch_size = 4\nmicro_batch_size = 2\nsequence_length = 16\n\
             [eval]\nevery = 6\nmax_tokens = 1024\nbatch_size = 4\ntext_tokens = 5\n\
             [checkpoint]\nevery = 6\nkeep = 3\n",
            place.path("text.txt"),
            place.path("cache"),
        );
        place.write("config.toml", &config);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn train_args(&self, out: &str, sets: &[&str]) -> Vec<String> {
        let mut args =
            ["train", &self.text("config.toml"), "--out", &self.text(out), "--json"].map(str::to_owned).to_vec();
        args.extend(sets.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]));
        args
    }

    /// Trains into the folder `out` and returns the summary.
    pub fn train(&self, out: &str, sets: &[&str]) -> Value {
        let summary = json(&Command::new(PROGRAM).args(self.train_args(out, sets)).output().unwrap());
        for key in
            ["steps", "tokens", "final_loss", "eval_loss", "baseline_bigram_loss", "tokens_per_sec", "peak_bytes"]
        {
            assert!(summary[key].is_number(), "no {key} in {summary}");
        }
        assert!(summary["memory"].is_object() && summary["checkpoint"].is_string(), "{summary}");
        summary
    }

    pub fn spawn_train(&self, out: &str, sets: &[&str]) -> Child {
        heed_interrupts();
        let mut command = Command::new(PROGRAM);
        command.args(self.train_args(out, sets)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn await_first_checkpoint(&self, out: &str) {
        let first = self.path(out).join("checkpoints/step-00000003");
        let began = Instant::now();
        while !first.exists() {
            assert!(began.elapsed() < Duration::from_secs(60), "no {}", first.display());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills a run abruptly, at a random time after its first checkpoint, and returns that time.
    pub fn kill_after_a_checkpoint(&self, out: &str, sets: &[&str]) -> Duration {
        let mut halves = 300;
        loop {
            let mut child = self.spawn_train(out, sets);
            self.await_first_checkpoint(out);
            let delay = random_millis(halves);
            std::thread::sleep(delay);
            let was_running = child.try_wait().unwrap().is_none();
            child.kill().unwrap();
            child.wait().unwrap();
            if was_running {
                return delay;
            }
            assert!(halves > 1, "the run is always done before it can be killed");
            halves /= 2;
            fs::remove_dir_all(self.path(out)).unwrap();
        }
    }

    pub fn dry_run(&self, sets: &[&str], as_json: bool) -> Output {
        let mut args = self.train_args("never", sets);
        args.retain(|arg| as_json || arg != "--json");
        args.push("--dry-run".into());
        let output = Command::new(PROGRAM).args(args).output().unwrap();
        assert!(!self.path("never").exists());
        output
    }
}

pub fn program(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

/// What a process printed, once it has ended by itself.
pub fn ended_within(mut child: Child, secs: u64) -> Output {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(secs) {
            child.kill().unwrap();
            panic!("still running: {}", stderr(&child.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

/// Sends a signal such as `TERM` to a process.
pub fn send_signal(signal: &str, process: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill -{signal} {process}")]).status().unwrap();
    assert!(status.success());
}

/// Has programs that are started from here end at SIGINT, even where it is ignored: a script does so for its background
/// jobs, and programs inherit it. A signal that is handled is inherited with its default action.
#[cfg(unix)]
pub fn heed_interrupts() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let always = std::sync::Arc::new(true.into());
        signal_hook::flag::register_conditional_default(signal_hook::consts::SIGINT, always).unwrap();
    });
}

#[cfg(not(unix))]
pub fn heed_interrupts() {}

pub fn fails(args: &[&str], status: i32, expected: &[&str]) {
    check_failure(args, &program(args), status, expected);
}

/// Checks for this exit status, a single message that contains all of `expected`, and nothing on standard output.
pub fn check_failure(args: &[&str], output: &Output, status: i32, expected: &[&str]) {
    let told = stderr(output);
    let context = format!("{args:?}: {}\n{told}", output.status);
    assert_eq!(output.status.code(), Some(status), "{context}");
    assert!(output.stdout.is_empty() && !told.contains("panicked"), "{context}");
    let messages: Vec<_> =
        told.match_indices("multinorm: ").filter(|(at, _)| *at == 0 || told.as_bytes()[at - 1] == b'\n').collect();
    assert_eq!(messages.len(), 1, "one message: {context}");
    let message = &told[messages[0].0..];
    for part in expected {
        assert!(message.contains(part), "no {part:?} in {context}");
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The standard output of a command that must succeed.
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The single JSON document on standard output.
pub fn json(output: &Output) -> Value {
    let text = stdout(output);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("not one JSON document: {error}\n{text}"))
}

pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The lines of spectra.jsonl, if there is one.
pub fn spectra(run: &Path) -> Option<String> {
    fs::read_to_string(run.join("spectra.jsonl")).ok()
}

/// The texts by the step after which they were written; a run that was stopped may write its last one twice.
fn texts(run: &Path) -> BTreeMap<u64, String> {
    let text = fs::read_to_string(run.join("texts.jsonl")).unwrap_or_default();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.map(|record| (record["step"].as_u64().unwrap(), record["text"].to_string())).collect()
}

/// Checks that two runs are bit-identical: losses, weights, optimizer state.
pub fn assert_same_run(a: &Value, a_folder: &Path, b: &Value, b_folder: &Path) {
    assert_eq!(spectra(a_folder), spectra(b_folder), "spectra.jsonl");
    assert_eq!(texts(a_folder), texts(b_folder), "texts.jsonl");
    for key in ["steps", "tokens", "final_loss", "eval_loss", "baseline_bigram_loss", "memory"] {
        assert_eq!(a[key].to_string(), b[key].to_string(), "{key}");
    }
    let losses = |folder: &Path| -> Vec<String> {
        let of_steps = metrics(folder).into_iter().filter(|record| record.get("loss").is_some());
        of_steps.map(|record| format!("{} {} {}", record["step"], record["loss"], record["grad_norm"])).collect()
    };
    assert_eq!(losses(a_folder), losses(b_folder));
    assert_whole_checkpoints(b_folder);
    for file in ["model.safetensors", "trainer.safetensors"] {
        let bytes = [a, b].map(|run| fs::read(Path::new(run["checkpoint"].as_str().unwrap()).join(file)).unwrap());
        assert!(bytes[0] == bytes[1], "{file} differs");
    }
}

/// Checks that there are no half-written checkpoints, not even under the hidden names that a crash would leave.
pub fn assert_whole_checkpoints(run: &Path) {
    for name in names(&run.join("checkpoints")) {
        assert!(name.starts_with("step-"), "{name} is left over");
        assert_eq!(names(&run.join("checkpoints").join(&name)), CHECKPOINT_FILES, "{name}");
    }
}

/// After a kill a hidden folder may be half-written, but one with a checkpoint's name never is.
pub fn assert_only_whole_are_listed(run: &Path, told: &impl Debug) {
    for name in names(&run.join("checkpoints")).iter().filter(|name| name.starts_with("step-")) {
        assert_eq!(names(&run.join("checkpoints").join(name)), CHECKPOINT_FILES, "{name}: {told:?}");
    }
}

/// Random milliseconds below `end`: a fixed delay would always interrupt the same operation.
pub fn random_millis(end: u64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Duration::from_millis(u64::from(now.subsec_micros()) % end)
}

/// 20 kB of sentences, the same each time.
pub fn text() -> String {
    let words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "rain", "falls", "on"];
    let (mut text, mut state) = (String::new(), 1_u64);
    while text.len() < 20_000 {
        for place in 0..9 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text += words[(state >> 33) as usize % words.len()];
            text += if place < 8 { " " } else { ".\n\n" };
        }
    }
    text
}

/// NumPy's format, version 1: one row of little-endian u16.
pub fn npy(ids: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '<u2', 'fortran_order': False, 'shape': ({},), }}", ids.len());
    let header = format!("{header:<117}\n"); // with the 10 bytes before it, a multiple of 64
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(ids.iter().flat_map(|&id| u16::from(id).to_le_bytes()));
    bytes
}

/// A tokenizer.json with this many whole words.
pub fn word_tokenizer(n_words: usize) -> String {
    let vocab: serde_json::Map<String, Value> = (0..n_words).map(|id| (format!("w{id}"), id.into())).collect();
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "w0" },
    })
    .to_string()
}
