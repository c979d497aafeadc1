//! How a gradient becomes an update: one of the methods, a list of passes among them.

use serde::Serialize;

use super::Rule;
use super::method::{Directions, Method, SeenStep, ZerothOrder};
use super::passes::PassProgram;
use super::update::{Parameter, StateSpec};
use crate::Result;
use crate::settings::{AdapterConfig, Pass, check};

/// Makes [`Rule`] of a list of methods: file, type, and the name of its `rule` in the catalog.
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
            /// A method that is no list of passes, with its source's defaults; for the catalog's `rule` key.
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
    /// Whether nothing is carried from one step to the next.
    pub fn is_stateless(&self) -> bool {
        self.state_formula() == "0"
    }

    /// What is carried from one step to the next for a parameter, in the order in which it is saved.
    ///
    /// Errors: a parameter that it cannot move.
    pub fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        self.method().state(parameter)
    }

    /// Numbers that it carries for a matrix m×n, r the rank of its subspace: `m·n`, or `0`.
    pub fn state_formula(&self) -> String {
        self.method().state_formula()
    }

    /// Multiplications of the matrix products in an update of a matrix m×n, k its smaller side; empty where there are none.
    pub fn products_formula(&self) -> String {
        self.method().products_formula()
    }

    /// How many of `count` parameters of one shape, with gradients of `bytes` each, it moves at once.
    pub fn at_once(&self, count: usize, bytes: u64) -> usize {
        self.method().at_once(count, bytes)
    }

    /// Its last step on a matrix by the state after it, up to a factor, and its name; none where that does not tell, and of
    /// a list of passes.
    pub fn seen_step(&self, seen: &SeenStep<'_>) -> Option<(&'static str, Vec<f64>)> {
        self.method().seen_step(seen)
    }

    /// The adapters that it trains in the place of the model, if it does.
    pub fn adapter(&self) -> Option<AdapterConfig> {
        self.on_losses().and_then(|method| method.adapter())
    }

    /// Directions of a step in an epoch, from 0, of a run of so many; 0 where a gradient is taken.
    pub fn queries_at(&self, epoch: u64, epochs: f64) -> u32 {
        self.on_losses().map_or(0, |method| method.queries_at(epoch, epochs))
    }

    /// How it estimates the gradient, if it is a zeroth-order method: one that takes losses alone.
    pub fn zeroth_order(&self) -> Option<Directions> {
        self.on_losses().map(|method| method.directions())
    }

    pub(super) fn on_losses(&self) -> Option<&dyn ZerothOrder> {
        self.method().zeroth_order()
    }

    /// What to call it in a message about a key: `adam`.
    pub(super) fn title(&self) -> &'static str {
        self.method().title()
    }

    /// What to call it in a report: `row, column × 5`, `momentum 0.95, spectral:muon:5`, `AdamW (no list of passes)`.
    pub fn describe(&self) -> String {
        match self {
            Self::Passes(program) => program.describe(),
            _ => format!("{} (no list of passes)", self.method().describe()),
        }
    }

    /// A list of passes without anything around it.
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
