//! The steps of the lesson: explanation, task, and the test that the task is solved.

use multinorm::config::Pass;

use super::LessonPanel;
use super::board::Board;

/// One step of the lesson.
pub struct Step {
    pub title: &'static str,
    pub words: &'static [&'static str],
    pub formula: &'static str,
    pub task: &'static str,
    /// Shown once the task is solved.
    pub answer: &'static str,
    /// The step's matrices; it begins with the first. If empty, the previous step's matrix stays.
    pub presets: &'static [&'static str],
    /// What the step shows and offers beside the matrix.
    pub tools: &'static [Tool],
    pub is_solved: fn(&LessonPanel) -> bool,
}

/// What a step can show and offer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tool {
    /// Distances from balance after each pass.
    Convergence,
    /// Singular values.
    Spectrum,
    /// Distances to guess before the passes run.
    Guess,
    /// A rate to guess before it is shown.
    RateGuess,
    /// The spectral pass and the sign pass.
    MorePasses,
    /// Whole optimizers.
    Optimizers,
}

use Tool::{Convergence, Guess, MorePasses, Optimizers, RateGuess, Spectrum};

/// The steps in order.
pub const STEPS: [Step; 10] = [
    Step {
        title: "A gradient's size means little",
        words: &[
            "This is the gradient G of a small weight matrix W: one row per output, one column per input. Blue \
             entries are positive, orange ones negative. Bars show the lengths of rows and columns.",
            "How large its entries are depends on the loss, the batch and the depth of the layer. That scale is \
             incidental, and mostly so are the sizes of its rows and columns. η is the learning rate.",
        ],
        formula: "W ← W − η · G",
        task: "Make one entry over 100 times as large as another, ignoring signs. Choose a brush, then paint \
         entries.",
        answer: "Plain SGD would move one weight over 100 times as far as the other.",
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
            "A row pass rescales every row to the same length, √n for n columns. Directions do not change.",
            "Bars on the right show row lengths, bars below show column lengths. Lines mark the targets; a bar \
             turns grey within 1 % of its target.",
        ],
        formula: "x_{i,:} ← √n · x_{i,:} / ‖x_{i,:}‖₂",
        task: "Press row. Look at the bars on the right, then at those below.",
        answer: "Now every row has its target length. The columns do not.",
        presets: &[],
        tools: &[],
        is_solved: |lesson| lesson.board.passes().last() == Some(&Pass::Row),
    },
    Step {
        title: "Columns: every input counts equally",
        words: &[
            "A column pass does the same for columns: length √m for m rows.",
            "It also changes the row lengths: making one side exact disturbs the other.",
        ],
        formula: "x_{:,j} ← √m · x_{:,j} / ‖x_{:,j}‖₂",
        task: "Press row, then column. Which side is exact now?",
        answer: "Always the side of the last pass; a log plot cannot show its error of 0. The other side is off, \
         but here by less than before.",
        presets: &[],
        tools: &[Convergence],
        is_solved: |lesson| lesson.board.passes().ends_with(&[Pass::Row, Pass::Column]),
    },
    Step {
        title: "Alternate, and both sides settle",
        words: &[
            "A round is a row pass followed by a column pass. Round by round, rows and columns both approach their \
             targets. The optimizer SinkGD runs five rounds and uses the result as its step.",
            "Each pass only rescales rows or columns, so two vectors r and c describe the whole result. Rescaling \
             a row or column of G beforehand does not change where the passes converge.",
        ],
        formula: "X = diag(r) · G · diag(c)",
        task: "Predict: drag the diamonds to the row distance you expect after each round. Then press “5 \
         rounds”.",
        answer: "After a few rounds the distance shrinks by nearly the same factor each round: almost a straight \
         line on this log plot.",
        presets: &[],
        tools: &[Convergence, Guess],
        is_solved: |lesson| lesson.guess.is_made() && lesson.board.rounds() >= 5,
    },
    Step {
        title: "Every pass ends at the same size",
        words: &[
            "If every row has length √n, the squared entries sum to m·n. So they do if every column has length √m.",
            "So after any pass the entries have a root mean square of exactly 1, whatever the gradient's size. \
             One learning rate moves the weights equally far in every layer.",
        ],
        formula: "‖X‖_F = √(m·n)",
        task: "Choose “one huge entry”. Press a pass and watch size (rms).",
        answer: "It was far from 1. One pass brings it to 1.",
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
        title: "Rank one: only the signs remain",
        words: &[
            "Passes multiply by positive numbers, so signs never change and zeros stay zero.",
            "A batch of one token gives a rank-one gradient: a column times a row. The size of each entry is then \
             a row factor times a column factor, and the passes remove both.",
        ],
        formula: "u·v^⊤ → sign(u)·sign(v)^⊤",
        task: "Press row, then column. What is every entry now?",
        answer: "Plus or minus one, after one round. On such gradients SinkGD is signSGD, which uses only the \
         signs.",
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
             square of the second is the rate: near balance, each round leaves that share of the distance. Signs do \
             not matter.",
            "Rows with their large entries in the same columns even out at once: the rate is near 0. Groups of rows \
             that use separate columns are slow. For two equal groups with a share p of the squared entries inside \
             the two blocks, the rate is about (2p − 1)². A few entries far larger than the rest act like small, \
             leaky groups.",
        ],
        formula: "error_{k+1} ≈ σ₂² · error_k",
        task: "Guess the rate of each matrix: 0 means done at once, 1 never. Press Check after each guess.",
        answer: "Blocks are slowest, then heavy entries. Even entries are nearly done after one round.",
        presets: &["even entries", "heavy entries", "two blocks"],
        tools: &[Convergence, RateGuess],
        is_solved: |lesson| lesson.rates.len() >= 3,
    },
    Step {
        title: "When it never ends",
        words: &[
            "Three rows have entries in only two columns. Their squares would have to sum to 3·n, but two columns \
             hold only 2·m.",
            "An upper triangular matrix does reach balance in the limit, but everything above its diagonal must \
             vanish, ever more slowly.",
        ],
        formula: "3·n > 2·m  where m = n",
        task: "Run at least 10 rounds on “no support”. Do rows and columns ever reach their targets? Then run 10 on \
         “triangular”.",
        answer: "The first alternates forever between one matrix after row passes and another after column \
         passes. The second converges, but after k rounds its distance is still of order 1/k.",
        presets: &["no support", "triangular"],
        tools: &[Convergence],
        is_solved: |lesson| ["no support", "triangular"].iter().all(|preset| lesson.long_runs.contains(preset)),
    },
    Step {
        title: "What balance does not do",
        words: &[
            "How far a step can stretch a vector is its operator norm, the largest singular value. Balance bounds it \
             only loosely.",
            "Two other optimizers, SWAN and Muon, keep it small by making all singular values nearly equal. That \
             takes matrix products; SinkGD needs none.",
        ],
        formula: "U·Σ·V^⊤ → √max(m, n) · U·V^⊤",
        task: "Run SinkGD, SWAN and Muon on this matrix. Which keep the operator norm small?",
        answer: "SWAN and Muon: their singular values are nearly equal. SinkGD's largest stays well above its \
         smallest.",
        presets: &["two blocks"],
        tools: &[Convergence, Spectrum, MorePasses, Optimizers],
        is_solved: |lesson| ["sinkgd", "swan", "muon"].iter().all(|name| lesson.tried.contains(name)),
    },
    Step {
        title: "Now watch a real one",
        words: &[
            "A language model is training on this device. Watch follows the gradient of any of its matrices \
             through the passes as training goes on. Why shows what determines its rate.",
            "Each tile is one of the network's matrices: the brighter, the slower it converges. X is the matrix \
             after the last pass, η the learning rate, α the optimizer's own factor.",
        ],
        formula: "W ← W − η · α · X",
        task: "Open Watch, click the brightest tile, then the darkest. How many rounds does each need for 1 %?",
        answer: "Watch shows the number of rounds above its “Distance from balance” plot.",
        presets: &[],
        tools: &[Convergence],
        is_solved: |lesson| lesson.watched,
    },
];

/// Every step's matrices.
#[cfg(test)]
pub fn presets() -> impl Iterator<Item = &'static str> {
    STEPS.iter().flat_map(|step| step.presets).copied()
}

impl Step {
    pub fn has(&self, tool: Tool) -> bool {
        self.tools.contains(&tool)
    }

    /// Puts the step's first matrix on the board, unless one of its matrices is already there.
    pub fn set_up(&self, board: &mut Board) {
        if let Some(first) = self.presets.first()
            && !self.presets.contains(&board.preset)
        {
            board.take(first);
        }
    }
}
