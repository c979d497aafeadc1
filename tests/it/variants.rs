//! Which variants of the products are measured, and how the measurements are used.

use std::collections::BTreeMap;
use std::fs;

use multinorm::config::{RunConfig, RunDefaults};
use multinorm::gpu::{Class, DType, Gpu, Profile, Recorder};
use multinorm::kernels::matmul::{self, Layout, Numbers, Product, Variant, candidates, select};
use multinorm::kernels::{Output, Target};
use multinorm::train::{
    keep_variants_of_run, kept_variants, measure_variants, measure_variants_within, record_training, variants_of_run,
};
use pollster::block_on;
use serde_json::{Value, json};

use crate::support::{Form, everything, own_gpu};

/// A product of 128 MFLOP, and a head of the same size.
const MODEL: [&str; 12] = [
    "model.hidden_size=64",
    "model.intermediate_size=128",
    "model.num_hidden_layers=1",
    "model.num_attention_heads=2",
    "model.num_key_value_heads=2",
    "model.vocab_size=1024",
    "train.batch_size=16",
    "train.micro_batch_size=16",
    "train.sequence_length=64",
    "eval.batch_size=1",
    "optimizer.name=sgd",
    "train.steps=1",
];

fn run(cache: &std::path::Path) -> RunConfig {
    let mut sets: Vec<String> = MODEL.iter().map(|&set| set.to_owned()).collect();
    sets.push(format!("data.cache_dir={}", cache.display()));
    RunConfig::load(None, &sets, RunDefaults::Gpu).unwrap()
}

/// The software adapter, treated as a GPU.
fn as_a_gpu() -> Gpu {
    own_gpu(Form::Gpu)
}

#[test]
fn variants_are_measured_once_and_kept() {
    let place = tempfile::tempdir().unwrap();
    let config = run(place.path());
    let mut gpu = as_a_gpu();
    let first = block_on(measure_variants(&mut gpu, std::slice::from_ref(&config))).unwrap();
    assert!(first.measured >= 1, "{first:?}");
    let choices = gpu.profile.choices.clone();
    assert!(choices.len() >= first.measured, "{choices:?}");
    assert_eq!(kept_variants(&gpu.profile, &gpu.adapter_name, &gpu.driver, place.path()), choices);
    let recorded = record_training(&config, &gpu.profile).unwrap().recorder;
    for (what, variant) in &choices {
        assert_eq!(recorded.choices()[what].variant, *variant, "{what}");
    }

    let mut again = as_a_gpu();
    let second = block_on(measure_variants(&mut again, std::slice::from_ref(&config))).unwrap();
    assert_eq!((second.measured, second.by_rule, &again.profile.choices), (0, 0, &choices), "all is known");

    // Stored measurements override the rule if they come from this version of the program and are usable.
    let file = fs::read_dir(place.path().join("variants")).unwrap().next().unwrap().unwrap().path();
    let mut kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let what = "product nt 1024x1024x64 of 1, high";
    let rule = select(&Profile { splits_f32: true, choices: Default::default(), ..gpu.profile.clone() }, &product());
    let other = if rule.tile == &matmul::TILE_64 { "tile_128" } else { "tile_64" };
    kept["choices"][what] = json!(other);
    fs::write(&file, kept.to_string()).unwrap();
    block_on(measure_variants(&mut again, std::slice::from_ref(&config))).unwrap();
    assert_eq!(record_training(&config, &again.profile).unwrap().recorder.choices()[what].variant, other);
    kept["choices"][what] = json!("tile_64 in 9999 parts");
    fs::write(&file, kept.to_string()).unwrap();
    block_on(measure_variants(&mut again, std::slice::from_ref(&config))).unwrap();
    assert_eq!(record_training(&config, &again.profile).unwrap().recorder.choices()[what].variant, rule.to_string());
    for (key, other) in [("version", "0.0.0"), ("kernels", "0123456789abcdef")] {
        let own = std::mem::replace(&mut kept[key], json!(other));
        fs::write(&file, kept.to_string()).unwrap();
        let read = kept_variants(&gpu.profile, &gpu.adapter_name, &gpu.driver, place.path());
        assert!(read.is_empty(), "of another program's {key}");
        kept[key] = own;
    }
    fs::write(&file, "{").unwrap();
    assert!(kept_variants(&gpu.profile, &gpu.adapter_name, &gpu.driver, place.path()).is_empty(), "half a file");
}

fn product() -> Product {
    Product { layout: Layout::Nt, mnk: [1024, 1024, 64], matrices: 1, numbers: Numbers::Single }
}

#[test]
fn what_there_is_no_time_for_goes_by_rule_and_keeps_it() {
    let place = tempfile::tempdir().unwrap();
    let config = run(place.path());
    let mut gpu = as_a_gpu();
    let first = block_on(measure_variants_within(&mut gpu, std::slice::from_ref(&config), 0.0)).unwrap();
    assert!(first.measured == 0 && first.overruled == 0 && first.by_rule >= 1, "{first:?}");
    for (what, variant) in &gpu.profile.choices {
        let (product, high) = Product::of_words(what).unwrap();
        let profile = Profile { splits_f32: high, choices: BTreeMap::new(), ..gpu.profile.clone() };
        assert_eq!(*variant, select(&profile, &product).to_string(), "{what}");
    }
    let second = block_on(measure_variants(&mut as_a_gpu(), &[config])).unwrap();
    assert_eq!((second.measured, second.by_rule), (0, 0), "runs of one adapter choose alike");
}

#[test]
fn a_cache_that_cannot_be_written_ends_no_run() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("no folder");
    fs::write(&file, "").unwrap();
    let mut gpu = as_a_gpu();
    let measured = block_on(measure_variants(&mut gpu, &[run(&file)])).unwrap();
    assert!(measured.measured >= 1 && !gpu.profile.choices.is_empty(), "{measured:?}");
}

#[test]
fn nothing_is_measured_on_a_software_adapter_or_where_it_is_switched_off() {
    let place = tempfile::tempdir().unwrap();
    let mut config = run(place.path());
    let mut software = own_gpu(Form::Software);
    assert_eq!(block_on(measure_variants(&mut software, std::slice::from_ref(&config))).unwrap().measured, 0);
    config.train.measure_variants = false;
    assert_eq!(block_on(measure_variants(&mut as_a_gpu(), &[config])).unwrap().measured, 0);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "and nothing is kept");
}

#[test]
fn a_run_goes_on_with_the_variants_that_its_folder_names() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(variants_of_run(place.path()).unwrap(), None, "a run of before, or of a software adapter");
    let choices = BTreeMap::from([("product nt 1x2x3 of 1, high".to_owned(), "tile_64".to_owned())]);
    let profile = Profile { choices: choices.clone(), ..Profile::webgpu_default() };
    keep_variants_of_run(place.path(), &profile).unwrap();
    assert_eq!(variants_of_run(place.path()).unwrap(), Some(choices));
    fs::write(place.path().join("variants.json"), "{").unwrap();
    let message = variants_of_run(place.path()).unwrap_err().to_string();
    assert!(message.contains("variants.json"), "{message}");
}

#[test]
fn runs_that_do_not_fit_are_not_measured() {
    let place = tempfile::tempdir().unwrap();
    let config = run(place.path());
    let mut gpu = as_a_gpu();
    gpu.profile.max_binding_bytes = 1 << 16;
    let measured = block_on(measure_variants(&mut gpu, &[config])).unwrap();
    assert_eq!((measured.measured, measured.by_rule), (0, 0));
}

#[test]
fn words_of_products_and_variants_are_read_as_they_are_written() {
    let profile = Profile { splits_f32: true, ..Profile::webgpu_default() };
    for layout in Layout::ALL {
        let product = Product { layout, mnk: [16384, 512, 1376], matrices: 3, numbers: Numbers::Single };
        assert_eq!(Product::of_words(&product.what(&profile)), Some((product, true)));
    }
    assert_eq!(Product::of_words("attention forward"), None);
    assert_eq!(Product::of_words("product nt 1x2 of 1, high"), None);
    for variant in [Variant { tile: &matmul::TILE_128, parts: 1 }, Variant { tile: &matmul::UNITS, parts: 16 }] {
        assert_eq!(variant.to_string().parse(), Ok(variant));
    }
    assert_eq!("tile_128 in many parts".parse::<Variant>(), Err(()));
    assert_eq!("tile_129".parse::<Variant>(), Err(()));
}

#[test]
fn candidates_serve_and_the_first_is_the_one_by_rule() {
    let gpu = Profile::webgpu_default();
    let units = everything();
    for profile in [&gpu, &units] {
        for mnk in [[16384, 512, 512], [512, 512, 16384], [127, 509, 251], [128, 576, 576], [64, 64, 64]] {
            for layout in Layout::ALL {
                let product = Product { layout, mnk, matrices: 1, numbers: Numbers::Single };
                let all = candidates(profile, &product);
                assert_eq!(all[0], select(profile, &product), "{product:?}");
                let mut rec = Recorder::new(profile);
                let [a, b] = layout.operands(mnk).map(|shape| rec.persistent(Class::Scratch, DType::F32, "x", &shape));
                let y = rec.persistent(Class::Scratch, DType::F32, "y", &mnk[..2]);
                for (number, variant) in all.iter().enumerate() {
                    rec.begin(number.to_string());
                    matmul::record(&mut rec, &product, *variant, [&a, &b], Target::new(&y, Output::Write));
                }
            }
        }
    }
    let large = Product { layout: Layout::Nt, mnk: [16384, 512, 512], matrices: 1, numbers: Numbers::Single };
    assert!(candidates(&units, &large).len() >= 3, "{:?}", candidates(&units, &large));
    let without_parts = Variant { tile: &matmul::TILE_32, parts: 1 };
    assert!(!candidates(&gpu, &large).contains(&without_parts), "{:?}", candidates(&gpu, &large));
    let small = Product { mnk: [128, 576, 576], ..large };
    assert!(candidates(&units, &small).contains(&without_parts), "{:?}", candidates(&units, &small));
    assert!(candidates(&gpu, &large).iter().all(|variant| variant.tile != &matmul::UNITS), "no units, no candidate");
    // In half precision nothing is as fast as matrix units, where they are available.
    for [m, n, k] in [[16384, 512, 512], [512, 576, 576], [128, 576, 576]] {
        let product = Product { mnk: [m, n, k], numbers: Numbers::Half, ..large };
        let all = candidates(&units, &product);
        assert_eq!(all[0], select(&units, &product));
        let known = [&matmul::HALF_UNITS, &matmul::HALF_UNITS_TILE_32];
        assert!(all.len() > 1 && all.iter().all(|variant| known.contains(&variant.tile)), "{all:?}");
        assert_eq!(all.iter().any(|variant| variant.tile == &matmul::HALF_UNITS_TILE_32), m < 16384, "{all:?}");
    }
}
