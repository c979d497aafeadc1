//! The pages of docs/: their commands work, and their table of contents has them all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::program::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and the pages of docs/, each with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    paths.sort();
    paths.push(root().join("README.md"));
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The text of each fenced block with its language, and the lines outside of them.
fn blocks(page: &str) -> (Vec<(&str, String)>, Vec<&str>) {
    let (mut blocks, mut prose): (Vec<(&str, String)>, _) = (Vec::new(), Vec::new());
    let mut is_inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(language) => {
                is_inside = !is_inside;
                if is_inside {
                    blocks.push((language, String::new()));
                }
            }
            None if is_inside => blocks.last_mut().unwrap().1 += &format!("{line}\n"),
            None => prose.push(line),
        }
    }
    (blocks, prose)
}

/// The words after `multinorm` of every command of a page, comments left out.
fn commands(page: &str) -> Vec<Vec<String>> {
    let (blocks, prose) = blocks(page);
    let is_shell = |block: &&(&str, String)| block.0.is_empty();
    // A line that ends with a backslash goes on in the next.
    let joined: Vec<String> = blocks.iter().filter(is_shell).map(|(_, text)| text.replace("\\\n", " ")).collect();
    let of_blocks = joined.iter().flat_map(|text| text.lines());
    let of_prose = prose.iter().flat_map(|line| line.split('`').skip(1).step_by(2));
    let lines = of_blocks.chain(of_prose).filter_map(|line| {
        let line =
            line.strip_prefix("mpirun ").and_then(|line| line.find("multinorm ").map(|at| &line[at..])).unwrap_or(line);
        line.strip_prefix("multinorm ")
    });
    // Examples of a form, not commands.
    let lines = lines.filter(|line| !line.contains('…') && !line.contains("COMMAND"));
    lines.map(words).filter(|words| words.len() > 1).collect()
}

/// As a shell splits them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in line.chars() {
        match (quote, c) {
            (None, '#' | '|' | '<' | '>') => break,
            (None, '\'' | '"') => quote = Some(c),
            (Some(mark), _) if mark == c => quote = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_of_the_pages_is_one() {
    let mut n_commands = 0;
    for (path, page) in pages() {
        for args in commands(&page) {
            n_commands += 1;
            // Whoever asks for help after wrong words is told of those.
            let output = Command::new(PROGRAM).args(&args).env("MULTINORM_CHECK_ARGUMENTS", "1").output().unwrap();
            assert!(output.status.success(), "{}: multinorm {args:?}: {}", path.display(), stderr(&output));
        }
    }
    assert!(n_commands > 60, "{n_commands} commands");
    let wrong = Command::new(PROGRAM).args(["train", "--resumed", "x"]).env("MULTINORM_CHECK_ARGUMENTS", "1").output();
    assert_eq!(wrong.unwrap().status.code(), Some(2));
}

#[test]
fn links_lead_somewhere_and_the_contents_have_every_page() {
    for (path, page) in pages() {
        for link in blocks(&page).1.iter().flat_map(|line| line.split("](").skip(1)) {
            let target = link.split([')', '#', ' ']).next().unwrap();
            let is_file = !target.is_empty() && !target.contains("://");
            let found = path.parent().unwrap().join(target);
            assert!(!is_file || found.exists(), "{}: nothing at {target}", path.display());
        }
    }
    let contents = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    for (path, _) in pages() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_listed = ["README.md", "SUMMARY.md"].contains(&name) || contents.contains(&format!("({name})"));
        assert!(is_listed, "docs/SUMMARY.md does not have {name}");
    }
}

#[test]
fn the_first_page_works_from_beginning_to_end() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("my-texts")).unwrap();
    fs::write(folder.path().join("my-texts/one.txt"), text()).unwrap();
    let page = fs::read_to_string(root().join("docs/start.md")).unwrap();
    let config = blocks(&page).0.into_iter().find(|(language, _)| *language == "toml").expect("my.toml").1;
    // The same, in a few steps.
    let short = config.replace("steps = 300", "steps = 8").replace("every = 100", "every = 4");
    assert!(short.contains("steps = 8") && short.contains("every = 4"), "{config}");
    fs::write(folder.path().join("my.toml"), short).unwrap();
    let mut n_run = 0;
    for args in commands(&page) {
        let args: Vec<String> = args
            .into_iter()
            .map(|arg| arg.replace("step-00000300", "step-00000008").replace("train.steps=60", "train.steps=2"))
            .collect();
        let output = Command::new(PROGRAM)
            .args(&args)
            .current_dir(folder.path())
            .env("XDG_CACHE_HOME", folder.path().join("cache"))
            .output()
            .unwrap();
        // The run is done by then: there is nothing left to resume, which is no error.
        assert!(output.status.success(), "multinorm {args:?}: {}", stderr(&output));
        n_run += 1;
    }
    assert!(n_run >= 10, "{n_run} commands");
    for made in ["runs/first/texts.jsonl", "passes.svg", "comparison/report.html", "runs/tuned/metrics.jsonl"] {
        assert!(folder.path().join(made).exists(), "no {made}");
    }
}
