//! The steps of the lesson: what is said, what is to be found out, and when it was.

use multinorm::config::Pass;

use super::LessonPanel;
use super::board::Board;

/// A step of the way.
pub struct Step {
    pub title: &'static str,
    pub words: &'static [&'static str],
    pub formula: &'static str,
    pub task: &'static str,
    /// What is said once the task is solved.
    pub answer: &'static str,
    /// The matrices that the step is about, the first of which it begins with; the matrix of the step before where there
    /// is none.
    pub presets: &'static [&'static str],
    /// What is drawn and offered beside the matrix.
    pub tools: &'static [Tool],
    pub is_solved: fn(&LessonPanel) -> bool,
}

/// What a step may draw and offer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tool {
    /// Distances from balance, pass by pass.
    Convergence,
    /// Singular values.
    Spectrum,
    /// Distances that are guessed before the passes run.
    Guess,
    /// A rate that is guessed before it is told.
    RateGuess,
    /// The spectral pass and that of signs.
    MorePasses,
    /// Whole optimizers.
    Optimizers,
}

use Tool::{Convergence, Guess, MorePasses, Optimizers, RateGuess, Spectrum};

/// In their order.
pub const STEPS: [Step; 10] = [
    Step {
        title: "A gradient's size means little",
        words: &[
            "This is the gradient G of a small weight matrix W: a row for each output, a column for each input. Blue \
             entries are positive, orange ones negative; the bars are the lengths of rows and columns.",
            "How large its numbers are depends on the loss, the batch and the depth of the layer. That is incidental, \
             and so, mostly, are the sizes of its rows and columns. η is the learning rate.",
        ],
        formula: "W ← W − η · G",
        task: "Make one entry over 100 times larger than another, whatever their signs. Choose a brush, then paint \
         entries.",
        answer: "A plain step would move one weight over 100 times as far as the other.",
        presets: &["gradient"],
        tools: &[],
        is_solved: |lesson| {
            let sizes = lesson.board.x().iter().map(|x| x.abs()).filter(|x| *x > 0.0);
            let [least, most] = sizes.fold([f64::MAX, 0.0_f64], |[least, most], x| [least.min(x), most.max(x)]);
            most > 100.0 * least
        },
    },
    Step {
        title: "Rows: every output's weights move equally far",
        words: &[
            "A row pass gives every row the same length, √n for n columns, and keeps its direction.",
            "The bars at the right are the lengths of the rows, those below of the columns. The lines are their \
             targets; a bar turns grey within 1 % of its own.",
        ],
        formula: "x_{i,:} ← √n · x_{i,:} / ‖x_{i,:}‖₂",
        task: "Press row. Look at the bars at the right, then at those below.",
        answer: "Every row has its target length now. The columns do not.",
        presets: &[],
        tools: &[],
        is_solved: |lesson| lesson.board.passes().last() == Some(&Pass::Row),
    },
    Step {
        title: "Columns: every input counts alike",
        words: &[
            "A column pass does the same to the columns: length √m for m rows.",
            "It cannot leave the rows alone: making one side exact disturbs the other.",
        ],
        formula: "x_{:,j} ← √m · x_{:,j} / ‖x_{:,j}‖₂",
        task: "Press row, then column. Which side is exact now?",
        answer: "Always the side of the last pass; a logarithmic plot cannot show its zero. The other side is off, \
         but here by less than before.",
        presets: &[],
        tools: &[Convergence],
        is_solved: |lesson| lesson.board.passes().ends_with(&[Pass::Row, Pass::Column]),
    },
    Step {
        title: "Take turns, and both sides settle",
        words: &[
            "A round is a row pass and then a column pass. From round to round, rows and columns both approach their \
             targets. The optimizer SinkGD makes five rounds and takes the result as its step.",
            "Every pass only rescales rows or columns, so two vectors r and c describe the whole result, and scaling \
             a row or a column of G beforehand does not change where the passes end.",
        ],
        formula: "X = diag(r) · G · diag(c)",
        task: "Predict: drag the diamonds to the distance of the rows that you expect after each round. Then press “5 \
         rounds”.",
        answer: "After a few rounds the distance shrinks by nearly the same factor every round: nearly a straight \
         line on this logarithmic plot.",
        presets: &[],
        tools: &[Convergence, Guess],
        is_solved: |lesson| lesson.guess.is_made() && lesson.board.rounds() >= 5,
    },
    Step {
        title: "Every pass ends at the same size",
        words: &[
            "If every row has length √n, all squares sum to m·n. The same holds if every column has length √m.",
            "So after any pass the entries have a root mean square of exactly 1, whatever the gradient's size was: \
             one learning rate moves the weights equally far in every layer.",
        ],
        formula: "‖X‖_F = √(m·n)",
        task: "Choose “one huge entry”. Press a pass, and watch size (rms).",
        answer: "It was far from 1, and is 1 after one pass.",
        presets: &["gradient", "one huge entry"],
        tools: &[Convergence],
        is_solved: |lesson| {
            let rms =
                |at: usize| lesson.board.states.get(at).map_or(1.0, |state| state.seen.entry.quantities.frobenius);
            lesson.board.preset == "one huge entry"
                && lesson.board.states.len() > 1
                && rms(0) > 3.0
                && (rms(1) - 1.0).abs() < 1e-6
        },
    },
    Step {
        title: "Rank one: only the signs are left",
        words: &[
            "Passes multiply by positive numbers: no sign ever changes, and a zero stays a zero.",
            "A batch of a single token gives a gradient of rank one: a column times a row. Each entry's size is then \
             a factor of its row times one of its column, and the passes remove all of it.",
        ],
        formula: "u·v^⊤ → sign(u)·sign(v)^⊤",
        task: "Press row, then column. What is every entry now?",
        answer: "Plus or minus one, after one round: on such gradients SinkGD is signSGD, which steps by the signs \
         alone.",
        presets: &["rank one"],
        tools: &[Convergence, Spectrum],
        is_solved: |lesson| {
            lesson.board.passes().len() >= 2 && lesson.board.x().iter().all(|x| (x.abs() - 1.0).abs() < 1e-3)
        },
    },
    Step {
        title: "Why some matrices are slow",
        words: &[
            "Balance the matrix, square its entries, and scale them so that the largest singular value is 1. The \
             second one, squared, is the rate: near balance, each round leaves that share of the distance. Signs play \
             no part.",
            "Rows that have their large entries in the same columns even out at once: near 0. Groups of rows with \
             columns of their own are slow: for two equal groups the rate is about the square of the share of their \
             squares inside the two blocks less that outside. A few entries far larger than the rest act like small, \
             leaky groups.",
        ],
        formula: "error_{k+1} ≈ σ₂² · error_k",
        task: "Guess the rate of each of the three matrices: 0 is done at once, 1 is never. Then press Check.",
        answer: "Blocks are slowest, heavy entries come next, and even entries are nearly done after a round.",
        presets: &["even entries", "heavy entries", "two blocks"],
        tools: &[Convergence, RateGuess],
        is_solved: |lesson| lesson.rates.len() >= 3,
    },
    Step {
        title: "When it never ends",
        words: &[
            "Three rows have entries in only two columns. Their squares must sum to 3·n, but two columns hold only \
             2·m.",
            "An upper triangular matrix does come to balance, but everything above its diagonal must vanish, ever \
             more slowly.",
        ],
        formula: "3·n > 2·m  where m = n",
        task: "Run at least 10 rounds with “no support”. Do rows and columns ever reach their targets? Then 10 with \
         “triangular”.",
        answer: "The first alternates forever between a matrix after the row passes and another after the column \
         passes. The second converges, but after k rounds its distance has fallen only like 1/k.",
        presets: &["no support", "triangular"],
        tools: &[Convergence],
        is_solved: |lesson| ["no support", "triangular"].iter().all(|preset| lesson.long_runs.contains(preset)),
    },
    Step {
        title: "What balance does not do",
        words: &[
            "Balance bounds only loosely how far a step can stretch a vector: that is the operator norm, the largest \
             singular value.",
            "Two other optimizers, SWAN and Muon, keep it small. They replace every singular value by nearly the same \
             one, which takes matrix products; SinkGD takes none.",
        ],
        formula: "U·Σ·V^⊤ → √max(m, n) · U·V^⊤",
        task: "Run SinkGD, SWAN and Muon on this one matrix. Which keep the operator norm small?",
        answer: "SWAN and Muon: their singular values are nearly equal. SinkGD's largest stays well above its \
         smallest.",
        presets: &["two blocks"],
        tools: &[Convergence, Spectrum, MorePasses, Optimizers],
        is_solved: |lesson| ["sinkgd", "swan", "muon"].iter().all(|name| lesson.tried.contains(name)),
    },
    Step {
        title: "Now watch a real one",
        words: &[
            "A language model trains on this device. Watch shows the gradient of any of its matrices on its way \
             through the passes, step after step; Why shows what decides its rate.",
            "Tiles show the network's matrices; the brighter one is, the slower it converges. X is the matrix after \
             the last pass, η the learning rate, α a factor of the optimizer's own.",
        ],
        formula: "W ← W − η · α · X",
        task: "Open Watch, click the brightest tile and then the darkest. How many rounds does each need for 1 %?",
        answer: "Watch prints the number of rounds above its plot of the distance from balance.",
        presets: &[],
        tools: &[Convergence],
        is_solved: |lesson| lesson.watched,
    },
];

/// Every matrix that a step is about.
#[cfg(test)]
pub fn presets() -> impl Iterator<Item = &'static str> {
    STEPS.iter().flat_map(|step| step.presets).copied()
}

impl Step {
    pub fn has(&self, tool: Tool) -> bool {
        self.tools.contains(&tool)
    }

    /// Puts the step's own matrix on the board, if it has one that is not there.
    pub fn set_up(&self, board: &mut Board) {
        if let Some(first) = self.presets.first()
            && !self.presets.contains(&board.preset)
        {
            board.take(first);
        }
    }
}
