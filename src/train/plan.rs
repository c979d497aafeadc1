//! The plans of a run.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

/// Dispatches that a run replays together. A run has the plans that its optimizer and batches need; `parts` defines the
/// order in which a step replays them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plan {
    /// Loss and gradients of a step's first micro-batch, overwriting gradients; with fused updates the whole step.
    FirstMicroBatch,
    /// The same for another micro-batch, accumulating. In a zeroth-order step only the loss, at w + d.
    NextMicroBatch,
    /// From gradients to new weights.
    Update,
    /// In a zeroth-order step: from w to w + d, and the first micro-batch's loss there.
    FirstAtPlus,
    /// On to w − d, and the first micro-batch's loss there.
    FirstAtMinus,
    /// Another micro-batch's loss at w − d.
    NextAtMinus,
    /// Back to w, and on along the last direction.
    Back,
    /// Along an earlier direction.
    Along,
    /// The loss of one batch of an evaluation.
    Evaluate,
}

impl Plan {
    /// Its name in timing tables and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstMicroBatch => "first micro-batch",
            Self::NextMicroBatch => "next micro-batch",
            Self::Update => "update",
            Self::FirstAtPlus => "first micro-batch at w + d",
            Self::FirstAtMinus => "first micro-batch at w - d",
            Self::NextAtMinus => "next micro-batch at w - d",
            Self::Back => "back to w",
            Self::Along => "along an earlier direction",
            Self::Evaluate => "evaluate",
        }
    }

    /// The weight of a replay's time in the update time. In a zeroth-order step this counts all moves of the weights;
    /// those to w + d and to w − d share a plan with losses, and each takes as long as the move back.
    pub fn updates(self) -> f64 {
        match self {
            Self::Update | Self::Along => 1.0,
            Self::Back => 3.0,
            _ => 0.0,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl From<Plan> for Cow<'static, str> {
    fn from(plan: Plan) -> Self {
        Self::Borrowed(plan.name())
    }
}
