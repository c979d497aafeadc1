//! The ranks that an MPI launcher started, and what they must agree on before they train.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use multinorm::config::{RunConfig, RunDefaults};
use multinorm::data::dataset::{self, DataIdentity, Dataset};
use multinorm::distributed::Group;
use multinorm::gpu::{AdapterChoice, Gpu, list_adapters};
use multinorm::{Error, Result};
use serde::{Deserialize, Serialize};

use super::console::note;
use super::data::DataProgress;

/// Variables that say how many processes were started together, by Open MPI, by MPICH and Intel MPI, and by Slurm's step.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// The group of this process; `None` if it was started alone.
///
/// Errors: it was started as one of several, and this program is built without MPI.
pub fn join() -> Result<Option<Arc<Group>>> {
    let size = SIZES.iter().find_map(|name| std::env::var(name).ok()?.parse::<usize>().ok()).unwrap_or(1);
    if size < 2 { Ok(None) } else { join_mpi(size).map(Some) }
}

#[cfg(feature = "mpi")]
fn join_mpi(size: usize) -> Result<Arc<Group>> {
    let group = Group::start(multinorm::distributed::Mpi::join)?;
    if group.size() != size {
        return Err(Error::Ranks(format!(
            "{size} processes were started together, but MPI knows of {}: start them with the launcher of the MPI library \
             that this program is built with (with Slurm, `srun --mpi=pmix`)",
            group.size()
        )));
    }
    super::console::set_rank(group.rank());
    Ok(Arc::new(group))
}

#[cfg(not(feature = "mpi"))]
fn join_mpi(size: usize) -> Result<Arc<Group>> {
    Err(Error::Ranks(format!(
        "{size} processes were started together, but this program is built without MPI and each would make the same run: \
         build it with `cargo build --release --features mpi`"
    )))
}

/// Leaves the group, together with all others.
pub fn leave(group: Option<Arc<Group>>) {
    // Whoever still holds it has failed, and ends without leaving.
    if let Some(group) = group.and_then(Arc::into_inner) {
        group.leave();
    }
}

/// The adapter of this rank: the user's choice, or else the ranks of a host take its GPUs in turn.
pub fn adapter_of(group: &Group, choice: AdapterChoice) -> Result<AdapterChoice> {
    if choice.adapter.is_some() {
        return Ok(choice);
    }
    let adapters = pollster::block_on(list_adapters(&choice))?;
    let gpus: Vec<_> = adapters.iter().filter(|adapter| adapter.device_type == adapters[0].device_type).collect();
    let own = gpus[group.local_rank() % gpus.len()];
    Ok(AdapterChoice { adapter: Some(own.index.to_string()), ..choice })
}

/// Rank 0's settings on every rank, with micro-batches for all of them. `own` is what rank 0 was asked for.
///
/// Errors: there are fewer sequences than ranks.
pub fn settings(group: &Group, own: Option<RunConfig>) -> Result<RunConfig> {
    let text = own.map(|config| for_ranks(config, group.size())).transpose()?.map_or(String::new(), |c| c.to_toml());
    let text = String::from_utf8(group.from_rank_0(text.into_bytes())?).expect("TOML is text");
    RunConfig::load(Some((Path::new("rank 0's settings"), &text)), &[], RunDefaults::Software)
}

/// Lowers the micro-batch size until there is a micro-batch for each rank.
fn for_ranks(mut config: RunConfig, ranks: usize) -> Result<RunConfig> {
    let train = &mut config.train;
    if train.batch_size < ranks {
        let message =
            format!("{} sequences a step are too few for {ranks} ranks: each takes one or more", train.batch_size);
        return Err(Error::config("train.batch_size", message));
    }
    if train.n_micro_batches() < ranks {
        let before = train.micro_batch_size;
        let fits = |micro: &usize| train.batch_size.is_multiple_of(*micro) && train.batch_size / micro >= ranks;
        train.micro_batch_size = (1..=before).rev().find(fits).unwrap_or(1);
        note!(
            "ranks      micro-batches of {} sequences instead of {before}, so that each rank has one",
            train.micro_batch_size
        );
    }
    Ok(config)
}

/// Loads the data; on each host one rank does so first, and fills the cache for the others.
///
/// Errors: as [`dataset::load`], and texts that differ between ranks.
pub fn load_data(group: &Group, config: &RunConfig) -> Result<Dataset> {
    let load = || dataset::load(&config.data, config.model.vocab_size, &mut DataProgress::new());
    let first = if group.local_rank() == 0 { Some(load()?) } else { None };
    group.barrier()?;
    let dataset = first.map_or_else(load, Ok)?;
    let own = serde_json::to_vec(&dataset.identity()?).expect("plain data");
    let identities = group.gather(own).wait()?.into_iter();
    let identities: Vec<DataIdentity> =
        identities.map(|bytes| serde_json::from_slice(&bytes).expect("another rank's identity")).collect();
    match identities.iter().position(|other| *other != identities[0]) {
        None => Ok(dataset),
        Some(rank) => Err(Error::Data(format!(
            "the ranks have different data: {} on rank 0, {} on rank {rank}. Give every host the same texts and tokenizer",
            identities[0], identities[rank]
        ))),
    }
}

/// Rank 0's kernel variants, for all ranks with the same adapter and driver: the same kernels give the same bits. Ranks
/// with another adapter choose with `choose`.
pub fn share_variants(group: &Group, gpu: &mut Gpu, choose: impl FnOnce(&mut Gpu) -> Result<()>) -> Result<()> {
    let variants = |gpu: &Gpu| Variants {
        adapter: gpu.adapter_name.clone(),
        driver: gpu.driver.clone(),
        choices: gpu.profile.choices.clone(),
    };
    let own = if group.rank() == 0 { serde_json::to_vec(&variants(gpu)).expect("plain data") } else { Vec::new() };
    let shared: Variants = serde_json::from_slice(&group.from_rank_0(own)?).expect("rank 0's variants");
    if (&shared.adapter, &shared.driver) != (&gpu.adapter_name, &gpu.driver) {
        return choose(gpu);
    }
    gpu.profile.choices = shared.choices;
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Variants {
    adapter: String,
    driver: String,
    choices: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_batches_are_made_for_all_ranks() {
        let of = |batch: usize, micro: usize, ranks: usize| {
            let sets = [format!("train.batch_size={batch}"), format!("train.micro_batch_size={micro}")];
            for_ranks(RunConfig::load(None, &sets, RunDefaults::Software).unwrap(), ranks)
        };
        for (batch, micro, ranks, want) in [(8, 8, 2, 4), (8, 2, 4, 2), (8, 8, 3, 2), (6, 6, 6, 1), (7, 7, 2, 1)] {
            assert_eq!(of(batch, micro, ranks).unwrap().train.micro_batch_size, want, "{batch} {micro} {ranks}");
        }
        let error = of(2, 2, 3).unwrap_err().to_string();
        assert!(error.contains("2 sequences a step are too few for 3 ranks"), "{error}");
    }
}
