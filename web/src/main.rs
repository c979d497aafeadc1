//! The lab in a desktop window.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use multinorm::config::{RunConfig, RunDefaults};
use multinorm::data::dataset::{self, Dataset};
use multinorm::data::progress::Progress;
use multinorm_lab::{App, Arrival, Orders, Start, open, own_words, wgpu_configuration};

const HELP: &str = "\
multinorm-lab [LINK] [RUN | FILE] [--picture FILE.png --after STEPS] [--lose-device STEPS]

Trains a small LLaMA in a window and shows what normalization does.
LINK holds settings as in the page's address: 'panel=why&optimizer=sinkgd,adam&seed=3'.
RUN is a folder made by `multinorm train --out`. The lab shows its curves and spectra, lets you inspect the gradient of
its next step, and can continue its training, but only in the window: nothing is written into the folder.
FILE is a text to train on, or a .safetensors file of matrices to inspect. You can also drop a RUN or FILE on the window.
--picture saves a picture of the window once every run has made STEPS steps, then closes the window.
--lose-device destroys the device after STEPS steps, as a driver reset would; the lab continues in a new window.";

/// A device lost sooner than this after its window opened counts as lost at once.
const A_WHILE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Words { link, path, mut orders } = match Words::parse(&words) {
        Ok(words) => words,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let mut progress = |line: &str| eprintln!("data       {line}");
    let first = match path.map(|path| open(&path, &mut progress)) {
        Some(Arrival::Refused(why)) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
        first => first,
    };
    let mut start = Start::New { dataset: corpus(&first, &mut progress), link, first };
    let mut quick_losses = 0;
    loop {
        let options = eframe::NativeOptions {
            viewport: eframe::egui::ViewportBuilder::default()
                .with_inner_size([1280.0, 800.0])
                .with_title("multinorm lab"),
            wgpu_options: wgpu_configuration(),
            ..Default::default()
        };
        let (began, its_orders) = (Instant::now(), orders.clone());
        let window = || {
            eframe::run_native(
                "multinorm-lab",
                options,
                Box::new(|context| Ok(Box::new(App::new(context, start)?.with_orders(its_orders)))),
            )
        };
        // A renderer that hits a lost device before the lab notices panics.
        let shown = std::panic::catch_unwind(AssertUnwindSafe(window));
        if let Some(lab) = orders.survivor.take() {
            quick_losses = if began.elapsed() < A_WHILE { quick_losses + 1 } else { 0 };
            if quick_losses == 3 {
                eprintln!("the device was lost three times in a row, each time at once; giving up");
                return ExitCode::FAILURE;
            }
            eprintln!("the device was lost; the lab goes on in a new window");
            orders.lose_device = None;
            start = Start::Survivor(Box::new(lab));
            continue;
        }
        return match shown {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) => {
                eprintln!("the window cannot be opened: {error}");
                ExitCode::FAILURE
            }
            Err(panic) => std::panic::resume_unwind(panic),
        };
    }
}

/// What the command line asks for.
#[derive(Default)]
struct Words {
    link: String,
    path: Option<PathBuf>,
    orders: Orders,
}

impl Words {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut parsed = Self::default();
        let (mut picture, mut after) = (None, None);
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let mut value = || rest.next().cloned().ok_or_else(|| format!("{word} wants a value"));
            let steps =
                |value: String| value.parse().map_err(|_| format!("{word} wants a number of steps, got `{value}`"));
            match word.as_str() {
                "--picture" => picture = Some(value()?.into()),
                "--after" => after = Some(steps(value()?)?),
                "--lose-device" => parsed.orders.lose_device = Some(steps(value()?)?),
                word if word.starts_with('-') => return Err(format!("unknown option `{word}`")),
                word if Path::new(word).exists() => parsed.path = Some(word.into()),
                word if word.contains('=') => parsed.link = word.into(),
                word => {
                    return Err(format!("`{word}` is neither a link (key=value&…) nor a folder or file that exists"));
                }
            }
        }
        parsed.orders.picture = match (picture, after) {
            (Some(picture), after) => Some((picture, after.unwrap_or(1))),
            (None, None) => None,
            (None, Some(_)) => return Err("--after belongs to --picture".into()),
        };
        Ok(parsed)
    }
}

/// The text to train on: the one that is opened, else Jane Austen's novels with their own tokenizer, or this project's
/// documentation if they cannot be fetched.
fn corpus(first: &Option<Arrival>, progress: &mut dyn Progress) -> Arc<Dataset> {
    match first {
        Some(Arrival::Text(dataset)) => return dataset.clone(),
        Some(Arrival::Run(run)) => {
            if let Ok((dataset, _)) = &run.revived {
                return dataset.clone();
            }
        }
        _ => {}
    }
    let config = RunConfig::load(None, &[], RunDefaults::Software).expect("the default run");
    let loaded = dataset::load(&config.data, 512, progress);
    loaded.map(Arc::new).unwrap_or_else(|error| {
        eprintln!("data       {error}; training on this project's documentation instead");
        own_words().dataset().expect("enough words for both splits")
    })
}
