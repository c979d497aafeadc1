//! Checks docs/optimizers.md, which lists every optimizer's state, memory passes, multiplications and settings, against
//! the memory ledger and the recorded plans.

use std::path::Path;

use multinorm::config::{
    OptimizerConfig, ParameterSpec, Role, Rule, RunConfig, RunDefaults, optimizer_names, rank_for,
};
use multinorm::gpu::{Class, DType, DispatchInfo, Profile, Recorder, bytes_in_words};
use multinorm::optim::{
    Parameter, Perturbed, StepTensors, Update, record, record_directions, record_lookahead, record_perturbation,
    source_of,
};
use multinorm::train::record_training;

const PRESETS: [&str; 4] = ["60m", "130m", "350m", "1b"];

/// Evaluates a formula of m, n, k = min(m, n), the rank r and numbers: sums, products, `k³`, `min(m, n)`, `max(m, n)`.
fn value(formula: &str, [m, n]: [usize; 2], rank: usize) -> usize {
    let (k, large) = (m.min(n), m.max(n));
    let formula = formula.replace("min(m, n)", "k").replace("max(m, n)", "l").replace("k³", "k·k·k");
    let formula: Vec<char> = formula.chars().filter(|c| *c != ' ').collect();
    let of = |name: char| match name {
        'm' => m,
        'n' => n,
        'k' => k,
        'l' => large,
        'r' => rank_for(rank, k),
        _ => panic!("{name} in a formula"),
    };
    fn sum(rest: &mut &[char], of: &dyn Fn(char) -> usize) -> usize {
        let mut total = product(rest, of);
        while rest.first() == Some(&'+') {
            *rest = &rest[1..];
            total += product(rest, of);
        }
        total
    }
    fn product(rest: &mut &[char], of: &dyn Fn(char) -> usize) -> usize {
        let mut total = factor(rest, of);
        while rest.first() == Some(&'·') {
            *rest = &rest[1..];
            total *= factor(rest, of);
        }
        total
    }
    fn factor(rest: &mut &[char], of: &dyn Fn(char) -> usize) -> usize {
        let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        if digits > 0 {
            let number: String = rest[..digits].iter().collect();
            *rest = &rest[digits..];
            return number.parse().unwrap();
        }
        let first = rest[0];
        *rest = &rest[1..];
        if first != '(' {
            return of(first);
        }
        let inner = sum(rest, of);
        assert_eq!(rest[0], ')');
        *rest = &rest[1..];
        inner
    }
    let mut rest = &formula[..];
    let total = sum(&mut rest, &of);
    assert!(rest.is_empty(), "{formula:?}");
    total
}

#[test]
fn formulas_are_read_as_they_are_written() {
    assert_eq!(value("(min(m, n) + 2·max(m, n))·r + 1", [12, 20], 0), (12 + 40) * 3 + 1);
    assert_eq!(value("10·k·m·n + 5·k³", [3, 2], 1), 10 * 2 * 6 + 5 * 8);
    assert_eq!(value("2·(m + n)", [3, 2], 1), 10);
}

/// The rank in a rule's settings, or 0, which stands for a quarter of the smaller side.
fn rank(rule: &Rule) -> usize {
    let settings = toml::Table::try_from(rule).unwrap();
    settings.get("rank").and_then(toml::Value::as_integer).unwrap_or(0) as usize
}

/// How many numbers a rule keeps for a parameter: by its formula for a matrix, by its states for a vector or core.
fn kept(rule: &Rule, spec: &ParameterSpec) -> usize {
    if let [m, n] = spec.shape[..] {
        return value(&rule.state_formula(), [m, n], rank(rule));
    }
    let states = rule.state(&Parameter { name: &spec.name, role: spec.role, shape: &spec.shape }).unwrap();
    states.iter().map(|state| state.shape.iter().product::<usize>()).sum()
}

/// The settings of linear layers, without those that have no effect.
fn settings(config: &OptimizerConfig) -> String {
    let table = toml::Table::try_from(&config.linear).unwrap();
    let idle = |key: &str, value: &toml::Value| {
        let nothing = value.as_float() == Some(0.0) || value.as_bool() == Some(false);
        nothing
            || ["name", "momentum_placement"].contains(&key)
            || (key == "iterations" && value.as_integer() == Some(1))
    };
    let words = |value: &toml::Value| match value {
        toml::Value::Float(x) if *x < 1e-3 => format!("{x:e}"),
        toml::Value::Float(x) => x.to_string(),
        toml::Value::String(word) => word.clone(),
        toml::Value::Array(all) => {
            let all: Vec<&str> = all.iter().filter_map(|word| word.as_str()).collect();
            match all[..] {
                // Alternates between rows and columns.
                [a, b, _, .., last] if all.len() > 4 => format!("({a},{b}) × {},{last}", all.len() / 2),
                _ => all.join(","),
            }
        }
        other => other.to_string(),
    };
    let kept = table.iter().filter(|(key, value)| !idle(key, value));
    kept.map(|(key, value)| format!("{key} {}", words(value))).collect::<Vec<_>>().join(", ")
}

/// Passes over memory beyond plain SGD's three, and multiplications in matrix products, as recorded.
fn measured(config: &OptimizerConfig) -> (f64, usize) {
    let shape = [512, 1376];
    let mut rec = Recorder::new(&Profile::webgpu_default());
    let weight = rec.persistent(Class::Parameters, DType::F32, "weight", &shape);
    let [statistics, step, how] = [5, 4, 4].map(|len| rec.persistent(Class::Scratch, DType::F32, "numbers", &[len]));
    let shared = StepTensors { statistics: &statistics, step: &step };
    rec.begin("update");
    if config.zeroth_order().is_some() {
        let parameter = Perturbed { name: "w", role: Role::Linear, weight: &weight, first: 0, how: &how, step: shared };
        let states = record_directions(&mut rec, config, &parameter).unwrap();
        (0..3).for_each(|_| record_perturbation(&mut rec, config, &parameter, &states));
    } else {
        let gradient = rec.persistent(Class::Gradients, DType::F32, "gradient", &shape);
        let update = Update { name: "w", role: Role::Linear, weight: &weight, gradient: &gradient, lookahead: None };
        let lookahead = record_lookahead(&mut rec, config, &update, shared);
        record(&mut rec, config, &Update { lookahead: lookahead.as_ref(), ..update }, shared).unwrap();
    }
    let ordinary = rec.ordinary_infos("update");
    let passes = ordinary.iter().map(DispatchInfo::bytes).sum::<u64>() as f64 / weight.bytes() as f64 - 3.0;
    let multiplications = ordinary.iter().map(|dispatch| match dispatch.kernel.name {
        name if name.starts_with("matmul") => dispatch.flops as usize / 2,
        "perturb_low_rank" => weight.len() * dispatch.shapes[2][0],
        // Only half of it is computed.
        name if name.starts_with("gram") => dispatch.shapes[0].iter().product::<usize>() * dispatch.shapes[2][1],
        _ => 0,
    });
    let multiplications = multiplications.sum();
    (passes, multiplications)
}

/// An optimizer's line in the table, from the presets' ledgers and one recorded update.
fn line(name: &str) -> String {
    let config = OptimizerConfig::named(name).unwrap();
    let rule = config.linear.rule.clone();
    let mut cells = vec![format!("`{name}`"), rule.state_formula()];
    for preset in PRESETS {
        let sets = [format!("model.preset={preset}"), format!("optimizer.name={name}"), "train.batch_size=1".into()];
        let config = RunConfig::load(None, &sets, RunDefaults::Gpu).unwrap();
        // Use bindings that fit every matrix: rules that read all rows are rejected for a matrix in parts.
        let (max_binding_bytes, max_buffer_bytes) = (1 << 30, 1 << 30);
        let profile = Profile { max_binding_bytes, max_buffer_bytes, ..Profile::webgpu_default() };
        let recorded = record_training(&config, &profile).unwrap();
        let memory = recorded.recorder.memory();
        let bytes = memory.bytes(Class::OptimizerState);
        let of = |spec: &ParameterSpec| kept(&config.optimizer.recipe(spec.role).rule, spec);
        let formula: usize = config.model.parameters().iter().map(of).sum();
        assert_eq!(bytes, 4 * formula as u64, "{name} at {preset}: the ledger and the formula");
        cells.push(bytes_in_words(bytes));
        if name == "adalomo" && preset == "60m" {
            let largest = config.model.parameters().iter().map(|spec| spec.shape.iter().product::<usize>()).max();
            // Transient gradients share the memory of the few that live at once, including the largest.
            let whole = 4 * config.model.n_parameters() as u64;
            let gradients = memory.bytes(Class::Gradients);
            assert!(config.train.fused_update && gradients < whole, "{gradients} of {whole}");
            assert!(gradients >= 4 * largest.unwrap() as u64);
        }
    }
    // Adapters are not among the model's matrices.
    let (passes, multiplications) = if config.adapter().is_some() { (f64::NAN, 0) } else { measured(&config) };
    let words = rule.products_formula();
    let wanted = if words.is_empty() { 0 } else { value(&words, [512, 1376], rank(&rule)) };
    // A zeroth-order rule also has small products with r rows.
    let more = if config.zeroth_order().is_some() { wanted / 100 } else { 0 };
    assert!((wanted..=wanted + more).contains(&multiplications), "{name}: {multiplications}, not {words}");
    cells.push(if passes.is_nan() { "–".into() } else { format!("{passes:+.1}") });
    cells.extend([words, settings(&config), source_of(name).unwrap().to_owned()]);
    format!("| {} |", cells.join(" | "))
}

#[test]
fn the_table_of_states_is_that_of_the_ledgers() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/optimizers.md")).unwrap();
    let mut lines = vec![
        format!("| optimizer | state of a matrix | {} | passes | products | settings | source |", PRESETS.join(" | ")),
        "|---|---|---|---|---|---|---|---|---|---|".to_owned(),
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
