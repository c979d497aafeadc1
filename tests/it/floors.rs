//! The invariants of ARCHITECTURE.md's floors, held on the text of the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every room and its floor: imports go down only.
const FLOORS: &[(usize, &[&str])] = &[
    (0, &["error", "settings", "reference", "data", "plot"]),
    (1, &["gpu"]),
    (2, &["kernels"]),
    (3, &["llama", "optim", "spectrum"]),
    (4, &["config", "checkpoint", "train", "generate", "compare", "normalize"]),
    (5, &["cli", "main", "lib"]),
];

/// Floors whose rooms may import one another, as long as nobody goes round in a circle.
const OPEN_FLOORS: [usize; 2] = [0, 4];

fn floor(room: &str) -> usize {
    let found = FLOORS.iter().find(|(_, rooms)| rooms.contains(&room));
    found.unwrap_or_else(|| panic!("{room:?} is on no floor: give it one in tests/it/floors.rs and ARCHITECTURE.md")).0
}

/// A source file as this test sees it.
struct Source {
    /// Its path from the root of the repository.
    path: String,
    /// The modules that lead to it, the room first; of main.rs and lib.rs their own name.
    modules: Vec<String>,
    tokens: Vec<String>,
}

impl Source {
    fn room(&self) -> &str {
        &self.modules[0]
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every .rs file below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<Source> {
    let read = |path: PathBuf| {
        let inner = path.strip_prefix(root().join("src")).unwrap().with_extension("");
        let mut modules: Vec<String> = inner.iter().map(|part| part.to_str().unwrap().to_string()).collect();
        modules.pop_if(|last| last == "mod");
        let text = fs::read_to_string(&path).unwrap();
        Source { path: format!("src/{}.rs", inner.display()), modules, tokens: tokens(&text) }
    };
    rust_files(&root().join("src")).into_iter().map(read).collect()
}

/// Identifiers, `::` and single characters; comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let begin = at;
        if starts(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            while at < chars.len() && !starts(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if chars[at] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if starts(at, "r\"") || starts(at, "r#") {
            let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
            let end = format!("\"{}", "#".repeat(hashes));
            at += hashes + 2;
            while at < chars.len() && !starts(at, &end) {
                at += 1;
            }
            at += end.len();
        } else if chars[at] == '\'' {
            // 'x' and '\n' are characters, 'static is a lifetime.
            if starts(at + 1, "\\") {
                at += 3;
                while at < chars.len() && chars[at] != '\'' {
                    at += 1;
                }
                at += 1;
            } else {
                at += if chars.get(at + 2) == Some(&'\'') { 3 } else { 1 };
            }
        } else if is_word(chars[at]) {
            while at < chars.len() && is_word(chars[at]) {
                at += 1;
            }
            tokens.push(chars[begin..at].iter().collect());
        } else if starts(at, "::") {
            at += 2;
            tokens.push("::".into());
        } else {
            if !chars[at].is_whitespace() {
                tokens.push(chars[at].to_string());
            }
            at += 1;
        }
    }
    tokens
}

/// What a file names of the crate's root, by `crate::` or by enough `super::`s: rooms, or items that lib.rs exports.
fn names_of_the_root(source: &Source) -> BTreeSet<String> {
    let of = |(from, names): (Vec<String>, Vec<String>)| from.into_iter().next().map_or(names, |room| vec![room]);
    paths(source).into_iter().flat_map(of).collect()
}

/// Every path of a file that begins with `crate::` or `super::`: the modules that it begins at, and the first names there.
fn paths(source: &Source) -> Vec<(Vec<String>, Vec<String>)> {
    let tokens: Vec<&str> = source.tokens.iter().map(String::as_str).collect();
    let token = |at: usize| tokens.get(at).copied().unwrap_or("");
    let mut paths = Vec::new();
    let mut modules = source.modules.clone();
    let mut inline = Vec::new(); // brace depths at which an inline module began
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        match token(at) {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.pop_if(|begun| *begun == depth).is_some() {
                    modules.pop();
                }
            }
            "mod" if token(at + 2) == "{" => {
                inline.push(depth);
                modules.push(token(at + 1).to_string());
            }
            first @ ("crate" | "super") if token(at + 1) == "::" && (at == 0 || token(at - 1) != "::") => {
                let mut up = if first == "crate" { modules.len() } else { 1 };
                at += 2;
                while token(at) == "super" && token(at + 1) == "::" {
                    up += 1;
                    at += 2;
                }
                assert!(up <= modules.len(), "{}: more super:: than modules", source.path);
                paths.push((modules[..modules.len() - up].to_vec(), first_names(&tokens[at..])));
                continue; // a group's braces are yet to be counted
            }
            _ => {}
        }
        at += 1;
    }
    paths
}

/// The first names of a path or of every path in a group: `gpu` of `gpu::Form`, `Error` and `gpu` of `{Error, gpu::Form}`.
fn first_names(tokens: &[&str]) -> Vec<String> {
    if tokens[0] != "{" {
        return vec![tokens[0].to_string()];
    }
    let (mut names, mut depth, mut wanted) = (Vec::new(), 0, false);
    for &token in tokens {
        match token {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," => {}
            _ if wanted => names.push(token.to_string()),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        wanted = depth == 1 && matches!(token, "{" | ",");
    }
    names
}

/// From each room to the rooms that it names, with the file that does.
fn imports() -> BTreeMap<(String, String), String> {
    let mut imports = BTreeMap::new();
    // The binary's own `crate::` is not the library's.
    for source in sources().iter().filter(|source| floor(source.room()) < 5) {
        for name in names_of_the_root(source) {
            let room = if matches!(name.as_str(), "Error" | "Result") { "error".to_string() } else { name };
            if room != source.room() {
                imports.insert((source.room().to_string(), room), source.path.clone());
            }
        }
    }
    imports
}

#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let read = |modules: &[&str], text: &str| {
        let modules = modules.iter().map(|part| part.to_string()).collect();
        names_of_the_root(&Source { path: "test".into(), modules, tokens: tokens(text) })
            .into_iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(read(&["optim", "sgd"], "use crate::gpu::{Form, Gpu}; // crate::llama"), ["gpu"]);
    assert_eq!(read(&["optim", "sgd"], "use crate::{Error, gpu::{Form, Gpu}, kernels};"), ["Error", "gpu", "kernels"]);
    assert_eq!(read(&["optim", "sgd"], "use super::passes; let x = super::super::llama::y;"), ["llama", "optim"]);
    assert_eq!(read(&["optim"], "fn f() { super::train::g() } mod tests { use super::*; }"), ["optim", "train"]);
    assert_eq!(read(&["optim"], "mod a { mod b { use super::super::super::train; } } use super::x;"), ["train", "x"]);
    assert_eq!(read(&["optim"], r##"let a = ("crate::gpu", r#"crate::gpu"#, '"'); use crate::data;"##), ["data"]);
    assert_eq!(read(&["optim"], "pub(crate) fn f<'a>(x: &'a str) { pub(super) mod y; }"), [""; 0]);
}

#[test]
fn imports_go_down_only() {
    let imports = imports();
    for ((from, to), path) in &imports {
        let (above, below) = (floor(from), floor(to));
        let open = above == below && OPEN_FLOORS.contains(&above);
        assert!(above > below || open, "{path}: {from} (floor {above}) imports {to} (floor {below})");
        let back = imports.get(&(to.clone(), from.clone()));
        assert!(back.is_none(), "{path} and {} import each other's rooms", back.unwrap());
    }
    // Were the reading of paths to break, nothing would be found and nothing would fail.
    for (from, to) in [("kernels", "gpu"), ("llama", "kernels"), ("optim", "gpu"), ("train", "llama"), ("gpu", "error")]
    {
        assert!(imports.contains_key(&(from.into(), to.into())), "{from} is known to import {to}");
    }
}

#[test]
fn rooms_of_an_open_floor_form_no_circle() {
    let imports = imports();
    let mut left: BTreeSet<&str> = FLOORS.iter().flat_map(|(_, rooms)| rooms.iter().copied()).collect();
    // Again and again the rooms that import none of those left.
    while !left.is_empty() {
        let held = |room: &str| imports.keys().any(|(from, to)| from == room && left.contains(to.as_str()));
        let free: Vec<&str> = left.iter().copied().filter(|room| !held(room)).collect();
        assert!(!free.is_empty(), "these rooms import one another in a circle: {left:?}");
        left.retain(|room| !free.contains(room));
    }
}

/// Rooms whose modules import one another in one direction.
const ORDERED: [&str; 3] = ["settings", "optim", "config"];

/// From each module of a room to those that it names, by themselves or by what the room exports of them.
fn imports_within(room: &str) -> BTreeSet<(String, String)> {
    let sources = sources();
    let of_room: Vec<&Source> = sources.iter().filter(|source| source.room() == room).collect();
    let modules: BTreeSet<&str> =
        of_room.iter().filter_map(|source| source.modules.get(1)).map(String::as_str).collect();
    let top = of_room.iter().find(|source| source.modules.len() == 1).expect("a mod.rs");
    let tokens: Vec<&str> = top.tokens.iter().map(String::as_str).collect();
    let mut homes: BTreeMap<String, &str> = modules.iter().map(|&module| (module.to_owned(), module)).collect();
    for (at, pair) in tokens.windows(2).enumerate() {
        if let Some(module) = modules.get(pair[0]).filter(|_| pair[1] == "::") {
            homes.extend(first_names(&tokens[at + 2..]).into_iter().map(|name| (name, *module)));
        }
    }
    let mut imports = BTreeSet::new();
    for source in of_room.iter().filter(|source| source.modules.len() > 1) {
        let here = paths(source).into_iter().filter(|(from, _)| from[..] == [room.to_owned()]);
        let named = here.flat_map(|(_, names)| names).filter_map(|name| homes.get(&name).copied());
        imports.extend(named.map(|to| (source.modules[1].clone(), to.to_owned())));
    }
    imports.into_iter().filter(|(from, to)| from != to).collect()
}

#[test]
fn modules_of_an_ordered_room_form_no_circle() {
    for room in ORDERED {
        let imports = imports_within(room);
        let mut left: BTreeSet<&str> = imports.iter().flat_map(|(from, to)| [from.as_str(), to.as_str()]).collect();
        assert!(left.len() > 1, "modules of {room} are known to import one another");
        while !left.is_empty() {
            let held = |module: &str| imports.iter().any(|(from, to)| from == module && left.contains(to.as_str()));
            let free: Vec<&str> = left.iter().copied().filter(|module| !held(module)).collect();
            assert!(!free.is_empty(), "these modules of {room} import one another in a circle: {left:?}");
            left.retain(|module| !free.contains(module));
        }
    }
}

#[test]
fn every_room_of_the_source_is_on_a_floor() {
    for source in sources() {
        floor(source.room());
    }
}

#[test]
fn only_the_gpu_room_names_wgpu() {
    let sources = sources();
    let names_wgpu = |source: &&Source| source.tokens.iter().any(|token| token == "wgpu");
    for source in sources.iter().filter(names_wgpu) {
        assert_eq!(source.room(), "gpu", "{} names wgpu", source.path);
    }
    assert!(sources.iter().filter(names_wgpu).count() > 0, "the gpu room is known to name it");
}

#[test]
fn the_reference_rests_on_the_standard_library_alone() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let crates: BTreeSet<String> = manifest
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.trim().replace('-', "_"))
        .filter(|name| name != "std")
        .collect();
    assert!(crates.contains("wgpu") && crates.contains("rand"), "dependencies are read from Cargo.toml");
    let sources = sources();
    let reference: Vec<&Source> = sources.iter().filter(|source| source.room() == "reference").collect();
    assert!(reference.len() > 10, "the reference has a file for each operation");
    for source in reference {
        let rooms: Vec<String> = names_of_the_root(source).into_iter().filter(|name| name != "reference").collect();
        assert!(rooms.is_empty(), "{} names {rooms:?} of the crate", source.path);
        for (at, pair) in source.tokens.windows(2).enumerate() {
            let begins = at == 0 || source.tokens[at - 1] != "::";
            let foreign = begins && pair[1] == "::" && crates.contains(&pair[0]);
            assert!(!foreign, "{} names the crate {}", source.path, pair[0]);
            let allowed = ["std", "super", "self", "crate"].contains(&pair[1].as_str());
            assert!(pair[0] != "use" || allowed, "{} uses {}", source.path, pair[1]);
        }
    }
}

#[test]
fn only_the_command_line_prints_and_blocks() {
    const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];
    let sources = sources();
    for source in sources.iter().filter(|source| floor(source.room()) < 5) {
        for pair in source.tokens.windows(2) {
            assert!(!(pair[1] == "!" && PRINTING.contains(&pair[0].as_str())), "{} has {}!", source.path, pair[0]);
            assert!(pair[0] != "pollster", "{} blocks on a future", source.path);
        }
    }
}

/// Reference files of another name than the kernel file's, and the kernels that need none.
const REFERENCES: [(&str, Option<&str>); 7] = [
    ("bench", None),
    ("factored", Some("adafactor")),
    ("fill", None),
    ("norms", Some("norm")),
    ("rated", Some("racs")),
    ("scaled", Some("passes")),
    ("subspace", Some("galore")),
];

fn stems(folder: &str, extension: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let paths = entries.map(|entry| entry.unwrap().path());
    let of_kind = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    of_kind.map(|path| path.file_stem().unwrap().to_str().unwrap().to_string()).filter(|stem| stem != "mod").collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_shader_is_in_one_kernel_file() {
    let files: Vec<(String, String)> = stems("src/kernels", "rs")
        .into_iter()
        .map(|stem| (stem.clone(), read(&format!("src/kernels/{stem}.rs"))))
        .collect();
    for shader in stems("shaders", "wgsl") {
        let quoted = format!("\"{shader}\"");
        // A kernel's name or its file; libraries come after a plus.
        let names = |before: &str| before.trim_end().ends_with(['=', ':']);
        let named = |text: &str| text.match_indices(&quoted).any(|(at, _)| names(&text[..at]));
        let homes: Vec<&str> = files.iter().filter(|(_, text)| named(text)).map(|(stem, _)| stem.as_str()).collect();
        assert_eq!(homes.len(), 1, "shaders/{shader}.wgsl belongs to one file of src/kernels/, found {homes:?}");
    }
}

#[test]
fn every_kernel_file_has_its_reference_its_test_and_its_line_in_the_list() {
    let (references, tests) = (stems("src/reference", "rs"), stems("tests/it/kernels", "rs"));
    let (list, test_list) = (read("src/kernels/mod.rs"), read("tests/it/kernels/mod.rs"));
    let kernels = stems("src/kernels", "rs");
    assert!(kernels.len() > 5, "src/kernels/ has a file for each operation");
    for stem in &kernels {
        assert!(list.contains(&format!("    {stem}::KERNELS,")), "kernels::FILES lacks {stem}::KERNELS");
        let named = REFERENCES.iter().find(|(kernel, _)| kernel == stem).map(|(_, reference)| *reference);
        if let Some(reference) = named.unwrap_or(Some(stem)) {
            assert!(references.contains(reference), "src/kernels/{stem}.rs lacks src/reference/{reference}.rs");
        }
        assert!(tests.contains(stem), "src/kernels/{stem}.rs lacks tests/it/kernels/{stem}.rs");
        assert!(test_list.contains(&format!("mod {stem};")), "tests/it/kernels/mod.rs lacks mod {stem}");
        let calls = read(&format!("tests/it/kernels/{stem}.rs"));
        assert!(calls.contains("#[test]"), "tests/it/kernels/{stem}.rs has no test");
    }
    assert_eq!(tests, kernels, "left the test files, right the kernel files");
}

#[test]
fn clocks_run_in_the_browser_too() {
    // std's panic there; natively web_time's are std's, so that clippy cannot tell them apart.
    for source in sources() {
        for (at, word) in
            source.tokens.iter().enumerate().filter(|(_, t)| ["Instant", "SystemTime"].contains(&t.as_str()))
        {
            let path = source.tokens[..at].rsplit(|t| t == "use" || t == ";").next().unwrap_or_default();
            let of_std =
                path.first().is_some_and(|root| root == "std") || path.ends_with(&["time".into(), "::".into()]);
            assert!(!of_std, "{}: {word} is std's, which panics in the browser: take web_time's", source.path);
        }
    }
}

#[test]
fn the_version_of_wgpu_that_is_told_is_the_one_that_is_built() {
    let lock = read("Cargo.lock");
    let entry = format!("name = \"wgpu\"\nversion = \"{}\"\n", multinorm::gpu::WGPU_VERSION);
    assert!(lock.contains(&entry), "gpu::WGPU_VERSION is not that of Cargo.lock");
}
