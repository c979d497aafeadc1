//! The lab in a desktop window.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use multinorm::config::{RunConfig, RunDefaults};
use multinorm::data::dataset::{self, Dataset};
use multinorm_lab::{App, Start, own_words, wgpu_configuration};

const HELP: &str = "\
multinorm-lab [LINK] [--picture FILE.png --after STEPS]

Trains a small LLaMA in a window and shows what normalization does.
LINK holds settings as the page's address does: 'panel=spectrum&optimizer=sinkgd,adam&seed=3'.
With --picture the window is written to a file once every run has made so many steps, and closed.";

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some((link, picture)) = parsed(&words) else {
        eprintln!("unknown words `{}`\n\n{HELP}", words.join(" "));
        return ExitCode::from(2);
    };
    let options = eframe::NativeOptions {
        viewport: eframe::egui::ViewportBuilder::default().with_inner_size([1280.0, 800.0]).with_title("multinorm lab"),
        wgpu_options: wgpu_configuration(),
        ..Default::default()
    };
    let dataset = corpus();
    let shown = eframe::run_native(
        "multinorm-lab",
        options,
        Box::new(|context| Ok(Box::new(App::new(context, Start::New { dataset, link })?.with_picture(picture)))),
    );
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the window cannot be opened: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The link, and the file and steps of a picture.
fn parsed(words: &[String]) -> Option<(String, Option<(PathBuf, u64)>)> {
    let (link, rest) = match words.split_first() {
        Some((link, rest)) if !link.starts_with('-') => (link.clone(), rest),
        _ => (String::new(), words),
    };
    match rest {
        [] => Some((link, None)),
        [picture, file, after, steps] if picture == "--picture" && after == "--after" => {
            Some((link, Some((file.into(), steps.parse().ok()?))))
        }
        _ => None,
    }
}

/// Jane Austen's novels with a tokenizer of their own, or what is at hand where they cannot be fetched.
fn corpus() -> Arc<Dataset> {
    let config = RunConfig::load(None, &[], RunDefaults::Software).expect("the default run");
    let loaded = dataset::load(&config.data, 512, &mut |line| eprintln!("data       {line}"));
    loaded.map(Arc::new).unwrap_or_else(|error| {
        eprintln!("data       {error}; training on this project's documentation instead");
        own_words().dataset().expect("enough words for both splits")
    })
}
