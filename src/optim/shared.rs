//! What several methods share: reading their settings, and checking their parameters.

use super::update::Parameter;
use crate::kernels::scaled::MAX_COLS;
use crate::settings::{Role, Section};
use crate::{Error, Result};

/// Reads `betas` together, or `beta1` and `beta2`.
pub(super) fn read_betas(section: &mut Section, beta1: &mut f64, beta2: &mut f64) -> Result<()> {
    if let Some(betas) = section.get::<[f64; 2]>("betas")? {
        if ["beta1", "beta2"].iter().any(|beta| section.written_together("betas", beta)) {
            return Err(section.error("betas", "give `betas` or `beta1` and `beta2`, not both"));
        }
        [*beta1, *beta2] = betas;
    }
    section.set("beta1", beta1)?;
    section.set("beta2", beta2)
}

/// The rank of a subspace for a matrix with this smaller side: the setting, or a quarter of the side.
pub fn rank_for(rank: usize, small: usize) -> usize {
    if rank > 0 { rank } else { (small / 4).max(1) }
}

pub(super) fn rank_in_words(rank: usize) -> String {
    if rank > 0 { format!("rank {rank}") } else { "a quarter of the rank".into() }
}

/// [m, n] of a matrix.
///
/// Errors: a vector; `what` says what the rule does with a matrix.
pub(super) fn check_matrix(parameter: &Parameter<'_>, what: &str) -> Result<[usize; 2]> {
    match *parameter.shape {
        [m, n] => Ok([m, n]),
        _ => {
            let section = section_of(parameter.role);
            let Parameter { name, shape, .. } = parameter;
            let message = format!("{what}; {name} of shape {shape:?} is not a matrix: give {section} another");
            Err(Error::config(format!("{section}.name"), message))
        }
    }
}

/// Errors: more columns than a workgroup can keep in registers.
pub(super) fn check_width(parameter: &Parameter<'_>) -> Result<()> {
    let n = parameter.shape.last().copied().unwrap_or(0);
    if n <= MAX_COLS {
        return Ok(());
    }
    let message = format!("{} has {n} columns; this rule takes at most {MAX_COLS}", parameter.name);
    Err(Error::TooLarge(message))
}

/// The rank of a matrix's subspace.
///
/// Errors: a rank above the smaller side.
pub(super) fn check_rank(parameter: &Parameter<'_>, rank: usize) -> Result<usize> {
    let small = parameter.shape.iter().copied().min().unwrap_or(0);
    let rank = rank_for(rank, small);
    if rank <= small {
        return Ok(rank);
    }
    let Parameter { name, role, shape } = *parameter;
    let message = format!("is {rank}, above the smaller side of {name} {shape:?}: set it to {small} or less");
    Err(Error::config(format!("{}.rank", section_of(role)), message))
}

/// The section with a role's settings.
pub(super) fn section_of(role: Role) -> &'static str {
    match role {
        Role::Linear | Role::Adapter => "optimizer",
        Role::Embedding => "optimizer.embedding",
        Role::Head => "optimizer.head",
        Role::Norm | Role::Bias => "optimizer.norm",
    }
}
