//! docs/optimizers.md says what every optimizer keeps; here it is held to the ledger.

use std::path::Path;

use multinorm::config::{OptimizerConfig, Role, Rule, RunConfig, RunDefaults, optimizer_names, rank_for};
use multinorm::gpu::{Class, Form, Profile, bytes_in_words};
use multinorm::train::record_training;

const PRESETS: [&str; 4] = ["60m", "130m", "350m", "1b"];

/// Numbers that a rule keeps of a matrix m×n, or of a vector of n: in words and in figures.
fn kept(rule: &Rule, shape: &[usize]) -> (&'static str, usize) {
    let len = shape.iter().product::<usize>();
    let sides: usize = shape.iter().sum();
    let (small, large) = (shape.iter().min().unwrap(), shape.iter().max().unwrap());
    let rank = |rank: usize| rank_for(rank, *small);
    match rule {
        Rule::Passes(program) if program.momentum > 0.0 => ("m·n", len),
        Rule::Passes(_) => ("0", 0),
        Rule::Sgd(sgd) if sgd.momentum > 0.0 => ("m·n", len),
        Rule::Sgd(_) => ("0", 0),
        Rule::Adamw(_) | Rule::AdamNonzero(_) => ("2·m·n", 2 * len),
        Rule::Lion(_) | Rule::ExtrapolatedSgd(_) => ("m·n", len),
        // A vector's squares are averaged one by one.
        Rule::Adafactor(_) | Rule::Adalomo(_) => ("m + n", sides),
        Rule::Mezo(_) | Rule::Adazeta(_) => ("0", 0),
        Rule::Subzero(subzero) => ("(m + n)·r", if shape.len() == 2 { sides * rank(subzero.rank) } else { 0 }),
        Rule::HFac(_) => ("2·(m + n)", 2 * sides),
        Rule::Racs(_) => ("m + n + 1", sides + 1),
        Rule::Apollo(apollo) if apollo.rank == 1 => ("2·max(m, n) + 1", 2 * large + 1),
        Rule::Apollo(apollo) => ("2·max(m, n)·r + 1", 2 * large * rank(apollo.rank) + 1),
        Rule::Galore(galore) => ("(min(m, n) + 2·max(m, n))·r", (small + 2 * large) * rank(galore.rank)),
        Rule::Fira(fira) => ("(min(m, n) + 2·max(m, n))·r + 1", (small + 2 * large) * rank(fira.galore.rank) + 1),
    }
}

/// The table's line of an optimizer, from the ledgers of the presets.
fn line(name: &str) -> String {
    let rule = OptimizerConfig::named(name).unwrap().linear.rule;
    let mut cells = vec![format!("`{name}`"), kept(&rule, &[4, 4]).0.to_owned()];
    for preset in PRESETS {
        let sets = [format!("model.preset={preset}"), format!("optimizer.name={name}"), "train.batch_size=1".into()];
        let config = RunConfig::load(None, &sets, RunDefaults::Gpu).unwrap();
        let recorded = record_training(&config, &Profile::webgpu_default(Form::WorkgroupTiles)).unwrap();
        let memory = recorded.recorder.memory();
        let bytes = memory.bytes(Class::OptimizerState);
        let of = |role: Role, shape: &[usize]| kept(&config.optimizer.recipe(role).rule, shape).1;
        let formula: usize = config.model.parameters().iter().map(|spec| of(spec.role, &spec.shape)).sum();
        assert_eq!(bytes, 4 * formula as u64, "{name} at {preset}: the ledger and the formula");
        cells.push(bytes_in_words(bytes));
        if name == "adalomo" && preset == "60m" {
            let largest = config.model.parameters().iter().map(|spec| spec.shape.iter().product::<usize>()).max();
            // Gradients that pass share the memory of a few at once, the largest among them.
            let whole = 4 * config.model.n_parameters() as u64;
            let gradients = memory.bytes(Class::Gradients);
            assert!(config.train.fused_update && gradients < whole, "{gradients} of {whole}");
            assert!(gradients >= 4 * largest.unwrap() as u64);
        }
    }
    format!("| {} |", cells.join(" | "))
}

#[test]
fn the_table_of_states_is_that_of_the_ledgers() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/optimizers.md")).unwrap();
    let mut lines = vec![
        format!("| optimizer | state of a matrix | {} |", PRESETS.join(" | ")),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(optimizer_names().iter().map(|name| line(name)));
    let table = lines.join("\n");
    assert!(text.contains(&table), "docs/optimizers.md should have this table:\n{table}");
    for name in optimizer_names() {
        let is_list = matches!(OptimizerConfig::named(name).unwrap().linear.rule, Rule::Passes(_));
        let told = text.split("## What each does").nth(1).unwrap();
        assert!(is_list || told.contains(name), "docs/optimizers.md says nothing of {name}");
    }
}
