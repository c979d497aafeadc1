//! Settings of the rules that are no list of passes, a file for each family, named as its file in [`crate::optim`].
//!
//! What the rest of the crate asks of them is [`Settings`]; [`super::rule`] lists them.

mod adafactor;
mod adalomo;
mod adam_nonzero;
mod adamw;
mod adazeta;
mod apollo;
mod extrapolated_sgd;
mod fira;
mod galore;
mod h_fac;
mod lion;
mod mezo;
mod racs;
mod sgd;
mod subzero;

pub use adafactor::AdafactorConfig;
pub use adalomo::AdalomoConfig;
pub use adam_nonzero::{AdamNonzeroConfig, SecondMomentStart};
pub use adamw::AdamwConfig;
pub use adazeta::AdazetaConfig;
pub use apollo::{ApolloConfig, ScaleOf};
pub use extrapolated_sgd::ExtrapolatedSgdConfig;
pub use fira::FiraConfig;
pub use galore::GaloreConfig;
pub use h_fac::HFacConfig;
pub use lion::LionConfig;
pub use mezo::MezoConfig;
pub use racs::RacsConfig;
pub use sgd::SgdConfig;
pub use subzero::SubzeroConfig;

use super::AdapterConfig;
use super::keys::Section;
use crate::Result;

/// What is asked of a rule's settings.
pub(super) trait Settings {
    /// What to call the rule in a message about a key.
    fn title(&self) -> &'static str;

    /// What to call it in a report.
    fn words(&self) -> String;

    /// Takes the section's keys.
    fn read_keys(&mut self, section: &mut Section) -> Result<()>;

    /// Refuses values for which an update would be undefined; `key` turns a key into its place.
    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()>;

    /// Whether nothing is carried from one step to the next.
    fn is_stateless(&self) -> bool {
        false
    }

    /// How it estimates the gradient where it takes losses alone.
    fn zeroth_order(&self) -> Option<&MezoConfig> {
        None
    }

    /// The adapters that it trains in the place of the model.
    fn adapter(&self) -> Option<AdapterConfig> {
        None
    }

    /// Directions of a step in an epoch, from 0, of a run of so many; 0 where a gradient is taken.
    fn queries_at(&self, _epoch: u64, _epochs: f64) -> u32 {
        self.zeroth_order().map_or(0, |hyper| hyper.queries)
    }
}

/// `betas` together, or `beta1` and `beta2`.
fn read_betas(section: &mut Section, beta1: &mut f64, beta2: &mut f64) -> Result<()> {
    if let Some(betas) = section.get::<[f64; 2]>("betas")? {
        if ["beta1", "beta2"].iter().any(|beta| section.written_together("betas", beta)) {
            return Err(section.error("betas", "give `betas` or `beta1` and `beta2`, not both"));
        }
        [*beta1, *beta2] = betas;
    }
    section.set("beta1", beta1)?;
    section.set("beta2", beta2)
}

/// The rank of a subspace for a matrix whose smaller side is this long: as it was set, or a quarter of the side.
pub fn rank_for(rank: usize, small: usize) -> usize {
    if rank > 0 { rank } else { (small / 4).max(1) }
}

fn rank_in_words(rank: usize) -> String {
    if rank > 0 { format!("rank {rank}") } else { "a quarter of the rank".into() }
}
