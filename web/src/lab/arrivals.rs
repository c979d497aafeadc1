//! Input from outside: texts to train on, matrices to inspect, folders of runs.

use std::sync::Arc;

use multinorm::checkpoint::{NamedTensor, tensors_of_bytes};
use multinorm::config::{OptimizerConfig, Rule, RunConfig};
use multinorm::data::dataset::{Dataset, TokenizerChoice};
use multinorm::data::tokenizer::Tokenizer;
use multinorm::normalize::Matrix;
use multinorm::train::{GradientSample, Snapshot, SpectrumRecord, StepReport};
use multinorm::{Error, Result};

use super::{Lab, Look, RunView, Status};
use crate::engine::Command;
use crate::platform::{Job, Source, Wanted};
use crate::settings::{FIRST_PARAMETER, Panel, matrices};

/// Share of a text that is held out for validation.
const VALIDATION: f64 = 0.05;
/// Vocabulary size of the tokenizer trained on a text, in the window.
const VOCABULARY: usize = 512;
/// Elements of the largest matrix to accept; its singular values take about a minute.
const MOST_ELEMENTS: usize = 4 << 20;
/// Above this product of elements and shorter side, show the matrix before its singular values are computed.
const MUCH_WORK: usize = 100 << 20;

/// Something to open, prepared as far as possible away from the drawing thread.
pub enum Arrival {
    /// A safetensors file.
    Tensors {
        /// The file.
        name: String,
        /// Its tensors, or why one cannot be read.
        tensors: Vec<Result<NamedTensor>>,
    },
    /// A text, split into tokens.
    Text(Arc<Dataset>),
    /// A run's folder.
    Run(Box<FolderRun>),
    /// Why it cannot be opened.
    Refused(String),
}

impl Arrival {
    /// Reads a file's bytes as tensors or as text, depending on its name.
    pub fn of_file(name: String, bytes: &[u8]) -> Self {
        let found = if name.ends_with(".safetensors") {
            tensors_of_bytes(bytes, &name).map(|tensors| Self::Tensors { name, tensors })
        } else {
            match std::str::from_utf8(bytes) {
                Ok(text) => Text { name, license: "yours".into(), text: text.into() }.dataset().map(Self::Text),
                Err(_) => Err(Error::Data(format!("{name} is neither a text in UTF-8 nor a .safetensors file"))),
            }
        };
        found.unwrap_or_else(|error| Self::Refused(error.to_string()))
    }
}

/// The matrix of a tensor.
///
/// Errors: it is not a matrix of finite numbers, or it is too large.
fn matrix(tensor: NamedTensor) -> Result<Matrix> {
    let NamedTensor { name, shape, values } = tensor;
    match shape[..] {
        [_, _] if values.len() > MOST_ELEMENTS => {
            let message = format!("{name} has {} elements; the limit is {MOST_ELEMENTS}", values.len());
            Err(Error::Data(message))
        }
        [_, _] => Matrix::new(name, &shape, values),
        _ => Err(Error::Data(format!("{name} has shape {shape:?} and is not a matrix"))),
    }
}

/// A text to train on.
pub struct Text {
    /// Its name.
    pub name: String,
    /// Its terms of use.
    pub license: String,
    /// The text.
    pub text: String,
}

impl Text {
    /// Splits the text for training and validation, and into tokens: bytes in the page, its own BPE tokenizer in the
    /// window.
    ///
    /// Errors: the text is too short to hold anything out.
    pub fn dataset(self) -> Result<Arc<Dataset>> {
        let (choice, vocab_size) = if cfg!(target_arch = "wasm32") {
            (TokenizerChoice::Bytes, Tokenizer::bytes().vocab_size())
        } else {
            (TokenizerChoice::Bpe, VOCABULARY)
        };
        let Self { name, license, text } = self;
        Ok(Arc::new(Dataset::from_documents(vec![text], name, license, choice, vocab_size, VALIDATION)?))
    }
}

/// A file of matrices shown in place of the runs.
pub struct Opened {
    /// The file.
    pub file: String,
    /// Its matrices.
    pub matrices: Vec<Matrix>,
    /// The index of the selected one.
    pub chosen: usize,
    /// The looks at it, as if it were a gradient.
    pub view: RunView,
    /// This file's generation number.
    pub generation: u64,
}

/// The contents of a run's folder; nothing is ever written into it.
pub struct FolderRun {
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: RunConfig,
    /// Every step's numbers, with the seconds of training up to it.
    pub steps: Vec<(StepReport, f64)>,
    /// Step, seconds, loss on the held-out text.
    pub evaluations: Vec<(u64, f64, f64)>,
    /// The spectra that the run recorded.
    pub spectra: Vec<SpectrumRecord>,
    /// Its text and its newest weights, or why it cannot be resumed.
    pub revived: std::result::Result<(Arc<Dataset>, Snapshot), String>,
}

impl Lab {
    /// Opens an arrival, or shows why it cannot be opened.
    pub fn open(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Tensors { name, tensors } => self.open_tensors(name, tensors),
            Arrival::Text(dataset) => self.learn(dataset),
            Arrival::Run(run) => self.open_run(*run),
            Arrival::Refused(message) => self.notice = message,
        }
    }

    /// Starts new runs on another text.
    pub fn learn(&mut self, dataset: Arc<Dataset>) {
        self.dataset = dataset;
        self.reset();
        self.run(true);
    }

    /// Shows the matrices of a file in place of the runs.
    fn open_tensors(&mut self, file: String, tensors: Vec<Result<NamedTensor>>) {
        let (mut matrices, mut left_out) = (Vec::new(), Vec::new());
        for tensor in tensors {
            match tensor.and_then(matrix) {
                Ok(matrix) => matrices.push(matrix),
                Err(why) => left_out.push(why.to_string()),
            }
        }
        self.notice = match (left_out.len(), left_out.first()) {
            (0, _) | (_, None) => String::new(),
            (1, Some(why)) => format!("one tensor was skipped: {why}"),
            (count, Some(why)) => format!("{count} tensors were skipped; the first: {why}"),
        };
        if matrices.is_empty() {
            let why = std::mem::take(&mut self.notice);
            self.notice = format!("{file} has no usable matrix: {why}");
            return;
        }
        let generation = self.next_generation();
        self.opened = Some(Opened { file, matrices, chosen: 0, view: RunView::default(), generation });
        self.settings.panel = Panel::Watch;
        self.open_matrix(0);
    }

    /// Follows another matrix of the opened file through the first optimizer's passes, or SinkGD's if it has none.
    pub fn open_matrix(&mut self, chosen: usize) {
        let named = OptimizerConfig::named(&self.settings.optimizers[0]).map(|config| config.linear.rule);
        let (optimizer, rule) = match named {
            Ok(rule @ Rule::Passes(_)) => (self.settings.optimizers[0].clone(), rule),
            _ => match OptimizerConfig::named("sinkgd") {
                Ok(config) => ("sinkgd".to_owned(), config.linear.rule),
                Err(error) => return self.fail(error),
            },
        };
        let sets = self.settings.sets(&optimizer, self.dataset.vocab_size);
        let Some(opened) = &mut self.opened else { return };
        opened.chosen = chosen;
        (opened.view.label, opened.view.optimizer) = (opened.file.clone(), optimizer);
        let of = Source { run: None, generation: opened.generation };
        let matrix = &opened.matrices[chosen];
        let sample = Box::new(GradientSample {
            step: 0,
            parameter: matrix.name().to_owned(),
            shape: matrix.shape(),
            rule,
            gradient: matrix.values().to_vec(),
            clip: 1.0,
            states: Vec::new(),
        });
        self.settings.step = None;
        self.player.restart();
        // The singular values of a large matrix take a minute; show everything else right away.
        if sample.gradient.len() * sample.shape[0].min(sample.shape[1]) > MUCH_WORK {
            let (sets, sample) = (sets.clone(), sample.clone());
            self.looking += 1;
            self.follower.send(Job::Sample { of, sets, sample, wanted: Wanted::WithoutSpectra });
        }
        self.looking += 1;
        self.follower.send(Job::Sample { of, sets, sample, wanted: Wanted::Followed });
    }

    /// Goes back to the runs.
    pub fn close_file(&mut self) {
        self.opened = None;
        self.player.restart();
    }

    /// Shows a run that was trained earlier. If its text and weights are available, the lab can continue it: it starts
    /// paused, with the gradient of the step that would come next.
    pub fn open_run(&mut self, run: FolderRun) {
        let FolderRun { name, mut config, steps, evaluations, spectra, revived } = run;
        self.retire();
        self.close_file();
        self.settings.step = None;
        // The lab keeps every gradient until the next step and writes nothing; results are bit-identical.
        (config.train.fused_update, config.spectra.every) = (false, 0);
        let known = matrices(&config);
        let recorded = spectra.first().map(|record| record.parameter.clone());
        if !known.contains(&self.settings.parameter) || recorded.is_some() {
            self.settings.parameter = recorded.unwrap_or_else(|| FIRST_PARAMETER.into());
        }
        self.runs =
            vec![RunView { optimizer: name.clone(), label: name.clone(), steps, evaluations, ..RunView::default() }];
        self.recorded = spectra;
        self.folder = Some(name);
        self.set_configs(vec![config]);
        self.show_recorded();
        self.goes = false;
        match revived {
            Ok((dataset, snapshot)) => {
                self.runs[0].snapshot = Some(snapshot.clone());
                self.dataset = dataset;
                self.build(vec![snapshot], true);
                self.send(Command::Look);
            }
            Err(why) => {
                self.forget_questions();
                self.generation_of_runs = self.next_generation();
                let (dataset, generation) = (self.dataset.clone(), self.generation_of_runs);
                self.send(Command::Build { configs: vec![], dataset, from: vec![], peek: false, generation });
                self.status = Status::Record { why };
            }
        }
    }

    /// Leaves the run's folder and starts new runs from the lab's own settings and text.
    pub fn close_run(&mut self) {
        self.folder = None;
        self.dataset = self.own_text.clone();
        self.reset();
        self.run(true);
    }

    /// Shows what the opened run recorded of the selected parameter, as looks.
    pub(super) fn show_recorded(&mut self) {
        let Some(run) = self.runs.first_mut() else { return };
        for record in self.recorded.iter().filter(|record| record.parameter == self.settings.parameter) {
            run.push_look(Look::new(record.clone().into(), None));
        }
    }
}
