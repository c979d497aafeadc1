//! SubZero (Yu et al. 2024, arXiv 2410.08989, algorithm 1): MeZO whose direction for a matrix is U·Z₀·Vᵀ, with normal
//! Z₀ `[r, r]` and random orthonormal U and V that are kept for T steps; vectors use MeZO's directions.
//!
//! The direction is scaled by √(mn)/r, as in the authors' code, which makes it as long as one of full rank.

use serde::Serialize;

use super::method::{Directions, Method, Subspace, ZerothOrder};
use super::mezo::Mezo;
use super::shared::{check_rank, rank_for};
use super::update::{Parameter, Perturbed, State, StateSpec};
use crate::Result;
use crate::gpu::{Class, DType, Recorder};
use crate::kernels::random::gaussian;
use crate::kernels::subspace::random_basis;
use crate::kernels::zeroth_order::perturb_low_rank;
use crate::kernels::{Output, matmul};
use crate::reference::random::stream;
use crate::settings::{Section, check};

/// SubZero (Yu et al. 2024, arXiv 2410.08989): MeZO with low-rank directions in a subspace for each matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subzero {
    /// The settings it shares with MeZO.
    #[serde(flatten)]
    pub mezo: Mezo,
    /// r, the rank of every matrix's directions.
    pub rank: usize,
    /// T: steps between redraws of the subspaces.
    pub update_interval: u32,
}

impl Default for Subzero {
    fn default() -> Self {
        Self { mezo: Mezo::default(), rank: 8, update_interval: 2000 }
    }
}

impl Method for Subzero {
    fn title(&self) -> &'static str {
        "subzero"
    }

    fn describe(&self) -> String {
        format!("SubZero of rank {}", self.rank)
    }

    fn read_keys(&mut self, section: &mut Section) -> Result<()> {
        section.set("rank", &mut self.rank)?;
        section.set("update_interval", &mut self.update_interval)?;
        self.mezo.read_keys(section)
    }

    fn validate(&self, key: &dyn Fn(&str) -> String) -> Result<()> {
        check::at_least_1(&key("rank"), self.rank as u64)?;
        check::at_least_1(&key("update_interval"), self.update_interval.into())?;
        self.mezo.validate(key)
    }

    /// Uᵀ and Vᵀ for a matrix; none for a vector.
    fn state(&self, parameter: &Parameter<'_>) -> Result<Vec<StateSpec>> {
        let [m, n] = *parameter.shape else { return Ok(Vec::new()) };
        let rank = check_rank(parameter, self.rank)?;
        Ok([("left_basis", m), ("right_basis", n)].map(|(what, len)| StateSpec::new(what, &[rank, len])).into())
    }

    fn state_formula(&self) -> String {
        "(m + n)·r".into()
    }

    /// Computed inside the kernel that moves the weight, three times.
    fn products_formula(&self) -> String {
        "3·r·m·n".into()
    }

    fn zeroth_order(&self) -> Option<&dyn ZerothOrder> {
        Some(self)
    }
}

impl ZerothOrder for Subzero {
    fn directions(&self) -> Directions {
        self.mezo.directions()
    }

    fn subspace(&self, shape: &[usize]) -> Option<Subspace> {
        let [m, n] = *shape else { return None };
        Some(Subspace { rank: rank_for(self.rank, m.min(n)), interval: self.update_interval })
    }

    fn prepare(&self, rec: &mut Recorder, parameter: &Perturbed<'_>, states: &[State]) {
        let shared = [parameter.step.statistics, parameter.step.step];
        for State { name, tensor } in states {
            random_basis(rec, tensor, shared, self.update_interval, stream(name));
        }
    }

    /// One read and one write of W, and r products per weight.
    fn record_move(&self, rec: &mut Recorder, parameter: &Perturbed<'_>, states: &[State], lr: f64) {
        let [left, right] = states else { return self.mezo.record_move(rec, parameter, states, lr) };
        let Perturbed { name, weight, how, step, .. } = *parameter;
        let (rank, [m, n]) = (left.tensor.shape[0], [weight.shape[0], weight.shape[1]]);
        let core = rec.transient(Class::Scratch, DType::F32, "random core", &[rank, rank]);
        gaussian(rec, &core, step.step, 1.0, stream(name), 1);
        let product = rec.transient(Class::Scratch, DType::F32, "left basis times core", &[m, rank]);
        matmul::tn(rec, &left.tensor, &core, &product, Output::Write);
        let scale = ((m * n) as f64).sqrt() / rank as f64;
        let constants = self.mezo.constants(lr, &weight.shape);
        perturb_low_rank(rec, weight, [&product, &right.tensor], [how, step.step], scale, constants);
    }
}
