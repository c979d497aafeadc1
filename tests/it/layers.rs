//! Checks the layering rules of ARCHITECTURE.md against the source text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every top-level module and its layer; imports only go down.
const LAYERS: &[(usize, &[&str])] = &[
    (0, &["error", "settings", "reference", "data", "distributed", "files", "plot"]),
    (1, &["gpu"]),
    (2, &["kernels"]),
    (3, &["llama", "optim", "spectrum"]),
    (4, &["config", "checkpoint", "train", "generate", "compare", "normalize", "prune"]),
    (5, &["cli", "main", "lib"]),
];

/// Layers whose modules may import each other, as long as there is no cycle.
const OPEN_LAYERS: [usize; 2] = [0, 4];

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().find(|(_, modules)| modules.contains(&module));
    found
        .unwrap_or_else(|| panic!("{module:?} is in no layer: give it one in tests/it/layers.rs and ARCHITECTURE.md"))
        .0
}

/// A source file, as this test sees it.
struct Source {
    /// Its path from the root of the repository.
    path: String,
    /// Its module path, the top-level module first; for main.rs and lib.rs, their own name.
    modules: Vec<String>,
    tokens: Vec<String>,
}

impl Source {
    fn top(&self) -> &str {
        &self.modules[0]
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every .rs file under a folder.
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

/// Identifiers, `::` and single characters, without comments, strings and character literals.
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
            // 'x' and '\n' are character literals, 'static is a lifetime.
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

/// A path that a file names via `crate::` or `super::`.
struct Name {
    /// The path from the crate root: modules, then items. A glob import ends in `*`.
    path: Vec<String>,
    /// Whether only the file's own tests use it.
    in_tests: bool,
}

/// All paths that a file names via `crate::` or `super::`, in order.
fn names(source: &Source) -> Vec<Name> {
    let tokens: Vec<&str> = source.tokens.iter().map(String::as_str).collect();
    let token = |at: usize| tokens.get(at).copied().unwrap_or("");
    let mut names = Vec::new();
    let mut modules = source.modules.clone();
    let mut inline = Vec::new(); // brace depths at which an inline module starts
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
                let in_tests = modules[source.modules.len()..].iter().any(|module| module == "tests");
                let below = &modules[..modules.len() - up];
                for path in paths(&tokens, at).0 {
                    names.push(Name { path: [below, &path].concat(), in_tests });
                }
                continue; // the braces of a group are counted later
            }
            _ => {}
        }
        at += 1;
    }
    names
}

/// The paths in a path or group that starts at a token, and the index of the token after it: `gpu::Form` for
/// `gpu::Form`, `Error` and `gpu::Form` for `{Error, gpu::Form}`.
fn paths(tokens: &[&str], mut at: usize) -> (Vec<Vec<String>>, usize) {
    let token = |at: usize| tokens.get(at).copied().unwrap_or("");
    let mut found = Vec::new();
    if token(at) == "{" {
        at += 1;
        while !["}", ""].contains(&token(at)) {
            let (paths, end) = paths(tokens, at);
            found.extend(paths);
            at = end;
            while ![",", "}", ""].contains(&token(at)) {
                at += 1; // skip `as other`
            }
            if token(at) == "," {
                at += 1;
            }
        }
        return (found, at + 1);
    }
    let name = token(at).to_string();
    if token(at + 1) != "::" || token(at + 2) == "<" {
        return (vec![vec![name]], at + 1);
    }
    let (below, end) = paths(tokens, at + 2);
    let whole = below.into_iter().map(|path| [vec![name.clone()], path].concat());
    (whole.collect(), end)
}

/// What a file names from the crate root: top-level modules, or items exported by lib.rs.
fn names_of_the_root(source: &Source) -> BTreeSet<String> {
    names(source).into_iter().map(|mut name| name.path.swap_remove(0)).collect()
}

/// Maps each top-level module to the modules that it names, with the file that names them.
fn imports() -> BTreeMap<(String, String), String> {
    let mut imports = BTreeMap::new();
    // In the binary, `crate::` does not refer to the library.
    for source in sources().iter().filter(|source| layer(source.top()) < 5) {
        for name in names_of_the_root(source) {
            let module = if matches!(name.as_str(), "Error" | "Result") { "error".to_string() } else { name };
            if module != source.top() {
                imports.insert((source.top().to_string(), module), source.path.clone());
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
        let (above, below) = (layer(from), layer(to));
        let open = above == below && OPEN_LAYERS.contains(&above);
        assert!(above > below || open, "{path}: {from} (layer {above}) imports {to} (layer {below})");
        let back = imports.get(&(to.clone(), from.clone()));
        assert!(back.is_none(), "{path} and {} import each other", back.unwrap());
    }
    // Were the reading of paths to break, nothing would be found and nothing would fail.
    for (from, to) in [("kernels", "gpu"), ("llama", "kernels"), ("optim", "gpu"), ("train", "llama"), ("gpu", "error")]
    {
        assert!(imports.contains_key(&(from.into(), to.into())), "{from} is known to import {to}");
    }
}

#[test]
fn modules_of_an_open_layer_form_no_circle() {
    let circles = circles(&imports().into_keys().collect());
    assert!(circles.is_empty(), "these modules import one another in a circle: {circles:?}");
}

/// The cycles in a graph: groups of names that can reach each other.
fn circles(edges: &BTreeSet<(String, String)>) -> BTreeSet<Vec<String>> {
    let reached = |from| {
        let (mut reached, mut new): (BTreeSet<&str>, Vec<&str>) = (BTreeSet::new(), vec![from]);
        while let Some(at) = new.pop() {
            let next = edges.iter().filter(|(from, _)| from == at).map(|(_, to)| to.as_str());
            new.extend(next.filter(|to| reached.insert(*to)));
        }
        reached
    };
    let starts = edges.iter().map(|(from, _)| from.as_str());
    let reached: BTreeMap<&str, BTreeSet<&str>> = starts.map(|from| (from, reached(from))).collect();
    let leads = |from: &str, to: &str| reached.get(from).is_some_and(|reached| reached.contains(to));
    let in_circle = reached.keys().filter(|name| leads(name, name));
    let circle = |name: &&str| {
        reached.keys().filter(|other| leads(name, other) && leads(other, name)).map(|name| name.to_string()).collect()
    };
    in_circle.map(circle).collect()
}

/// Known cycles among submodules that remain to be removed; delete a line together with its cycle.
const KNOWN_CIRCLES: &[(&str, &[&str])] = &[];

/// Maps each submodule to the siblings that it names, by their parent module.
///
/// A submodule stands for everything below it. A name counts anywhere in a file, via `super::` or `crate::`, except in
/// the file's own tests. A name that mod.rs re-exports from a submodule counts as that submodule's. What mod.rs defines
/// itself does not count: a module and its submodules may name each other, because mod.rs holds both what they share
/// and what joins them.
fn sibling_imports(sources: &[Source]) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let modules: BTreeSet<&[String]> =
        sources.iter().flat_map(|source| (1..=source.modules.len()).map(|len| &source.modules[..len])).collect();
    let mut exports = BTreeMap::new();
    for source in sources {
        for (at, _) in source.tokens.iter().enumerate().filter(|(_, token)| *token == "use") {
            let tokens: Vec<&str> = source.tokens[at + 1..].iter().map(String::as_str).collect();
            for path in paths(&tokens, 0).0 {
                let child = [&source.modules[..], &path[..1]].concat();
                if modules.contains(&child[..]) {
                    exports.insert((source.modules.clone(), path[path.len() - 1].clone()), path[0].clone());
                }
            }
        }
    }
    let mut imports: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for source in sources {
        for Name { path, .. } in names(source).into_iter().filter(|name| !name.in_tests) {
            let common = source.modules.iter().zip(&path).take_while(|(a, b)| a == b).count();
            if common == 0 || common == source.modules.len() || common == path.len() {
                continue;
            }
            let (parent, named) = (&path[..common], &path[common]);
            let to = match modules.contains(&path[..=common]) {
                true => named.clone(),
                false => match exports.get(&(parent.to_vec(), named.clone())) {
                    Some(child) => child.clone(),
                    None => continue,
                },
            };
            let from = source.modules[common].clone();
            if from != to {
                imports.entry(parent.join("::")).or_default().insert((from, to));
            }
        }
    }
    imports
}

#[test]
fn sub_modules_form_no_circle() {
    let sources = sources();
    let imports = sibling_imports(&sources);
    let mut found = Vec::new();
    for (parent, edges) in &imports {
        for circle in circles(edges) {
            let is_known = |names: &[&str]| circle.iter().all(|name| names.contains(&name.as_str()));
            if !KNOWN_CIRCLES.iter().any(|(of, names)| of == parent && is_known(names)) {
                let within = edges.iter().filter(|(from, to)| circle.contains(from) && circle.contains(to));
                let within: Vec<String> = within.map(|(from, to)| format!("{from} imports {to}")).collect();
                found.push(format!("in {parent}: {}", within.join(", ")));
            }
        }
    }
    assert!(found.is_empty(), "sub-modules that import one another in a circle: {found:#?}");
    // Were the reading of paths to break, nothing would be found and nothing would fail.
    for (parent, from, to) in [("llama", "blocks", "attention"), ("compare::report", "figures", "plots")] {
        assert!(imports[parent].contains(&(from.into(), to.into())), "{parent}: {from} is known to import {to}");
    }
}

#[test]
fn circles_of_sub_modules_are_found() {
    let source = |modules: &[&str], text: &str| Source {
        path: "test".into(),
        modules: modules.iter().map(|part| part.to_string()).collect(),
        tokens: tokens(text),
    };
    let of = |a: &str, b: &str, parent: &str| {
        let sources =
            [source(&["m"], parent), source(&["m", "a"], a), source(&["m", "b"], b), source(&["m", "c", "d"], "")];
        sibling_imports(&sources).get("m").map_or_else(Vec::new, |edges| circles(edges).into_iter().flatten().collect())
    };
    assert_eq!(of("use super::b::B;", "use crate::m::{c::d::D, a::A};", ""), ["a", "b"]);
    assert_eq!(of("use super::{c, b::{self, B}};", "fn f() -> super::a::A { A }", ""), ["a", "b"]);
    assert_eq!(of("use super::B;", "use super::A;", "pub use a::A; pub use b::{B as Bee, B};"), ["a", "b"]);
    assert_eq!(of("use super::B;", "use super::A;", "use a::x; struct A; struct B;"), [""; 0]);
    assert_eq!(of("use super::b::B;", "mod tests { use super::super::a::A; } use super::c::d::D;", ""), [""; 0]);
    assert_eq!(of("use super::b::B;", "use super::*; use crate::n::a::A;", "pub use a::A;"), [""; 0]);
}

#[test]
fn every_module_of_the_source_is_in_a_layer() {
    for source in sources() {
        layer(source.top());
    }
}

#[test]
fn only_the_gpu_module_names_wgpu() {
    let sources = sources();
    let names_wgpu = |source: &&Source| source.tokens.iter().any(|token| token == "wgpu");
    for source in sources.iter().filter(names_wgpu) {
        assert_eq!(source.top(), "gpu", "{} names wgpu", source.path);
    }
    assert!(sources.iter().filter(names_wgpu).count() > 0, "the gpu module is known to name it");
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
    let reference: Vec<&Source> = sources.iter().filter(|source| source.top() == "reference").collect();
    assert!(reference.len() > 10, "the reference has a file for each operation");
    for source in reference {
        let modules: Vec<String> = names_of_the_root(source).into_iter().filter(|name| name != "reference").collect();
        assert!(modules.is_empty(), "{} names {modules:?} of the crate", source.path);
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
    for source in sources.iter().filter(|source| layer(source.top()) < 5) {
        for pair in source.tokens.windows(2) {
            assert!(!(pair[1] == "!" && PRINTING.contains(&pair[0].as_str())), "{} has {}!", source.path, pair[0]);
            assert!(pair[0] != "pollster", "{} blocks on a future", source.path);
        }
    }
}

/// Reference files whose name differs from the kernel file's, and kernels that need no reference.
const REFERENCES: [(&str, Option<&str>); 7] = [
    ("bench", None),
    ("factored", Some("adafactor")),
    ("fill", None),
    ("norms", Some("norm")),
    ("effective_lr", Some("racs")),
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
        // A kernel's name or its file; libraries come after a plus or in a list. The files for a tile's three layouts
        // follow each other, and each but the first comes after the previous one's type.
        let of_layout = |before: &str| before.ends_with("\"scalar\", ") || before.ends_with("\"vec4\", ");
        let names = |before: &str| before.trim_end().ends_with(['=', ':']) || of_layout(before);
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
    // std's versions panic in wasm. Natively web_time's are the same types as std's, so clippy cannot tell them apart.
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
