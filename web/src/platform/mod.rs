//! What a window and a page do differently, behind the same names.

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
use multinorm::train::{Direction, Followed, GradientSample, Tile};
use serde::{Deserialize, Serialize};

/// What is computed away from the thread that draws.
pub enum Job {
    /// A sample is looked into.
    Sample {
        /// Whose it is.
        of: Source,
        #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "a thread is handed the rule itself"))]
        /// The run's settings as `--set` words, from which a worker knows the rule again.
        sets: Vec<String>,
        /// What was read.
        sample: Box<GradientSample>,
        /// What is wanted of it.
        wanted: Wanted,
    },
    /// Something that needs no sample.
    Question(Question),
}

/// Whose a sample is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Source {
    /// The run; none for a file that is open and for the recorded gradient.
    pub run: Option<usize>,
    /// Counts new runs and new files: answers to questions about earlier ones are dropped.
    pub generation: u64,
}

/// What needs no sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// A field of the map of rates.
    Cell {
        /// Its column.
        aspect: usize,
        /// Its row.
        row: usize,
    },
    /// A matrix of independent entries.
    Make {
        /// [m, n].
        shape: [usize; 2],
        /// Of its balanced entries.
        heaviness: f64,
    },
}

/// A matrix of independent entries that was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SyntheticMatrix {
    /// [m, n].
    pub shape: [usize; 2],
    /// Of its balanced entries.
    pub heaviness: f64,
    /// Where it leads; none if there is no such matrix.
    pub balance: Option<BalancePicture>,
}

/// What came of [`Question`].
#[derive(Debug, Serialize, Deserialize)]
pub enum QuestionAnswer {
    /// See [`Question::Cell`].
    Cell {
        /// Its column.
        aspect: usize,
        /// Its row.
        row: usize,
        /// What is known of it.
        cell: Cell,
    },
    /// See [`Question::Make`].
    SyntheticMatrix(SyntheticMatrix),
}

impl Question {
    /// Computes it.
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

/// What is wanted of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Wanted {
    /// Its whole way through the optimizer's passes.
    Followed,
    /// The same without singular values.
    WithoutSpectra,
    /// A tile of the atlas; the parameter moves at `rate` times the learning rate of the linear layers.
    Tile {
        /// See [`Tile::of`].
        rate: f64,
    },
    /// One singular value's vectors.
    Direction(Pointed),
}

/// A singular value of a matrix after some passes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pointed {
    /// The look's number.
    pub look: u64,
    /// Passes done.
    pub half_step: usize,
    /// From 0 for the largest.
    pub sigma: usize,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub enum SampleAnswer {
    /// See [`Wanted::Followed`].
    Followed(Box<Followed>),
    /// See [`Wanted::Tile`].
    Tile(Tile),
    /// See [`Wanted::Direction`]; none if the matrix has fewer singular values.
    Direction(Pointed, Option<Direction>),
}

impl SampleAnswer {
    /// Computes it.
    pub fn of(sample: &GradientSample, wanted: Wanted) -> Self {
        match wanted {
            Wanted::Followed => Self::Followed(Box::new(Followed::of(sample))),
            Wanted::WithoutSpectra => Self::Followed(Box::new(Followed::without_spectra(sample))),
            Wanted::Tile { rate } => Self::Tile(Tile::of(sample, rate)),
            Wanted::Direction(pointed) => {
                Self::Direction(pointed, Direction::of(sample, pointed.half_step, pointed.sigma))
            }
        }
    }
}

/// What came of a [`Job`].
pub enum Done {
    /// See [`Job::Sample`].
    Sample {
        /// Whose it is.
        of: Source,
        /// The sample itself, for saving and for directions.
        sample: Box<GradientSample>,
        /// What was found.
        found: SampleAnswer,
    },
    /// See [`Job::Question`].
    Question(QuestionAnswer),
}
