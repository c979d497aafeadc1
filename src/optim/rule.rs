//! How a gradient becomes an update: a list of passes or another method.

use serde::Serialize;

use super::Rule;
use super::method::{Directions, Method, SeenStep, ZerothOrder};
use super::passes::PassProgram;
use super::update::{Parameter, StateSpec};
use crate::Result;
use crate::settings::{AdapterConfig, Pass, check};

/// Generates [`Rule`] from a list of methods: file, type, and the name of its `rule` in the catalog.
macro_rules! rules {
    ($($file:ident::$method:ident = $name:literal,)*) => {
        $(pub use $file::$method;)*

        /// How a gradient becomes an update.
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(tag = "name", rename_all = "kebab-case")]
        pub enum Rule {
            $(
                #[doc = concat!("See [`", stringify!($method), "`](struct@", stringify!($method), ").")]
                $method($method),
            )*
            /// A list of normalizing passes, repeated; SinkGD is `row, column` five times.
            #[serde(untagged)]
            Passes(PassProgram),
        }

        impl Rule {
            /// A method other than a list of passes, with its source's defaults; for the catalog's `rule` key.
            fn of_method(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$method($method::default())),)*
                    _ => None,
                }
            }

            fn method(&self) -> &dyn method::Method {
                match self {
                    $(Self::$method(method) => method,)*
                    Self::Passes(program) => program,
                }
            }

            fn method_mut(&mut self) -> &mut dyn method::Method {
                match self {
                    $(Self::$method(method) => method,)*
                    Self::Passes(program) => program,
                }
            }
        }
    };
}
pub(super) use rules;

/// A rule and its peak learning rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// How the gradient becomes an update.
    #[serde(flatten)]
    pub rule: Rule,
    /// Peak learning rate.
    pub lr: f64,
}

impl Rule {
    /// Whether it carries no state between steps.
    pub fn is_stateless(&self) -> bool {
        self.state_formula() == "0"
    }

    /// The state it carries between steps for a parameter, in the order of checkpoints.
    ///
    /// Errors: a parameter that it cannot update.
    pub fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        self.method().state(parameter)
    }

    /// Size of its state for an m×n matrix, with r the rank of its subspace: `m·n`, or `0`.
    pub fn state_formula(&self) -> String {
        self.method().state_formula()
    }

    /// Multiplications in the matrix products of an update of an m×n matrix, with k its smaller side; empty if there
    /// are none.
    pub fn products_formula(&self) -> String {
        self.method().products_formula()
    }

    /// How many of `count` parameters of one shape, with gradients of `bytes` each, it updates together.
    pub fn parameters_per_update(&self, count: usize, bytes: u64) -> usize {
        self.method().parameters_per_update(count, bytes)
    }

    /// Its last step on a matrix, up to a factor, from the state after it, with its name; `None` if the state does not
    /// determine it, and for a list of passes.
    pub fn seen_step(&self, seen: &SeenStep<'_>) -> Option<(&'static str, Vec<f64>)> {
        self.method().seen_step(seen)
    }

    /// The adapters that it trains instead of the model, if any.
    pub fn adapter(&self) -> Option<AdapterConfig> {
        self.on_losses().and_then(|method| method.adapter())
    }

    /// Directions per step in an epoch, from 0, of a run of `epochs`; 0 if it takes a gradient.
    pub fn queries_at(&self, epoch: u64, epochs: f64) -> u32 {
        self.on_losses().map_or(0, |method| method.queries_at(epoch, epochs))
    }

    /// How it estimates the gradient, if it is a zeroth-order method, which takes only losses.
    pub fn zeroth_order(&self) -> Option<Directions> {
        self.on_losses().map(|method| method.directions())
    }

    pub(super) fn on_losses(&self) -> Option<&dyn ZerothOrder> {
        self.method().zeroth_order()
    }

    /// Its name in messages about keys: `adam`.
    pub(super) fn title(&self) -> &'static str {
        self.method().title()
    }

    /// Its name in reports: `row, column × 5`, `momentum 0.95, spectral:muon:5`, `AdamW (no list of passes)`.
    pub fn describe(&self) -> String {
        match self {
            Self::Passes(program) => program.describe(),
            _ => format!("{} (no list of passes)", self.method().describe()),
        }
    }

    /// A list of passes with default settings.
    pub(super) fn bare(passes: Vec<Pass>) -> Self {
        Self::Passes(PassProgram::bare(passes))
    }
}

impl Recipe {
    pub(super) fn validate(&self, section: &str) -> Result<()> {
        check::positive(&format!("{section}.lr"), self.lr)?;
        self.rule.method().validate(&|key| format!("{section}.{key}"))
    }
}
