//! The text that the page trains on by default: the beginning of a novel.

use std::error::Error;
use std::fs;
use std::path::Path;

use multinorm::config::{RunConfig, RunDefaults};
use multinorm::data::corpus::Corpus;
use multinorm::data::sources;
use serde_json::{Value, json};

/// Bytes of text: enough to train for some minutes, and quick to download.
const TEXT_BYTES: usize = 400_000;

/// Writes corpus.txt, and returns its name and license.
pub fn write(out: &Path) -> Result<Value, Box<dyn Error>> {
    let data = RunConfig::load(None, &[], RunDefaults::Software)?.data;
    let say = &mut |line: &str| eprintln!("lab-page: {line}");
    let Corpus { name, documents, license, .. } =
        sources::load(&data.source, &data.text_field, &data.cache_dir(), say)?;
    let whole = documents.whole()?.into_iter().max_by_key(|document| document.len()).ok_or("an empty corpus")?;
    let end = (0..=TEXT_BYTES.min(whole.len())).rev().find(|&at| whole.is_char_boundary(at)).unwrap_or(0);
    let text = &whole[..end];
    fs::write(out.join("corpus.txt"), text)?;
    Ok(json!({ "name": format!("{name}, the beginning of one novel"), "license": license }))
}
