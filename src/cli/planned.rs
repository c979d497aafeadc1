//! The device that a run is planned for.

use std::collections::BTreeMap;
use std::path::Path;

use multinorm::Result;
use multinorm::config::RunConfig;
use multinorm::gpu::{Gpu, Profile};
use multinorm::train::{kept_variants_of, variants_of_run};

/// The variants that the run or comparison in a directory started with, if it is resumed and has any.
pub fn original_variants(folder: Option<&Path>) -> Result<Option<BTreeMap<String, String>>> {
    Ok(folder.map(variants_of_run).transpose()?.flatten())
}

/// The device a run is planned for.
pub struct Planned {
    /// The adapter's name, or the assumption made without one.
    pub name: String,
    /// Without the measured variants.
    pub profile: Profile,
    pub gpu: Option<Gpu>,
    /// The variants that the run started with, if it is resumed.
    pub original_variants: Option<BTreeMap<String, String>>,
}

impl Planned {
    /// The profile with the variants the run will use: the scratch memory of a product depends on them.
    ///
    /// Errors: the run cannot be recorded.
    pub fn profile_of(&self, config: &RunConfig) -> Result<Profile> {
        let mut profile = self.profile.clone();
        if let Some(choices) = &self.original_variants {
            profile.choices.clone_from(choices);
        } else if let Some(gpu) = self.gpu.as_ref().filter(|_| config.train.measure_variants) {
            profile.choices = kept_variants_of(config, gpu)?;
        }
        Ok(profile)
    }
}
