//! The largest run that fits in a given memory: it is the best of all candidates, and uses the memory it claims.

use std::fs;
use std::path::Path;

use multinorm::config::{PRESETS, Recompute, RecomputePolicy, RunConfig, RunDefaults};
use multinorm::gpu::{Class, DType, Profile, Recorder};
use multinorm::kernels::swiglu::swiglu;
use multinorm::train::{Fit, LargestPreset, Presets, Search, SearchSpace, record_training};
use serde_json::Value;

use crate::program::{TestDir, fails, json, program, stdout};
use crate::support::everything;

const GIB: u64 = 1 << 30;

fn config(sets: &[&str]) -> RunConfig {
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    RunConfig::load(None, &sets, RunDefaults::Gpu).unwrap()
}

/// A small model in batches of 12.
const SMALL: [&str; 7] = [
    "model.preset=tiny",
    "model.vocab_size=300",
    "model.num_hidden_layers=3",
    "train.batch_size=12",
    "train.micro_batch_size=3",
    "train.sequence_length=32",
    "eval.batch_size=5",
];

/// A current card, with 2 GiB bindings.
fn card() -> Profile {
    let largest = (1 << 31) - 4;
    Profile { max_binding_bytes: largest, max_buffer_bytes: largest, f16: true, ..Profile::webgpu_default() }
}

/// Every candidate run, best first, with its bytes.
fn candidates(config: &RunConfig, profile: &Profile, updates: &[bool]) -> Vec<(usize, Recompute, bool, u64)> {
    let mut all = Vec::new();
    for micro in [12, 4, 2, 1] {
        for recompute in Recompute::ALL {
            for &fused in updates {
                let mut config = config.clone();
                config.train.micro_batch_size = micro;
                config.train.batch_size = if fused { micro } else { 12 };
                config.train.fused_update = fused;
                config.train.recompute = RecomputePolicy::Always(recompute);
                config.eval.batch_size = micro.min(5);
                let bytes = record_training(&config, profile).unwrap().recorder.memory().total();
                all.push((micro, recompute, fused, bytes));
            }
        }
    }
    all
}

#[test]
fn a_search_finds_the_best_of_all_candidates() {
    let cases: [(&[&str], &[bool]); 5] = [
        (&["optimizer.name=sinkgd"], &[false, true]),
        (&["optimizer.name=adamw", "train.precision=f16"], &[false, true]),
        (&["optimizer.name=muon", "train.max_grad_norm=1"], &[false]),
        (&["optimizer.name=sinkgd", "train.fused_update=true", "train.micro_batch_size=12"], &[true]),
        (&["optimizer.name=sinkgd", "spectra.every=5"], &[false]),
    ];
    for (sets, updates) in cases {
        let config = config(&[&SMALL[..], sets].concat());
        let profile = card();
        let profile_of = |_: &RunConfig| Ok(profile.clone());
        let mut ways = SearchSpace::new(config.clone(), &profile_of);
        let all = candidates(&config, &profile, updates);
        let mut sizes: Vec<u64> = all.iter().flat_map(|&(.., bytes)| [bytes - 1, bytes]).collect();
        sizes.sort_unstable();
        for size in sizes {
            let best = all.iter().find(|&&(.., bytes)| bytes <= size).copied();
            let found = match ways.largest(size) {
                Search::Fits(fit) => {
                    let train = &fit.config.train;
                    Some((train.micro_batch_size, fit.recompute, train.fused_update, fit.memory.total()))
                }
                Search::Least(least) => {
                    assert_eq!(least, all.iter().map(|&(.., bytes)| bytes).min().unwrap(), "{sets:?}");
                    None
                }
                Search::Refused(why) => panic!("{sets:?}: {why}"),
            };
            assert_eq!(found, best, "{sets:?} in {size} bytes");
        }
    }
}

#[test]
fn a_method_without_a_backward_pass_has_one_way() {
    let profile_of = |_: &RunConfig| Ok(card());
    let mut ways = SearchSpace::new(config(&[&SMALL[..], &["optimizer.name=mezo"]].concat()), &profile_of);
    let Search::Fits(fit) = ways.largest(GIB) else { panic!("a small model") };
    assert_eq!((fit.config.train.micro_batch_size, fit.recompute), (12, Recompute::None));
    assert!(!fit.config.train.fused_update);
    let Search::Least(least) = ways.largest(1) else { panic!("a byte is enough") };
    let Search::Fits(fit) = ways.largest(least) else { panic!("the least is too little") };
    assert_eq!(fit.memory.total(), least);
}

#[test]
fn more_memory_never_holds_less() {
    let place = |preset: &str| PRESETS.iter().position(|&other| other == preset).unwrap();
    for optimizer in ["sinkgd", "adamw"] {
        for precision in ["f32", "f16"] {
            let optimizer = format!("optimizer.name={optimizer}");
            let precision = format!("train.precision={precision}");
            let config = config(&[&optimizer, &precision]);
            let profile_of = |_: &RunConfig| Ok(card());
            let mut presets = Presets::new(&config, &profile_of);
            let mut before = None;
            for size in (22..40).flat_map(|power| [1_u64 << power, 3 << (power - 1)]) {
                let LargestPreset { refused, found } = presets.largest(size);
                assert!(refused.is_empty(), "{refused:?}");
                let now = found.ok().map(|(preset, fit)| {
                    assert!(fit.memory.total() <= size);
                    let recorded = record_training(&fit.config, &card()).unwrap();
                    assert_eq!(recorded.recorder.memory(), fit.memory, "{optimizer}, {precision}, {size}");
                    (place(preset), fit.config.train.micro_batch_size)
                });
                assert!(now >= before, "{optimizer}, {precision}: {now:?} in {size} bytes, {before:?} in fewer");
                before = now;
            }
            assert_eq!(before, Some((place("1b"), 64)), "in 768 GiB");
        }
    }
}

#[test]
fn a_preset_that_the_adapter_refuses_is_passed_over() {
    // SCALE normalizes the embedding's columns, but in 1b a binding only holds half of its rows.
    let config = config(&["optimizer.name=scale"]);
    let profile_of = |_: &RunConfig| Ok(Profile::webgpu_default());
    let mut presets = Presets::new(&config, &profile_of);
    let LargestPreset { refused, found } = presets.largest(80 * GIB);
    let why = "bindings of 128.00 MiB hold a part of model.embed_tokens.weight at a time, and its update reads all rows: \
               choose one that updates each row separately (`--set optimizer.embedding.name=adamw`)";
    assert_eq!(refused, [("1b", why.to_owned())]);
    assert_eq!(found.unwrap().0, "350m");
    // If memory is too small anyway, the adapter is not to blame.
    assert_eq!(presets.largest(GIB).refused, []);
    let LargestPreset { refused, found } = presets.largest(1 << 20);
    assert!(refused.is_empty() && found.unwrap_err().is_some_and(|least| least > 1 << 20));
}

/// The claim for stateless optimizers: 350m in 16 GiB with sequences of 256 tokens.
#[test]
fn sinkgd_recomputed_and_fused_takes_many_times_the_micro_batch_of_adamw() {
    let micro = |sets: &[&str]| {
        let base = ["model.preset=350m", "train.batch_size=4096", "train.micro_batch_size=1"];
        let config = config(&[&base[..], sets].concat());
        let profile_of = |_: &RunConfig| Ok(card());
        let Search::Fits(fit) = SearchSpace::new(config, &profile_of).largest(16 * GIB) else {
            panic!("{sets:?}: nothing fits")
        };
        let Fit { config, .. } = *fit;
        config.train.micro_batch_size
    };
    for precision in ["train.precision=f32", "train.precision=f16"] {
        let adamw = micro(&[precision, "optimizer.name=adamw", "train.recompute=none", "train.max_grad_norm=1"]);
        let sinkgd = micro(&[precision, "optimizer.name=sinkgd", "train.recompute=layer"]);
        // 366 and 37 in f32, 432 and 63 in f16, if they did not have to be powers of two.
        assert!(sinkgd >= 4 * adamw, "{precision}: adamw {adamw}, sinkgd {sinkgd}");
    }
}

#[test]
fn a_run_takes_the_bytes_of_its_line() {
    let place = TestDir::new();
    let fit = |size: &str| {
        let config = place.text("config.toml");
        let tables = json(&program(&["train", &config, "--dry-run", "--fit", size, "--json"]));
        let lines = tables["this_model"].as_array().unwrap().clone();
        let line = |name: &str| lines.iter().find(|line| line["optimizer"] == name).unwrap().clone();
        [line("sinkgd"), line("adamw")]
    };
    let train = |name: &str, line: &Value| {
        let run = &line["run"];
        let sets = [
            format!("optimizer.name={}", line["optimizer"].as_str().unwrap()),
            format!("train.batch_size={}", run["batch_size"]),
            format!("train.micro_batch_size={}", run["micro_batch_size"]),
            format!("train.recompute={}", run["recompute"].as_str().unwrap()),
            format!("train.fused_update={}", run["fused_update"]),
            format!("eval.batch_size={}", run["eval_batch_size"]),
        ];
        let summary = place.train(name, &sets.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(summary["peak_bytes"], run["bytes"], "{line}");
    };
    let [sinkgd, adamw] = fit("1GiB");
    for line in [&sinkgd, &adamw] {
        let run = &line["run"];
        assert_eq!((&run["micro_batch_size"], &run["batch_size"]), (&4.into(), &4.into()), "{line}");
        assert_eq!((&run["recompute"], &run["fused_update"]), (&"none".into(), &false.into()), "{line}");
    }
    train("large", &sinkgd);
    let [nothing, _] = fit("0.01MB");
    assert!(nothing["run"].is_null(), "{nothing}");
    let least = nothing["least_bytes"].as_u64().unwrap();
    let [sinkgd, adamw] = fit(&format!("{:.6}MB", (least + 1) as f64 / 1e6));
    assert_eq!(sinkgd["run"]["bytes"], least, "{sinkgd}");
    assert_eq!((&sinkgd["run"]["micro_batch_size"], &sinkgd["run"]["fused_update"]), (&1.into(), &true.into()));
    assert!(adamw["run"].is_null() && adamw["least_bytes"].as_u64().unwrap() > least, "{adamw}");
    train("least", &sinkgd);
}

#[test]
fn sizes_are_told_and_nothing_else() {
    let fit = |sizes: &str| ["train", "--dry-run", "--adapter", "none", "--fit", sizes].map(str::to_owned);
    fails(
        &["train", "--dry-run", "--fit"],
        2,
        &["WebGPU does not report how much memory an adapter has", "--fit 8GiB"],
    );
    for (sizes, expected) in [
        ("8", "a size ends in MiB, GiB, TiB, MB, GB or TB, got `8`"),
        ("8KiB", "a size ends in MiB"),
        ("large", "a size begins with a number, got `large`"),
        ("1.2.3GiB", "a size begins with a number"),
        ("8GiB,", "a size begins with a number, got ``"),
        ("0GiB", "at least a byte"),
        ("9999TiB", "at most 1024 TiB"),
    ] {
        fails(&fit(sizes).each_ref().map(String::as_str), 2, &["--fit: ", expected]);
    }
    let alone = program(&["train", "--fit", "8GiB"]);
    assert_eq!(alone.status.code(), Some(2), "without --dry-run");
    let words = stdout(&program(&fit("1 MiB,2gib").each_ref().map(String::as_str)));
    assert!(words.contains("1 MiB  sinkgd     nothing fits: the smallest run takes "), "{words}");
    assert!(words.contains("2gib   adamw      60m ") || words.contains("2gib   adamw      130m "), "{words}");
    assert!(words.contains("a GPU with half precision and bindings of 2 GiB is assumed"), "{words}");
    assert!(words.lines().all(|line| line.chars().count() <= 100), "{words}");
}

/// The tables in docs/memory.md, except for the last columns, whose bytes change with every kernel.
#[test]
fn the_documentation_is_what_the_program_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/memory.md");
    let text = fs::read_to_string(path).unwrap();
    let words = |command: &str| command.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let run = |args: &[String]| program(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let mut commands = 0;
    // Output quoted verbatim.
    for block in text.split("```").skip(1).step_by(2) {
        let (command, expected) = block.trim().strip_prefix("$ multinorm ").and_then(|it| it.split_once('\n')).unwrap();
        let printed = stdout(&run(&words(command)));
        let columns = |line: &str| line.split_whitespace().take(10).map(str::to_owned).collect::<Vec<_>>();
        let rows: Vec<_> = printed.lines().map(columns).collect();
        for line in expected.lines() {
            assert!(rows.contains(&columns(line)), "{command}: no line {line:?} in\n{printed}");
        }
        commands += 1;
    }
    // One row per optimizer, whose name replaces NAME.
    for part in text.split("\n`multinorm ").skip(1) {
        let Some((command, below)) = part.split_once("NAME`\n") else { continue };
        for row in below.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let name = cells[0].trim_matches('`');
            if name == "NAME" || row.starts_with("|-") {
                continue;
            }
            let mut args = words(&format!("{command}{name}"));
            args.push("--json".into());
            let tables = json(&run(&args));
            let lines = tables["presets"].as_array().unwrap().iter().filter(|line| line["optimizer"] == name);
            let of_run = |run: &Value| {
                let text = |key: &str| run[key].as_str().unwrap();
                let updates = if run["fused_update"] == true { "fused" } else { "separate" };
                let micro = format!("{} × {}", run["micro_batch_size"], run["sequence_length"]);
                format!("{}, {micro}, {}, {updates}", text("model"), text("recompute"))
            };
            let printed: Vec<String> = lines.map(|line| of_run(&line["run"])).collect();
            assert_eq!(printed, cells[1..], "{command}: {name}");
            commands += 1;
        }
    }
    assert!(commands >= 14, "{commands} commands");
}

#[test]
fn bytes_are_told_by_what_the_elements_are() {
    for (precision, name) in [("f32", "f32"), ("f16", "f16")] {
        let config = config(&[&SMALL[..], &[&format!("train.precision={precision}")]].concat());
        let recorder = record_training(&config, &everything()).unwrap().recorder;
        let (memory, by_type) = (recorder.memory(), recorder.memory_by_type());
        for class in Class::ALL {
            let types = &by_type[&class];
            assert_eq!(types.values().sum::<u64>(), memory.bytes(class), "{class:?}: {types:?}");
        }
        for class in [Class::Parameters, Class::Gradients, Class::OptimizerState] {
            assert_eq!(by_type[&class].keys().collect::<Vec<_>>(), ["f32"], "{precision}: {class:?}");
        }
        assert!(by_type[&Class::Activations].contains_key(name), "{by_type:?}");
        assert_eq!(precision == "f16", by_type[&Class::Activations].keys().any(|types| types.contains("f16")));
    }
    // Tensors of two types that never live at the same time share a buffer, which counts under both types.
    let mut rec = Recorder::new(&everything());
    rec.begin("case");
    for (dtype, len) in [(DType::F16, 512), (DType::F32, 200)] {
        let gate = rec.persistent(Class::Scratch, dtype, "gate", &[len]);
        let y = rec.transient(Class::Activations, dtype, "y", &[len]);
        swiglu(&mut rec, &gate, &gate, &y);
    }
    let types = &rec.memory_by_type()[&Class::Activations];
    assert_eq!(
        types.iter().map(|(types, &bytes)| (types.as_str(), bytes)).collect::<Vec<_>>(),
        [("f16 and f32", 1024)]
    );
}
