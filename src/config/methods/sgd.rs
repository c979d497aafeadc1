use serde::Serialize;

use super::Settings;
use crate::config::check;
use crate::config::keys::Section;
use crate::{Error, Result};
/// Stochastic gradient descent, as PyTorch computes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SgdConfig {
    /// Decay of the summed gradient; 0 for none.
    pub momentum: f64,
    /// Added to the gradient, times the weight.
    pub weight_decay: f64,
    /// Whether to look one momentum step ahead.
    pub nesterov: bool,
}

impl Settings for SgdConfig {
    fn title(&self) -> &'static str {
        "sgd"
    }

    fn words(&self) -> String {
        "the gradient itself (SGD)".into()
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("momentum", &mut self.momentum)?;
        section.set("weight_decay", &mut self.weight_decay)?;
        section.set("nesterov", &mut self.nesterov)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::from_0_below_1(&key("momentum"), self.momentum)?;
        check::not_negative(&key("weight_decay"), self.weight_decay)?;
        if self.nesterov && self.momentum == 0.0 {
            return Err(Error::config(key("nesterov"), "looks ahead along the momentum, which is 0"));
        }
        Ok(())
    }

    fn is_stateless(&self) -> bool {
        self.momentum == 0.0
    }
}
