//! One function for each kind of file: it may reject the bytes, but must neither panic, nor hang, nor use much memory.
//!
//! `tests/it/hostile.rs` also includes this file and tries a few thousand inputs in every test run.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use flate2::Compression;
use flate2::write::GzEncoder;
use multinorm::checkpoint::{
    NamedTensor, load_config, load_model, load_tokenizer, read_tensors, tensor_bytes, tensors_of_bytes,
};
use multinorm::config::{RunConfig, RunDefaults};
use multinorm::data::dataset::{Dataset, TokenizerChoice};
use multinorm::data::npy::from_npy;
use multinorm::data::shards::Shards;
use multinorm::data::sources;
use multinorm::data::tokenizer::Tokenizer;
use multinorm::data::tokens::Tokens;
use multinorm::normalize::read_matrix;
use tempfile::TempDir;

/// A kind of file.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Seed files.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: [Target; 13] = [
    Target { name: "safetensors", run: safetensors, seeds: safetensors_seeds },
    Target { name: "npy", run: npy, seeds: npy_seeds },
    Target { name: "tokenizer", run: tokenizer, seeds: tokenizer_seeds },
    Target { name: "model_config", run: model_config, seeds: model_config_seeds },
    Target { name: "run_config", run: run_config, seeds: run_config_seeds },
    Target { name: "gguf", run: gguf, seeds: gguf_seeds },
    Target { name: "shards", run: shards, seeds: shard_seeds },
    Target { name: "json_lines", run: json_lines, seeds: json_seeds },
    Target { name: "json", run: json, seeds: json_seeds },
    Target { name: "table", run: table, seeds: table_seeds },
    Target { name: "parquet", run: parquet, seeds: parquet_seeds },
    Target { name: "packed", run: packed, seeds: packed_seeds },
    Target { name: "text", run: text, seeds: text_seeds },
];

/// Writes `bytes` to a file with that name, in a folder of this thread.
fn with_file<T>(name: &str, bytes: &[u8], use_it: impl FnOnce(&Path) -> T) -> T {
    thread_local!(static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) });
    FOLDER.with_borrow_mut(|folder| {
        let memory = Path::new("/dev/shm");
        let make = || if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.get_or_insert_with(|| make().expect("a folder for one file"));
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("room for one file");
        use_it(&path)
    })
}

pub fn safetensors(bytes: &[u8]) {
    if let Ok(tensors) = tensors_of_bytes(bytes, "x.safetensors") {
        for tensor in tensors.into_iter().flatten() {
            assert_eq!(tensor.values.len(), tensor.shape.iter().product::<usize>());
        }
    }
    with_file("x.safetensors", bytes, |path| {
        let _ = read_tensors(path);
        let _ = read_matrix(path, None);
    });
}

pub fn npy(bytes: &[u8]) {
    with_file("x.npy", bytes, |path| {
        let _ = from_npy(path);
        if let Ok(matrix) = read_matrix(path, None) {
            assert_eq!(matrix.values().len(), matrix.shape()[0] * matrix.shape()[1]);
        }
    });
}

pub fn tokenizer(bytes: &[u8]) {
    let Ok(json) = std::str::from_utf8(bytes) else { return };
    let Ok(tokenizer) = Tokenizer::from_json(json) else { return };
    if let Ok(ids) = tokenizer.encode("It is a truth\n\nuniversally acknowledged 12345 é") {
        let _ = tokenizer.decode(&ids);
    }
}

pub fn model_config(bytes: &[u8]) {
    with_file("config.json", bytes, |path| {
        if let Ok(config) = load_config(path.parent().expect("a file lies in a folder")) {
            let _ = config.n_parameters();
        }
    });
}

pub fn gguf(bytes: &[u8]) {
    with_file("x.gguf", bytes, |path| {
        let _ = load_tokenizer(path);
        if let Ok((config, parameters)) = load_model(path) {
            assert_eq!(parameters.len(), config.parameters().len());
        }
    });
}

pub fn run_config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(config) = RunConfig::load(Some((Path::new("x.toml"), text)), &[], RunDefaults::Software) {
        let again = config.to_toml();
        RunConfig::load(Some((Path::new("again.toml"), &again)), &[], RunDefaults::Software).expect("what it writes");
    }
}

pub fn shards(bytes: &[u8]) {
    with_file("x.bin", bytes, |path| {
        for vocab_size in [256, 100_000] {
            if let Ok(shards) = Shards::open(&[path.to_owned()], vocab_size) {
                let tokens = Tokens::Mapped(shards);
                let _ = tokens.check_ids(vocab_size);
                let _ = tokens.slice(tokens.len() / 2..tokens.len()).check_ids(vocab_size);
            }
        }
    });
}

/// Reads all documents of a file.
fn documents(name: &str, bytes: &[u8]) {
    with_file(name, bytes, |path| {
        let source = path.display().to_string();
        if let Ok(corpus) = sources::load(&[source], "text", Path::new("."), &mut |_: &str| ()) {
            let _ = corpus.documents.whole();
        }
    });
}

pub fn json_lines(bytes: &[u8]) {
    documents("x.jsonl", bytes);
}

pub fn json(bytes: &[u8]) {
    documents("x.json", bytes);
}

pub fn table(bytes: &[u8]) {
    documents("x.csv", bytes);
}

pub fn parquet(bytes: &[u8]) {
    documents("x.parquet", bytes);
}

/// Compressed, or text, or whatever its first bytes indicate.
pub fn packed(bytes: &[u8]) {
    documents("x", bytes);
}

/// A text dropped on the lab.
pub fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for choice in [TokenizerChoice::Bytes, TokenizerChoice::Bpe] {
        let (name, license) = (String::new(), String::new());
        let dataset = Dataset::from_documents(vec![text.to_owned()], name, license, choice, 300, 0.2);
        let Ok(Dataset { train, validation, tokenizer: Some(tokenizer), .. }) = dataset else { continue };
        let mut ids = vec![0; train.len() + validation.len()];
        let (first, second) = ids.split_at_mut(train.len());
        train.copy_to(0, first).expect("ids in memory");
        validation.copy_to(0, second).expect("ids in memory");
        assert!(tokenizer.decode(&ids).expect("its own ids").starts_with(text), "{text:?}");
    }
}

fn safetensors_seeds() -> Vec<Vec<u8>> {
    let tensor = |name: &str, shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        NamedTensor { name: name.into(), shape: shape.to_vec(), values: (0..count).map(|i| i as f32).collect() }
    };
    let own = tensor_bytes(&[tensor("a.weight", &[2, 3]), tensor("b", &[4]), tensor("c", &[])]).expect("three names");
    let header = r#"{"h":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]},"i":{"dtype":"F64","shape":[1],"data_offsets":[8,16]}}"#;
    let mut others = (header.len() as u64).to_le_bytes().to_vec();
    others.extend_from_slice(header.as_bytes());
    others.extend_from_slice(&[0x3f; 16]);
    vec![own, others]
}

fn npy_seeds() -> Vec<Vec<u8>> {
    let file = |descr: &str, shape: &str, data: &[u8]| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
        let header = format!("{header:<117}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(data);
        bytes
    };
    let floats: Vec<u8> = [1.0f32, -2.0, 0.5, 3.0].into_iter().flat_map(f32::to_le_bytes).collect();
    vec![
        file("<u2", "4,", &[1, 0, 2, 0, 3, 0, 4, 0]),
        file("<f4", "2, 2", &floats),
        file("<f8", "1, 2", &[0; 16]),
        file("<i8", "2,", &[7; 16]),
    ]
}

fn tokenizer_seeds() -> Vec<Vec<u8>> {
    let words = vec!["It is a truth universally acknowledged, that a truth is".repeat(4)];
    let small = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":3,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"_"},{"type":"Replace","pattern":{"String":" "},"content":"_"}]},"pre_tokenizer":null,"post_processor":null,"decoder":{"type":"ByteFallback"},"model":{"type":"BPE","dropout":null,"unk_token":"a","fuse_unk":true,"byte_fallback":true,"vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]}}"#;
    let unigram = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":{"type":"NFKC"},"pre_tokenizer":{"type":"Metaspace","replacement":"_","prepend_scheme":"always","split":true},"post_processor":null,"decoder":null,"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.0],["b",-2.0]],"byte_fallback":false}}"#;
    let words = Tokenizer::train_bpe(&words, 260, &mut |_: &str| ()).expect("enough entries");
    vec![words.to_json().into_bytes(), small.into(), unigram.into()]
}

fn model_config_seeds() -> Vec<Vec<u8>> {
    let usual = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":256,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":4,"hidden_act":"silu","rms_norm_eps":1e-6,"rope_theta":10000.0,"rope_scaling":null,"max_position_embeddings":64,"tie_word_embeddings":true,"attention_bias":false,"torch_dtype":"float32"}"#;
    let newer = r#"{"model_type":"llama","vocab_size":256,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":1,"num_attention_heads":2,"rope_parameters":{"rope_type":"default","rope_theta":10000.0},"dtype":"bfloat16"}"#;
    vec![usual.into(), newer.into()]
}

/// A one-layer model, in single precision and quantized.
fn gguf_seeds() -> Vec<Vec<u8>> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let key = |key: &str, kind: u32, value: &[u8]| [&text(key)[..], &kind.to_le_bytes(), value].concat();
    let size = |name: &str, value: u32| key(name, 4, &value.to_le_bytes());
    let texts = |name: &str, values: &[&str]| {
        let values: (u64, Vec<u8>) = (values.len() as u64, values.iter().flat_map(|value| text(value)).collect());
        key(name, 9, &[&8u32.to_le_bytes()[..], &values.0.to_le_bytes(), &values.1].concat())
    };
    let file = |encoding: u32, numbers: usize, block_bytes: usize| {
        let keys = [
            key("general.architecture", 8, &text("llama")),
            size("llama.embedding_length", 32),
            size("llama.feed_forward_length", 32),
            size("llama.block_count", 1),
            size("llama.attention.head_count", 4),
            size("llama.context_length", 64),
            key("llama.rope.freq_base", 6, &10_000f32.to_le_bytes()),
            key("tokenizer.ggml.model", 8, &text("gpt2")),
            key("tokenizer.ggml.pre", 8, &text("gpt-2")),
            texts("tokenizer.ggml.tokens", &["a", "b", "ab", "<s>"]),
            texts("tokenizer.ggml.merges", &["a b"]),
        ];
        let matrices = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
        let mut tensors = vec![("token_embd.weight".to_owned(), vec![32u64, 4])];
        tensors.extend(matrices.map(|part| (format!("blk.0.{part}.weight"), vec![32, 32])));
        let norms = ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"];
        tensors.extend(norms.map(|name| (format!("{name}.weight"), vec![32])));
        let counts = [tensors.len() as u64, keys.len() as u64].map(u64::to_le_bytes).concat();
        let mut bytes = [&b"GGUF"[..], &3u32.to_le_bytes(), &counts, &keys.concat()].concat();
        let mut data = Vec::new();
        for (name, shape) in &tensors {
            let n_bytes = shape.iter().product::<u64>() as usize / numbers * block_bytes;
            bytes.extend([&text(name)[..], &(shape.len() as u32).to_le_bytes()].concat());
            shape.iter().for_each(|side| bytes.extend(side.to_le_bytes()));
            bytes.extend([&encoding.to_le_bytes()[..], &(data.len() as u64).to_le_bytes()].concat());
            data.resize((data.len() + n_bytes).next_multiple_of(32), 0x3c);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(data);
        bytes
    };
    vec![file(0, 1, 4), file(2, 32, 18), file(8, 32, 34)]
}

fn run_config_seeds() -> Vec<Vec<u8>> {
    let written = RunConfig::load(None, &[], RunDefaults::Software).expect("the default run").to_toml();
    let typed = "[model]\npreset = \"9m\"\n[optimizer]\npasses = [\"row\", \"spectral:cubic:10\"]\niterations = 3\n\
                 [optimizer.rest]\nname = \"adamw\"\nlr = 1e-3\n[schedule]\nkind = \"constant\"\n[train]\nsteps = 10\n";
    vec![written.into_bytes(), typed.into()]
}

fn shard_seeds() -> Vec<Vec<u8>> {
    let header = |fields: [i32; 3], ids: &[u8]| {
        let mut bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        bytes.resize(1024, 0);
        bytes.extend(ids);
        bytes
    };
    let plain = (0..40u16).flat_map(u16::to_le_bytes).collect();
    let wide = (0..40u32).flat_map(u32::to_le_bytes).collect();
    vec![plain, wide, header([20_240_520, 1, 2], &[1, 0, 2, 0]), header([20_240_801, 7, 1], &[1, 0, 1, 0])]
}

fn json_seeds() -> Vec<Vec<u8>> {
    let lines = "{\"text\": \"one\\u00e9\", \"id\": 1}\n\n{\"text\": null}\n{\"text\": \"two\"}\n";
    vec![lines.into(), "[{\"text\": \"a\", \"n\": [1, {}]}, \"b\", null]".into()]
}

fn table_seeds() -> Vec<Vec<u8>> {
    vec!["id,text\n1,one\n2,\"two, \"\"three\"\"\n\"\n".into(), "text\none\n\ntwo\n".into()]
}

fn parquet_seeds() -> Vec<Vec<u8>> {
    let compressions = [
        ::parquet::basic::Compression::UNCOMPRESSED,
        ::parquet::basic::Compression::SNAPPY,
        ::parquet::basic::Compression::ZSTD(Default::default()),
    ];
    let file = |compression| -> ::parquet::errors::Result<Vec<u8>> {
        let schema = "message rows { optional binary text (UTF8); }";
        let schema = Arc::new(::parquet::schema::parser::parse_message_type(schema)?);
        let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties)?;
        for _ in 0..2 {
            let mut group = writer.next_row_group()?;
            let mut column = group.next_column()?.expect("one column");
            let texts = ["one", "two", "one"].map(ByteArray::from);
            column.typed::<ByteArrayType>().write_batch(&texts, Some(&[1, 1, 0, 1]), None)?;
            column.close()?;
            group.close()?;
        }
        writer.into_inner()
    };
    compressions.into_iter().map(|compression| file(compression).expect("a small file")).collect()
}

fn packed_seeds() -> Vec<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(b"some text, and some more of that text").expect("into memory");
    let zstd = zstd::bulk::compress(b"some text, and some more of that text", 1).expect("into memory");
    vec![gzip.finish().expect("into memory"), zstd, b"\xef\xbb\xbfplain".into(), b"\xff\xfea\0".into()]
}

fn text_seeds() -> Vec<Vec<u8>> {
    vec!["It is a truth\n\nuniversally acknowledged, 12 345 \u{e9}\u{1f600}\r\n\t<|endoftext|>".into()]
}
