//! docs/optimizers.md says what every optimizer keeps, reads, multiplies and is set by; here it is held to the ledger and to
//! what is recorded.

use std::path::Path;

use multinorm::config::{
    OptimizerConfig, Pass, Role, Rule, RunConfig, RunDefaults, Spectral, SpectralVariant, optimizer_names, rank_for,
};
use multinorm::gpu::{Class, DType, DispatchInfo, Form, Profile, Recorder, bytes_in_words};
use multinorm::optim::{Perturbed, StepTensors, Update, record, record_ahead, record_directions, record_perturbation};
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

/// Multiplications of matrix products in an update of a matrix m×n, k the smaller side: in words, and how many.
fn products(rule: &Rule, [m, n]: [usize; 2]) -> (&'static str, usize) {
    let k = m.min(n);
    let rank = |rank: usize| rank_for(rank, k);
    match rule {
        Rule::Passes(program) => match program.passes.iter().find_map(|pass| match pass {
            Pass::Spectral(spectral) => Some(spectral),
            _ => None,
        }) {
            None => ("", 0),
            Some(Spectral { variant: SpectralVariant::Cubic, steps: 10 }) => ("20·k·m·n", 20 * k * m * n),
            Some(Spectral { steps: 5, .. }) => ("10·k·m·n + 5·k³", 10 * k * m * n + 5 * k * k * k),
            Some(other) => panic!("no words for {other:?}"),
        },
        Rule::Apollo(apollo) if apollo.rank == 1 => ("m·n", m * n),
        Rule::Apollo(apollo) => ("r·m·n", rank(apollo.rank) * m * n),
        Rule::Galore(galore) => ("2·r·m·n", 2 * rank(galore.rank) * m * n),
        Rule::Fira(fira) => ("3·r·m·n", 3 * rank(fira.galore.rank) * m * n),
        // Inside the kernel that moves the weight, three times.
        Rule::Subzero(subzero) => ("3·r·m·n", 3 * subzero.rank * m * n),
        _ => ("", 0),
    }
}

/// Where the defaults come from.
fn source(name: &str) -> &'static str {
    match name {
        "adafactor" => "[1804.04235](https://arxiv.org/abs/1804.04235)",
        "adalomo" => "[2310.10195](https://arxiv.org/abs/2310.10195); rate ours",
        "adam" | "adamw" => "PyTorch",
        "sgd" => "PyTorch; rate ours",
        "adam-nonzero" => {
            "[Walleclipse/Adam_Initialization](https://github.com/Walleclipse/Adam_Initialization); batches ours"
        }
        "adazeta" => "[yifanycc/AdaZeta](https://github.com/yifanycc/AdaZeta); rate ours",
        "apollo" | "apollo-mini" => "[zhuhanqing/APOLLO](https://github.com/zhuhanqing/APOLLO)",
        "balanced-momentum" => "[2609.19969](https://arxiv.org/abs/2609.19969), in part second-hand",
        "extrapolated-sgd" => "[2006.05720](https://arxiv.org/abs/2006.05720); values ours",
        "fira" => "[xichen-fy/Fira](https://github.com/xichen-fy/Fira)",
        "galore" => "[jiaweizzhao/GaLore](https://github.com/jiaweizzhao/GaLore)",
        "h-fac" => "[2406.09958](https://arxiv.org/abs/2406.09958); rate Adam's",
        "lion" => "[2302.06675](https://arxiv.org/abs/2302.06675)",
        "mezo" => "[princeton-nlp/MeZO](https://github.com/princeton-nlp/MeZO); rate ours",
        "muon" => "[KellerJordan/Muon](https://github.com/KellerJordan/Muon)",
        "racs" => "[2502.07752](https://arxiv.org/abs/2502.07752)",
        "row" => "[2603.20527](https://arxiv.org/abs/2603.20527)",
        "scale" => "[2506.16659](https://arxiv.org/abs/2506.16659); rate and scale SinkGD's",
        "scion" => "[LIONS-EPFL/scion](https://github.com/LIONS-EPFL/scion)",
        "signsgd" => "[1802.04434](https://arxiv.org/abs/1802.04434); rate ours",
        "sinkgd" => "[2502.06742](https://arxiv.org/abs/2502.06742)",
        "subzero" => "[zimingyy/SubZero](https://github.com/zimingyy/SubZero); rate MeZO's",
        "swan" => "[2412.13148](https://arxiv.org/abs/2412.13148); rate and scale SinkGD's",
        _ => panic!("where do the defaults of {name} come from?"),
    }
}

/// The settings of linear layers, those left out that do nothing.
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
                // Rows and columns by turns.
                [a, b, _, .., last] if all.len() > 4 => format!("({a},{b}) × {},{last}", all.len() / 2),
                _ => all.join(","),
            }
        }
        other => other.to_string(),
    };
    let kept = table.iter().filter(|(key, value)| !idle(key, value));
    kept.map(|(key, value)| format!("{key} {}", words(value))).collect::<Vec<_>>().join(", ")
}

/// Passes over memory beyond the three of plain SGD, and multiplications of matrix products, as they are recorded.
fn measured(config: &OptimizerConfig) -> (f64, usize) {
    let shape = [512, 1376];
    let mut rec = Recorder::new(&Profile::webgpu_default(Form::WorkgroupTiles));
    let weight = rec.persistent(Class::Parameters, DType::F32, "weight", &shape);
    let [statistics, step, how] = [5, 4, 4].map(|len| rec.persistent(Class::Scratch, DType::F32, "numbers", &[len]));
    let shared = StepTensors { statistics: &statistics, step: &step };
    rec.begin("update");
    if config.zeroth_order().is_some() {
        let parameter = Perturbed { name: "w", role: Role::Linear, weight: &weight, how: &how, step: shared };
        let states = record_directions(&mut rec, config, &parameter).unwrap();
        (0..3).for_each(|_| record_perturbation(&mut rec, config, &parameter, &states));
    } else {
        let gradient = rec.persistent(Class::Gradients, DType::F32, "gradient", &shape);
        let update = Update { name: "w", role: Role::Linear, weight: &weight, gradient: &gradient, ahead: None };
        let ahead = record_ahead(&mut rec, config, &update, shared);
        record(&mut rec, config, &Update { ahead: ahead.as_ref(), ..update }, shared).unwrap();
    }
    let ordinary = rec.ordinary_infos("update");
    let passes = ordinary.iter().map(DispatchInfo::bytes).sum::<u64>() as f64 / weight.bytes() as f64 - 3.0;
    let multiplications = ordinary.iter().map(|dispatch| match dispatch.kernel.name {
        name if name.starts_with("matmul") => dispatch.flops as usize / 2,
        "perturb_low_rank" => weight.len() * dispatch.shapes[2][0],
        // Half of it is computed.
        name if name.starts_with("gram") => dispatch.shapes[0].iter().product::<usize>() * dispatch.shapes[0][0],
        _ => 0,
    });
    let multiplications = multiplications.sum();
    (passes, multiplications)
}

/// The table's line of an optimizer, from the ledgers of the presets and from one recorded update.
fn line(name: &str) -> String {
    let config = OptimizerConfig::named(name).unwrap();
    let rule = config.linear.rule.clone();
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
    // Adapters are no matrix of the model.
    let (passes, multiplications) = if config.adapter().is_some() { (f64::NAN, 0) } else { measured(&config) };
    let (words, wanted) = products(&rule, [512, 1376]);
    match rule {
        // Beside them small products of r rows.
        Rule::Subzero(_) => {
            assert!((wanted..wanted + wanted / 100).contains(&multiplications), "{name}: {multiplications}")
        }
        _ => assert_eq!(multiplications, wanted, "{name}: multiplications"),
    }
    cells.push(if passes.is_nan() { "–".into() } else { format!("{passes:+.1}") });
    cells.extend([words.to_owned(), settings(&config), source(name).to_owned()]);
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
