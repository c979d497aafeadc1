//! Checks the paper's runs in configs/ against the paper.

use std::fs;
use std::path::Path;

use multinorm::config::{Precision, Role, RunConfig, RunDefaults};
use multinorm::train::record_training;

use crate::support::everything;

fn read(name: &str) -> RunConfig {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let config = RunConfig::load(Some((&path, &text)), &[], RunDefaults::Gpu).unwrap();
    config.validate().unwrap();
    config
}

#[test]
fn every_size_of_the_paper_has_a_run_of_sinkgd_and_one_of_adam() {
    // Millions of tokens from table 10 of the RACS paper, and the learning rate from its table 8.
    for (size, n_parameters, millions, adam_lr) in [
        ("60m", 58_073_600, 1310, 0.001),
        ("130m", 134_105_856, 2621, 0.001),
        ("350m", 367_969_280, 7864, 0.001),
        ("1.3b", 1_339_082_752, 13_107, 0.0007),
    ] {
        for (optimizer, lr) in [("sinkgd", 0.02), ("adam", adam_lr)] {
            let name = format!("{size}-{optimizer}.toml");
            let config = read(&name);
            assert_eq!(config.model.n_parameters(), n_parameters, "{name}");
            let tokens = config.train.steps * config.train.tokens_per_step() as u64;
            assert_eq!(tokens / 1_000_000, millions, "{name}");
            assert_eq!((config.train.batch_size, config.train.sequence_length), (512, 256), "{name}");
            assert_eq!(config.train.precision, Precision::F16, "{name}");
            assert_eq!(config.optimizer.linear.lr, lr, "{name}");
            assert_eq!(config.optimizer.recipe(Role::Embedding).lr, lr, "{name}: Adam on the rest");
            let memory = record_training(&config, &everything()).unwrap().recorder.memory().total();
            assert!(memory < 80 << 30, "{name}: {memory} bytes are more than a large card has");
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 8 + SMALL.len(), "each file is held to the paper here, or below");
}

/// Presets that are in no paper, with their numbers of parameters, including the vocabulary, and of tokens.
const SMALL: [(&str, usize, u64); 3] =
    [("tiny", 869_504, 307_200), ("9m", 1_852_544, 16_384_000), ("20m", 7_358_720, 32_768_000)];

#[test]
fn every_small_preset_has_a_run_of_its_own() {
    for (size, n_parameters, n_tokens) in SMALL {
        let config = read(&format!("{size}.toml"));
        assert_eq!(config.model.n_parameters(), n_parameters, "{size}");
        assert_eq!(config.train.steps * config.train.tokens_per_step() as u64, n_tokens, "{size}");
        let memory = record_training(&config, &everything()).unwrap().recorder.memory().total();
        assert!(memory < 4 << 30, "{size}: {memory} bytes");
    }
    // Two of them are the default runs, except for the choice of half precision and what adapters differ in.
    for (name, defaults) in [("tiny.toml", RunDefaults::Software), ("20m.toml", RunDefaults::Gpu)] {
        let mut config = read(name);
        let default = RunConfig::load(None, &[], defaults).unwrap();
        (config.train.precision, config.eval) = (default.train.precision, default.eval.clone());
        (config.train.micro_batch_size, config.data.validation_fraction) =
            (default.train.micro_batch_size, default.data.validation_fraction);
        (config.checkpoint, config.distributed) = (default.checkpoint.clone(), default.distributed.clone());
        assert_eq!(config, default, "{name}");
    }
}
