//! A model directory in Hugging Face's layout.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

#[cfg(not(target_arch = "wasm32"))]
use super::gguf;
use super::tensors::{NamedTensor, read_tensors, tensor_bytes, write_tensors};
use crate::config::{AdapterConfig, ModelConfig, ParameterSpec};
use crate::data::tokenizer::Tokenizer;
use crate::files::{verify_checksums, write_atomic};
use crate::{Error, Result};

pub(super) const CONFIG: &str = "config.json";
const GENERATION_CONFIG: &str = "generation_config.json";
const MODEL: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Adapters in tensor-train form: our own format, hence in separate files with names other than PEFT's.
const ADAPTER_CONFIG: &str = "tensor_train_adapter.json";
const ADAPTER: &str = "tensor_train_adapter.safetensors";

/// Writes model.safetensors, config.json, generation_config.json and the tokenizer's files (name and text) into an
/// existing directory, which transformers can load. Adapters go to tensor_train_adapter.safetensors and .json;
/// transformers loads the model without them.
///
/// # Panics
/// If the parameters do not match the configuration, or the name of a tokenizer file is a path.
pub fn save_model(
    dir: &Path,
    config: &ModelConfig,
    parameters: &[NamedTensor],
    tokenizer_files: &[(String, String)],
    eos: Option<u32>,
) -> Result<()> {
    // Adapters come last.
    let (of_model, of_adapters) = parameters.split_at(config.parameters_of_model().len().min(parameters.len()));
    for (part, tensors) in [(Part::of_model(config), of_model), (Part::of_adapters(config), of_adapters)] {
        if let Some(difference) = part.difference(tensors) {
            panic!("save_model: {difference}");
        }
    }
    write_tensors(&dir.join(MODEL), of_model)?;
    if let Some(adapter) = &config.adapter {
        write_tensors(&dir.join(ADAPTER), of_adapters)?;
        write_json(&dir.join(ADAPTER_CONFIG), adapter)?;
    } else {
        // Remove the adapters of an earlier model.
        for path in [ADAPTER_CONFIG, ADAPTER].map(|name| dir.join(name)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io("remove", &path)(error)),
                _ => {}
            }
        }
    }
    write_json(&dir.join(CONFIG), &config.to_hf_json(None, eos))?;
    write_json(&dir.join(GENERATION_CONFIG), &generation_config(eos))?;
    for (name, text) in tokenizer_files {
        assert!(is_file_name(name), "a tokenizer's file wants a plain name, got {name}");
        write_atomic(&dir.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// The files of [`save_model`] as names and bytes, for a web page without a file system.
///
/// # Panics
/// If the number of parameters does not match the configuration.
pub fn model_files(
    config: &ModelConfig,
    parameters: &[Vec<f32>],
    tokenizer: Option<&Tokenizer>,
) -> Result<Vec<(String, Vec<u8>)>> {
    let specs = config.parameters();
    assert_eq!(specs.len(), parameters.len(), "parameters of the model");
    let named = specs.into_iter().zip(parameters);
    let tensors: Vec<NamedTensor> = named
        .map(|(spec, values)| NamedTensor { name: spec.name, shape: spec.shape, values: values.clone() })
        .collect();
    let eos = tokenizer.and_then(Tokenizer::end_of_text);
    let (of_model, of_adapters) = tensors.split_at(config.parameters_of_model().len());
    let mut files = vec![
        (MODEL.to_owned(), tensor_bytes(of_model)?),
        (CONFIG.to_owned(), json_bytes(&config.to_hf_json(None, eos))),
        (GENERATION_CONFIG.to_owned(), json_bytes(&generation_config(eos))),
    ];
    if let Some(adapter) = &config.adapter {
        files.push((ADAPTER.to_owned(), tensor_bytes(of_adapters)?));
        files.push((ADAPTER_CONFIG.to_owned(), json_bytes(adapter)));
    }
    let texts = tokenizer.map(Tokenizer::files).unwrap_or_default();
    files.extend(texts.into_iter().map(|(name, text)| (name, text.into_bytes())));
    Ok(files)
}

/// Reads the config.json of a model directory, or the corresponding metadata of a GGUF file.
pub fn load_config(dir: &Path) -> Result<ModelConfig> {
    #[cfg(not(target_arch = "wasm32"))]
    if gguf::is_gguf(dir) {
        return gguf::load_config(dir);
    }
    let path = dir.join(CONFIG);
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let adapter = read_adapter_config(dir)?;
    let of_model = ModelConfig::from_hf_json(&text).map_err(|error| match error {
        // The path already has the file's name.
        Error::Config { key, message } => match key.strip_prefix("config.json: ") {
            Some(key) => Error::checkpoint(&path, format!("{key}: {message}")),
            None => Error::checkpoint(&path, message),
        },
        other => other,
    })?;
    Ok(ModelConfig { adapter, ..of_model })
}

fn read_adapter_config(dir: &Path) -> Result<Option<AdapterConfig>> {
    let path = dir.join(ADAPTER_CONFIG);
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let adapter: AdapterConfig =
        serde_json::from_str(&text).map_err(|error| Error::checkpoint(&path, format!("cannot be read: {error}")))?;
    adapter.validate(&str::to_owned).map_err(|error| Error::checkpoint(&path, error.to_string()))?;
    Ok(Some(adapter))
}

/// Loads the tokenizer of a model directory or GGUF file: its tokenizer.json, if there is one, and the files beside it.
///
/// Errors: the tokenizer cannot be read.
#[cfg(not(target_arch = "wasm32"))]
pub fn load_tokenizer(dir: &Path) -> Result<Option<Tokenizer>> {
    if gguf::is_gguf(dir) {
        return gguf::load_tokenizer(dir).map(Some);
    }
    Tokenizer::of_folder(dir)
}

/// Reads a GGUF file, or config.json with model.safetensors or with the shards of model.safetensors.index.json, and the
/// adapters if there are any.
///
/// Returns the parameters with their shapes in the order of [`ModelConfig::parameters`]. If the directory has
/// checksums, those of the weights are verified; its text files may be edited.
pub fn load_model(dir: &Path) -> Result<(ModelConfig, Vec<NamedTensor>)> {
    #[cfg(not(target_arch = "wasm32"))]
    if gguf::is_gguf(dir) {
        return gguf::load_model(dir);
    }
    let loaded = read_model(dir)?;
    // Verified last: a file that cannot be read has a better error of its own.
    verify_checksums(dir, |name| name == MODEL || name == ADAPTER)?;
    Ok(loaded)
}

/// [`load_model`] without verifying checksums.
pub(super) fn read_model(dir: &Path) -> Result<(ModelConfig, Vec<NamedTensor>)> {
    let config = load_config(dir)?;
    let (path, mut tensors) = read_model_files(dir)?;
    tensors.retain(|tensor| !is_superfluous(&config, &tensor.name));
    Part::of_model(&config).check(&path, &tensors)?;
    if config.adapter.is_some() {
        let path = dir.join(ADAPTER);
        let adapters = read_tensors(&path)?;
        Part::of_adapters(&config).check(&path, &adapters)?;
        tensors.extend(adapters);
    }
    let places: HashMap<String, usize> =
        config.parameters().into_iter().enumerate().map(|(place, spec)| (spec.name, place)).collect();
    tensors.sort_by_key(|tensor| places[&tensor.name]);
    Ok((config, tensors))
}

/// Writes indented JSON.
pub(super) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    write_atomic(path, &json_bytes(value))
}

fn json_bytes(value: &impl serde::Serialize) -> Vec<u8> {
    (serde_json::to_string_pretty(value).expect("plain data is always JSON") + "\n").into_bytes()
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Reads the tensors; also returns the path of the file that lists them.
fn read_model_files(dir: &Path) -> Result<(PathBuf, Vec<NamedTensor>)> {
    let [single, index] = [MODEL, INDEX].map(|name| dir.join(name));
    if single.is_file() {
        let tensors = read_tensors(&single)?;
        return Ok((single, tensors));
    }
    if !index.is_file() {
        let message = format!("holds neither {MODEL} nor {INDEX}; other formats must be converted to safetensors");
        return Err(Error::checkpoint(dir, message));
    }
    let tensors = read_shards(dir, &index)?;
    Ok((index, tensors))
}

fn read_shards(dir: &Path, index: &Path) -> Result<Vec<NamedTensor>> {
    let text = fs::read_to_string(index).map_err(Error::io("read", index))?;
    let weight_map = serde_json::from_str::<Index>(&text)
        .map_err(|e| Error::checkpoint(index, format!("not an index of shards: {e}")))?
        .weight_map;
    let mut tensors = Vec::new();
    for shard in weight_map.values().collect::<BTreeSet<_>>() {
        if !is_file_name(shard) {
            return Err(Error::checkpoint(index, format!("a shard must be in the same directory, got {shard}")));
        }
        // A shard may contain tensors that the index assigns to another.
        let of_this_shard = |tensor: &NamedTensor| weight_map.get(&tensor.name) == Some(shard);
        tensors.extend(read_tensors(&dir.join(shard))?.into_iter().filter(of_this_shard));
    }
    Ok(tensors)
}

/// Whether a tensor is redundant, though other programs store it.
fn is_superfluous(config: &ModelConfig, name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq") || (config.tie_word_embeddings && name == "lm_head.weight")
}

/// The expected contents of one tensor file, and the file that specifies them.
struct Part {
    config: &'static str,
    specs: Vec<ParameterSpec>,
}

impl Part {
    fn of_model(config: &ModelConfig) -> Self {
        Self { config: CONFIG, specs: config.parameters_of_model() }
    }

    fn of_adapters(config: &ModelConfig) -> Self {
        Self { config: ADAPTER_CONFIG, specs: config.parameters().split_off(config.parameters_of_model().len()) }
    }

    fn check(&self, path: &Path, tensors: &[NamedTensor]) -> Result<()> {
        self.difference(tensors).map_or(Ok(()), |difference| Err(Error::checkpoint(path, difference)))
    }

    /// How `tensors`, in any order, differ from the expected parameters.
    fn difference(&self, tensors: &[NamedTensor]) -> Option<String> {
        let Self { config, specs } = self;
        let held: HashMap<&str, &NamedTensor> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let wanted: BTreeSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let missing: Vec<&str> = wanted.iter().copied().filter(|name| !held.contains_key(name)).collect();
        if !missing.is_empty() {
            return Some(format!("{config} requires {}, the file does not have {}", listed(&missing), it(&missing)));
        }
        let unexpected: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).filter(|n| !wanted.contains(n)).collect();
        if !unexpected.is_empty() {
            let (names, them) = (listed(&unexpected), it(&unexpected));
            return Some(format!("the file has {names}, {config} does not have {them}"));
        }
        if tensors.len() != specs.len() {
            return Some(format!("the file has {} tensors, {config} requires {}", tensors.len(), specs.len()));
        }
        specs.iter().find_map(|spec| {
            let shape = &held[spec.name.as_str()].shape;
            let message = || format!("{}: {config} requires {:?}, the file has {shape:?}", spec.name, spec.shape);
            (*shape != spec.shape).then(message)
        })
    }
}

fn listed(names: &[&str]) -> String {
    let first = names[..names.len().min(3)].join(", ");
    if names.len() > 3 { format!("{first} and {} more", names.len() - 3) } else { first }
}

fn it(names: &[&str]) -> &'static str {
    if names.len() == 1 { "it" } else { "them" }
}

/// An unknown token is omitted: transformers then uses none.
fn generation_config(eos: Option<u32>) -> Value {
    let mut keys = Map::new();
    keys.insert("_from_model_config".into(), json!(true));
    keys.extend(eos.map(|eos| ("eos_token_id".into(), json!(eos))));
    keys.into()
}

fn is_file_name(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|last| last == name)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{parameters_of, small};
    use super::*;
    use crate::files::tests::names;

    fn saved(config: &ModelConfig, tensors: &[NamedTensor]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write_json(&dir.path().join(CONFIG), &config.to_hf_json(None, None)).unwrap();
        write_tensors(&dir.path().join(MODEL), tensors).unwrap();
        dir
    }

    #[test]
    fn what_is_saved_loads_tied_and_untied() {
        for tied in [true, false] {
            let config = ModelConfig { tie_word_embeddings: tied, ..small() };
            let parameters = parameters_of(&config, 0.0);
            let dir = tempfile::tempdir().unwrap();
            let tokenizer = [("tokenizer.json".to_owned(), "{\"ü\": 1}".to_owned())];
            save_model(dir.path(), &config, &parameters, &tokenizer, Some(3)).unwrap();
            assert_eq!(load_model(dir.path()).unwrap(), (config, parameters));
            assert_eq!(names(dir.path()), [CONFIG, GENERATION_CONFIG, MODEL, "tokenizer.json"]);
            let read = |name| fs::read_to_string(dir.path().join(name)).unwrap();
            assert_eq!(read("tokenizer.json"), "{\"ü\": 1}");
            let json = |name| serde_json::from_str::<Value>(&read(name)).unwrap();
            assert_eq!(json(GENERATION_CONFIG), json!({ "_from_model_config": true, "eos_token_id": 3 }));
            assert_eq!((&json(CONFIG)["eos_token_id"], &json(CONFIG)["bos_token_id"]), (&json!(3), &Value::Null));
        }
        assert_eq!(generation_config(None), json!({ "_from_model_config": true }));
    }

    #[test]
    fn files_for_a_page_are_those_of_a_folder() {
        let adapter = AdapterConfig { bottleneck: 6, tensor_rank: 2, scale: 0.5 };
        let (config, tokenizer) = (ModelConfig { adapter: Some(adapter), ..small() }, Tokenizer::bytes());
        let parameters = parameters_of(&config, 0.5);
        let dir = tempfile::tempdir().unwrap();
        save_model(dir.path(), &config, &parameters, &tokenizer.files(), tokenizer.end_of_text()).unwrap();
        let values: Vec<Vec<f32>> = parameters.into_iter().map(|tensor| tensor.values).collect();
        let files = model_files(&config, &values, Some(&tokenizer)).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), files.len());
        for (name, bytes) in files {
            assert_eq!(fs::read(dir.path().join(&name)).unwrap(), bytes, "{name}");
        }
    }

    #[test]
    fn a_wrong_adapter_is_told_with_its_own_files() {
        let adapter = AdapterConfig { bottleneck: 6, tensor_rank: 2, scale: 0.5 };
        let config = ModelConfig { adapter: Some(adapter), ..small() };
        let parameters = parameters_of(&config, 0.5);
        let dir = tempfile::tempdir().unwrap();
        save_model(dir.path(), &config, &parameters, &[], None).unwrap();
        let (_, of_adapters) = parameters.split_at(config.parameters_of_model().len());
        let refused = |tensors: &[NamedTensor]| {
            write_tensors(&dir.path().join(ADAPTER), tensors).unwrap();
            load_model(dir.path()).unwrap_err().to_string()
        };
        let missing = refused(&of_adapters[1..]);
        let expected = format!("{ADAPTER_CONFIG} requires {}, the file does not have it", of_adapters[0].name);
        assert!(missing.contains(&format!("{ADAPTER}: ")) && missing.contains(&expected), "{missing}");
        let mut more = of_adapters.to_vec();
        more.push(NamedTensor { name: "a.bias".into(), shape: vec![1], values: vec![0.0] });
        let more = refused(&more);
        assert!(more.contains(&format!("the file has a.bias, {ADAPTER_CONFIG} does not have it")), "{more}");
        let mut other = of_adapters.to_vec();
        (other[0].shape, other[0].values) = (vec![1], vec![0.0]);
        let other = refused(&other);
        assert!(other.contains(&format!("{}: {ADAPTER_CONFIG} requires [", of_adapters[0].name)), "{other}");
    }

    #[test]
    fn order_and_superfluous_tensors_do_not_matter() {
        let config = small();
        let parameters = parameters_of(&config, 0.0);
        let mut held = parameters.clone();
        held.reverse();
        for name in ["model.layers.0.self_attn.rotary_emb.inv_freq", "lm_head.weight"] {
            held.push(NamedTensor { name: name.into(), shape: vec![1], values: vec![0.0] });
        }
        let dir = saved(&config, &held);
        assert_eq!(load_model(dir.path()).unwrap(), (config, parameters));
    }

    #[test]
    fn differences_are_told_in_names_and_shapes() {
        type Change = fn(&mut Vec<NamedTensor>);
        let cases: [(Change, &str); 5] = [
            (
                |t| drop(t.remove(1)),
                "config.json requires model.layers.0.input_layernorm.weight, the file does not have it",
            ),
            (
                |t| t.truncate(1),
                "model.layers.0.mlp.down_proj.weight, model.layers.0.mlp.gate_proj.weight and 16 more, ",
            ),
            (|t| t[1].name = "a.bias".into(), "does not have it"),
            (
                |t| t.push(NamedTensor { name: "a.bias".into(), shape: vec![0], values: vec![] }),
                "the file has a.bias, config.json does not have it",
            ),
            (
                |t| (t[8].shape, t[8].values) = (vec![12, 4], vec![0.0; 48]),
                "model.layers.0.mlp.up_proj.weight: config.json requires [12, 8], the file has [12, 4]",
            ),
        ];
        for (change, expected) in cases {
            let mut tensors = parameters_of(&small(), 0.0);
            change(&mut tensors);
            let dir = saved(&small(), &tensors);
            let message = load_model(dir.path()).expect_err(expected).to_string();
            assert!(message.contains(expected) && message.contains("model.safetensors: "), "{message}");
        }
        let untied = ModelConfig { tie_word_embeddings: false, ..small() };
        let dir = saved(&untied, &parameters_of(&small(), 0.0));
        assert!(load_model(dir.path()).unwrap_err().to_string().contains("requires lm_head.weight"));
        let transposed = parameters_of(&small(), 0.0).into_iter().map(|mut tensor| {
            tensor.shape.reverse();
            tensor
        });
        let dir = saved(&small(), &transposed.collect::<Vec<_>>());
        let expected = "model.embed_tokens.weight: config.json requires [16, 8], the file has [8, 16]";
        assert!(load_model(dir.path()).unwrap_err().to_string().ends_with(expected));
    }

    #[test]
    fn shards_are_put_together() {
        let config = small();
        let parameters = parameters_of(&config, 0.0);
        let dir = saved(&config, &[]);
        fs::remove_file(dir.path().join(MODEL)).unwrap();
        let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let (first, second) = parameters.split_at(7);
        // The second shard also has a stale copy of a tensor in the first.
        let stale = NamedTensor { values: vec![-1.0; first[1].values.len()], ..first[1].clone() };
        write_tensors(&dir.path().join(shards[0]), first).unwrap();
        write_tensors(&dir.path().join(shards[1]), &[second, &[stale]].concat()).unwrap();
        let place = |(i, t): (usize, &NamedTensor)| (t.name.clone(), json!(shards[usize::from(i >= 7)]));
        let weight_map: Map<String, Value> = parameters.iter().enumerate().map(place).collect();
        let index = |weight_map: &Map<String, Value>| {
            write_json(&dir.path().join(INDEX), &json!({ "metadata": {}, "weight_map": weight_map })).unwrap();
        };
        index(&weight_map);
        assert_eq!(load_model(dir.path()).unwrap(), (config, parameters.clone()));
        let refusal = || load_model(dir.path()).unwrap_err().to_string();
        for outside in ["../model.safetensors", "/etc/passwd", ".."] {
            let mut escaped = weight_map.clone();
            escaped[&parameters[0].name] = json!(outside);
            index(&escaped);
            assert!(refusal().ends_with(&format!("must be in the same directory, got {outside}")), "{}", refusal());
        }
        index(&weight_map);
        fs::remove_file(dir.path().join(shards[1])).unwrap();
        assert!(refusal().contains(&format!("{}: No such file", shards[1])), "{}", refusal());
        fs::write(dir.path().join(INDEX), "{}").unwrap();
        assert!(refusal().contains("not an index of shards: missing field `weight_map`"), "{}", refusal());
        fs::remove_file(dir.path().join(INDEX)).unwrap();
        assert!(refusal().contains("holds neither model.safetensors nor"), "{}", refusal());
    }

    #[test]
    fn a_wrong_config_is_named_with_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CONFIG);
        let refusal = || load_config(dir.path()).unwrap_err().to_string();
        assert!(refusal().starts_with(&format!("cannot read {}", path.display())), "{}", refusal());
        fs::write(&path, r#"{"model_type": "gpt2"}"#).unwrap();
        let expected = format!("{}: model_type: llama, mistral and qwen2 are supported, got `gpt2`", path.display());
        assert_eq!(refusal(), expected);
        fs::write(&path, r#"{"model_type": "#).unwrap();
        assert!(refusal().starts_with(&format!("{}: EOF while parsing", path.display())), "{}", refusal());
    }

    #[test]
    #[should_panic(expected = "save_model: config.json requires model.norm.weight")]
    fn parameters_of_another_model_are_a_bug() {
        let config = small();
        let mut parameters = parameters_of(&config, 0.0);
        parameters.pop();
        let _ = save_model(Path::new("/nowhere"), &config, &parameters, &[], None);
    }

    #[test]
    #[should_panic(expected = "plain name, got ../tokenizer.json")]
    fn a_tokenizer_file_stays_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let files = [("../tokenizer.json".to_owned(), String::new())];
        let _ = save_model(dir.path(), &small(), &parameters_of(&small(), 0.0), &files, None);
    }
}
