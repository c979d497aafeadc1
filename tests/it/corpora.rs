//! Users' texts: formats, splits, shards, the cache, and memory.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::*;

/// The text of [`TestDir`] in four files of different formats: a sixth of it in each, and the rest in the last.
fn formats(place: &TestDir) -> String {
    let text = text();
    let sixth = text.len() / 6;
    let part = |i: usize| &text[i * sixth..if i == 3 { text.len() } else { (i + 1) * sixth }];
    fs::create_dir(place.path("texts")).unwrap();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(format!("{}\n{}\n", json!({"text": part(0)}), json!({"text": null, "id": 2})).as_bytes()).unwrap();
    fs::write(place.path("texts/a.jsonl.gz"), packed.finish().unwrap()).unwrap();
    place.write("texts/b.json", &json!([{"text": part(1)}, part(1)]).to_string());
    place.write("texts/c.csv", &format!("id,text\n1,\"{}\"\n", part(2)));
    place.write("texts/d.txt", part(3));
    place.write("texts/plot.png", "");
    place.text("texts")
}

#[test]
fn shards_train_to_the_bits_of_the_texts_that_they_were_made_of() {
    let place = TestDir::new();
    let texts = formats(&place);
    let tokens = place.text("tokens");
    let output =
        program(&["tokenize", &texts, "--out", &tokens, "--vocab-size", "300", "--shard-tokens", "1000", "--json"]);
    let made = json(&output);
    let told = stderr(&output);
    assert!(told.contains("1 file is not text, skipped: 1 .png"), "{told}");
    assert!(told.contains("1 documents of texts have no text and are skipped"), "{told}");
    assert!(told.contains("1 documents of texts occur more than once"), "{told}");
    assert_eq!((made["documents"].as_u64(), made["vocab_size"].as_u64()), (Some(4), Some(300)));
    let count = |side: &str| made[side]["shards"].as_array().unwrap().len() as u64;
    assert_eq!(count("train"), made["train"]["tokens"].as_u64().unwrap().div_ceil(1000));
    assert_eq!(count("validation"), made["validation"]["tokens"].as_u64().unwrap().div_ceil(1000));
    assert!(names(&place.path("tokens")).contains(&"train_000001.bin".to_owned()));

    let of_texts = [
        &*format!("data.source={texts}"),
        "data.tokenizer=bpe",
        "model.vocab_size=300",
        "data.validation_fraction=0.05",
    ];
    let of_shards = [&*format!("data.source={tokens}"), "model.vocab_size=300"];
    let (a, b) = (place.train("a", &of_texts), place.train("b", &of_shards));
    for key in ["final_loss", "eval_loss", "baseline_bigram_loss"] {
        assert_eq!(a[key].to_string(), b[key].to_string(), "{key}");
    }
    assert_eq!(
        fs::read(place.path("b").join("checkpoints/step-00000012/tokenizer.json")).unwrap(),
        fs::read(place.path("tokens/tokenizer.json")).unwrap()
    );

    fails(&["tokenize", &texts, "--out", &tokens], 1, &["tokens already exists", "name a new directory"]);
    fails(
        &["tokenize", &texts, "--out", &place.text("more"), "--shard-tokens", "0"],
        2,
        &["--shard-tokens: must be at least 1"],
    );
    assert!(!place.path("more").exists());
    let plain = stdout(&program(&["tokenize", &texts, "--out", &place.text("of bytes"), "--tokenizer", "bytes"]));
    let next = format!("multinorm train --set 'data.source={}' --set model.vocab_size=256", place.text("of bytes"));
    assert!(plain.contains(&next), "{plain}");
}

#[test]
fn a_folder_with_named_splits_holds_out_what_it_says() {
    let place = TestDir::new();
    fs::create_dir(place.path("texts")).unwrap();
    let text = text();
    place.write("texts/train-00000-of-00001.txt", &text[..12_000]);
    place.write("texts/validation.txt", &text[12_000..14_000]);
    place.write("texts/test.txt", &text[14_000..]);
    let output = Command::new(PROGRAM)
        .args(place.train_args("run", &[&format!("data.source={}", place.text("texts")), "train.steps=1"]))
        .output()
        .unwrap();
    let told = stderr(&output);
    // A token is a byte, and a line break ends a document.
    assert!(
        told.contains("(12001 training and 2001 validation tokens; held out: the files that are named so"),
        "{told}"
    );
    assert!(told.contains("1 files are named as tests and are skipped"), "{told}");
}

#[test]
fn a_stray_bin_beside_texts_does_not_win() {
    let place = TestDir::new();
    fs::create_dir(place.path("texts")).unwrap();
    place.write("texts/a.txt", &text());
    place.write("texts/weights.bin", "not tokens at all");
    let summary = place.train("run", &[&format!("data.source={}", place.text("texts")), "train.steps=1"]);
    assert_eq!(summary["steps"], 1);
}

#[test]
fn a_cache_that_cannot_be_written_is_a_setting_to_change() {
    let place = TestDir::new();
    let cache = format!("data.cache_dir={}", place.path("text.txt").join("cache").display());
    let args = place.train_args("run", &[&cache]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    fails(&args, 2, &["data.cache_dir: cannot create", "text.txt/cache", "set it to a directory that can be written"]);
}

#[test]
#[cfg(target_os = "linux")]
fn the_cache_is_the_users() {
    let place = TestDir::new();
    let home = TempDir::new().unwrap();
    let args = place.train_args("run", &["data.cache_dir=", "train.steps=1"]);
    let output = Command::new(PROGRAM).args(args).env("XDG_CACHE_HOME", home.path()).output().unwrap();
    assert_eq!(json(&output)["steps"], 1);
    assert_eq!(names(&home.path().join("multinorm")), ["tokens"]);
    assert_eq!(names(place.path("run").parent().unwrap()), ["config.toml", "run", "text.txt"]);
}

#[test]
fn a_tokenizer_that_its_library_cannot_take_is_named() {
    let place = TestDir::new();
    let mut file: Value = serde_json::from_str(&word_tokenizer(8)).unwrap();
    file["model"]["vocab"] = json!([]);
    place.write("tokenizer.json", &file.to_string());
    let tokenizer = format!("data.tokenizer={}", place.text("tokenizer.json"));
    let args = place.train_args("run", &[&tokenizer]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    fails(&args, 1, &["tokenizer.json: cannot read it as a tokenizer.json"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_text_is_tokenized_in_bounded_memory() {
    let peak = peak_of_tokenizing(16);
    assert!(peak < 500 << 20, "{peak} bytes for 16 MB of text");
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "minutes, and a gigabyte of disk"]
fn a_gigabyte_is_tokenized_in_less_than_two() {
    let peak = peak_of_tokenizing(1000);
    println!("1 GB of text: {peak} bytes at most");
    assert!(peak < 2_000_000_000);
}

/// The peak memory of `multinorm tokenize` on a text of this many megabytes, in which a few words are new.
#[cfg(target_os = "linux")]
fn peak_of_tokenizing(megabytes: usize) -> u64 {
    let place = TestDir::new();
    let mut file = fs::File::create(place.path("long.txt")).unwrap();
    let text = text();
    for i in 0..megabytes * 1_000_000 / text.len() {
        // Scrambled digits as letters: a word that has not occurred before.
        let mut number = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = std::iter::from_fn(|| {
            let letter = char::from(b'a' + (number % 20) as u8);
            number /= 20;
            (number > 0).then_some(letter)
        });
        file.write_all((text.clone() + &word.collect::<String>() + "\n\n").as_bytes()).unwrap();
    }
    let args = ["tokenize", &place.text("long.txt"), "--out", &place.text("tokens"), "--vocab-size", "400"];
    let mut child = Command::new(PROGRAM).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        let status = fs::read_to_string(&status).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(1024 * kib.unwrap_or(0_u64));
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(ended.success());
    peak
}
