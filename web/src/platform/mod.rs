//! Platform differences between the window and the page, behind a common interface.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod web;

#[cfg(not(target_arch = "wasm32"))]
pub use native::{
    EngineThread, Follower, address, open, read, save, serve, show_link, wants_less_motion, yield_to_event_loop,
};
#[cfg(target_arch = "wasm32")]
pub use web::{EngineThread, Follower, address, read, save, serve, show_link, wants_less_motion, yield_to_event_loop};

use multinorm::spectrum::{Balance, BalancePicture, Cell, Map, with_heaviness};
use multinorm::train::{Direction, Followed, GradientSample, MatrixSummary};
use serde::{Deserialize, Serialize};

/// Work done away from the drawing thread.
pub enum Job {
    /// Analyses a sample.
    Sample {
        /// Where it comes from.
        of: Source,
        #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "a thread is handed the rule itself"))]
        /// The run's settings as `--set` arguments, from which a worker reconstructs the rule.
        sets: Vec<String>,
        /// The sample.
        sample: Box<GradientSample>,
        /// What to compute from it.
        wanted: Wanted,
    },
    /// Something that needs no sample.
    Question(Question),
}

/// Where a sample comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Source {
    /// The run; `None` for an open file and for the recorded gradient.
    pub run: Option<usize>,
    /// Counts new runs and new files, so that answers about earlier ones can be dropped.
    pub generation: u64,
}

/// Work that needs no sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// Computes a cell of the map of rates.
    Cell {
        /// Its column.
        aspect: usize,
        /// Its row.
        row: usize,
    },
    /// Generates a matrix of independent entries.
    Make {
        /// [m, n].
        shape: [usize; 2],
        /// The heaviness of its balanced entries.
        heaviness: f64,
    },
}

/// A generated matrix of independent entries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SyntheticMatrix {
    /// [m, n].
    pub shape: [usize; 2],
    /// The heaviness of its balanced entries.
    pub heaviness: f64,
    /// Its balanced form; `None` if there is no such matrix.
    pub balance: Option<BalancePicture>,
}

/// The answer to a [`Question`].
#[derive(Debug, Serialize, Deserialize)]
pub enum QuestionAnswer {
    /// See [`Question::Cell`].
    Cell {
        /// Its column.
        aspect: usize,
        /// Its row.
        row: usize,
        /// The computed cell.
        cell: Cell,
    },
    /// See [`Question::Make`].
    SyntheticMatrix(SyntheticMatrix),
}

impl Question {
    /// Computes the answer.
    pub fn found(self) -> QuestionAnswer {
        match self {
            Self::Cell { aspect, row } => QuestionAnswer::Cell { aspect, row, cell: Map::default().cell(aspect, row) },
            Self::Make { shape, heaviness } => {
                let made = with_heaviness(shape, heaviness, 0);
                let balance = made.and_then(|made| Balance::of(&made.x, shape)).map(BalancePicture::from);
                QuestionAnswer::SyntheticMatrix(SyntheticMatrix { shape, heaviness, balance })
            }
        }
    }
}

/// What to compute from a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Wanted {
    /// The matrix after each of the optimizer's passes.
    Followed,
    /// The same without singular values.
    WithoutSpectra,
    /// A tile of the atlas; the parameter's learning rate is `rate` times that of the linear layers.
    Summary {
        /// See [`MatrixSummary::of`].
        rate: f64,
    },
    /// One singular value's vectors.
    Direction(Pointed),
}

/// A singular value of a matrix after some passes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pointed {
    /// The look's id.
    pub look: u64,
    /// Passes done.
    pub half_step: usize,
    /// Its index, 0 for the largest.
    pub sigma: usize,
}

/// The result for a sample.
#[derive(Debug, Serialize, Deserialize)]
pub enum SampleAnswer {
    /// See [`Wanted::Followed`].
    Followed(Box<Followed>),
    /// See [`Wanted::Summary`].
    Summary(MatrixSummary),
    /// See [`Wanted::Direction`]; `None` if the matrix has fewer singular values.
    Direction(Pointed, Option<Direction>),
}

impl SampleAnswer {
    /// Computes the result.
    pub fn of(sample: &GradientSample, wanted: Wanted) -> Self {
        match wanted {
            Wanted::Followed => Self::Followed(Box::new(Followed::of(sample))),
            Wanted::WithoutSpectra => Self::Followed(Box::new(Followed::without_spectra(sample))),
            Wanted::Summary { rate } => Self::Summary(MatrixSummary::of(sample, rate)),
            Wanted::Direction(pointed) => {
                Self::Direction(pointed, Direction::of(sample, pointed.half_step, pointed.sigma))
            }
        }
    }
}

/// A finished [`Job`].
pub enum Done {
    /// See [`Job::Sample`].
    Sample {
        /// Where it comes from.
        of: Source,
        /// The sample itself, for saving and for directions.
        sample: Box<GradientSample>,
        /// The result.
        found: SampleAnswer,
    },
    /// See [`Job::Question`].
    Question(QuestionAnswer),
}
