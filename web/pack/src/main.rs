//! The last step of `cargo xtask web`: turns the wasm into a folder for any static host.

mod corpus;
mod serve;

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use wasm_bindgen_cli_support::Bindgen;

const USAGE: &str = "lab-page WASM ROOT OUT [--serve [PORT]]";
/// The maximum size of the gzipped wasm.
const MOST_WASM_BYTES: usize = 2 << 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match &words[..] {
        [wasm, root, out] => pack(wasm.as_ref(), root.as_ref(), out.as_ref()),
        [wasm, root, out, serve] if serve == "--serve" => served(wasm, root, out, "8080"),
        [wasm, root, out, serve, port] if serve == "--serve" => served(wasm, root, out, port),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-page: {error}");
            ExitCode::FAILURE
        }
    }
}

fn served(wasm: &str, root: &str, out: &str, port: &str) -> Result<(), Box<dyn Error>> {
    let port = port.parse().map_err(|_| format!("--serve wants a port from 0 to 65535, got `{port}`"))?;
    pack(wasm.as_ref(), root.as_ref(), out.as_ref())?;
    serve::serve(out.as_ref(), port)
}

/// Puts everything the page needs into an empty folder.
fn pack(wasm: &Path, root: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    if out.exists() {
        fs::remove_dir_all(out)?;
    }
    fs::create_dir_all(out.join("pictures"))?;
    Bindgen::new().input_path(wasm).web(true)?.typescript(false).remove_name_section(true).generate(out)?;
    for from in files(&root.join("web/page"))? {
        fs::copy(&from, out.join(from.file_name().expect("a file has a name")))?;
    }
    for from in files(&root.join("docs/fixed_point"))? {
        fs::copy(&from, out.join("pictures").join(from.file_name().expect("a file has a name")))?;
    }
    let corpus = corpus::write(out).unwrap_or_else(|error| {
        eprintln!("lab-page: no corpus ({error}); the page will train on this project's documentation");
        json!(null)
    });
    let program = fs::read(out.join("multinorm_lab_bg.wasm"))?;
    let gzipped = gzip(&program)?.len();
    let about = json!({ "wasm_bytes": program.len(), "wasm_gzip_bytes": gzipped, "corpus": corpus });
    fs::write(out.join("page.json"), about.to_string())?;
    eprintln!("lab-page: {} holds the page; wasm {} bytes, {gzipped} gzipped", out.display(), program.len());
    if gzipped > MOST_WASM_BYTES {
        return Err(format!("{gzipped} bytes of gzipped wasm are more than {MOST_WASM_BYTES}").into());
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
