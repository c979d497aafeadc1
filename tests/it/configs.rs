//! The runs of the paper in configs/: what they say is what the paper has.

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
    // Tokens of RACS' table 10, in millions, and the rate of its table 8.
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
    assert_eq!(fs::read_dir(folder).unwrap().count(), 8, "each file is held to the paper here");
}
