//! A matrix, or a stack of matrices of one shape, during its passes; only written when scaling vectors do not suffice.

use crate::gpu::{Recorder, Tensor};
use crate::kernels::newton_schulz::newton_schulz;
use crate::kernels::scaled::{self, MAX_COLS, Scaled, WholeNorm};
use crate::reference::newton_schulz::Sequence;
use crate::settings::{Pass, Spectral, SpectralVariant};
use crate::{Error, Result};

/// X while passes are recorded, m×n; a vector is a matrix of one row.
///
/// While passes only scale rows and columns, X is diag(r)·G·diag(c) and nothing of its size is written.
#[derive(Clone, Debug)]
pub struct Iterate {
    /// The current representation of X.
    pub x: Scaled,
}

impl Iterate {
    /// X = G.
    ///
    /// Errors: a matrix too wide for the registers of `scale_rows`.
    pub fn new(gradient: &Tensor) -> Result<Self> {
        Self::of(Scaled::new(gradient))
    }

    /// X = G for `batch` stacked matrices G of one shape, or vectors of one length.
    ///
    /// Errors: as [`Iterate::new`].
    pub(super) fn batch(gradients: &Tensor, batch: usize, shape: &[usize]) -> Result<Self> {
        match *shape {
            [m, n] => Self::of(Scaled::batch(gradients, batch, [m, n])),
            [n] => Self::of(Scaled::batch(gradients, batch, [1, n])),
            _ => panic!("expected a matrix, got {shape:?}"),
        }
    }

    fn of(x: Scaled) -> Result<Self> {
        let [m, n] = x.shape();
        if n > MAX_COLS {
            let message = format!("a matrix of {m}×{n} is too wide for passes, which take at most {MAX_COLS} columns");
            return Err(Error::TooLarge(message));
        }
        Ok(Self { x })
    }

    /// X = G, for passes recorded in several plans that run in order.
    ///
    /// Errors: as [`Iterate::new`].
    pub fn across_plans(gradient: &Tensor) -> Result<Self> {
        let mut iterate = Self::new(gradient)?;
        iterate.x.across_plans = true;
        Ok(iterate)
    }

    /// Zeroes rows whose norm is at most `threshold` times the mean.
    pub fn drop_rows(&mut self, rec: &mut Recorder, threshold: f64) {
        self.settle(rec);
        scaled::drop_rows(rec, &mut self.x, threshold);
    }

    /// Records passes in order; a row pass followed by a column pass shares one read.
    pub fn passes(&mut self, rec: &mut Recorder, passes: &[Pass]) {
        let mut at = 0;
        while at < passes.len() {
            if passes[at..].starts_with(&[Pass::Row, Pass::Column]) {
                self.settle(rec);
                scaled::scale_rows_and_columns(rec, &mut self.x, true, true);
                at += 2;
            } else {
                self.pass(rec, passes[at]);
                at += 1;
            }
        }
    }

    /// Records a list of passes `iterations` times. The device skips the remaining iterations once one, from the second
    /// on, changed X by at most `tolerance`, root mean square.
    ///
    /// Measuring costs one extra read of G per iteration.
    pub fn passes_until_settled(&mut self, rec: &mut Recorder, passes: &[Pass], iterations: usize, tolerance: f64) {
        self.passes(rec, passes);
        // A skipped iteration must not be the only one that wrote X, so each must end in the tensors it started with.
        if passes.iter().any(|pass| matches!(pass, Pass::Standardize | Pass::Spectral(_) | Pass::Sign)) {
            let home = self.materialize(rec);
            self.replace(&home);
        }
        let len = self.x.base.len();
        let partial = self.x.room(rec, "change partial sums", &[scaled::change_blocks(len)]);
        for iteration in 1..iterations {
            if iteration == 1 {
                self.measured_iteration(rec, passes, &partial);
            } else {
                // If it is skipped, the partial sums do not change, so later gates stay closed.
                scaled::while_changing(rec, &partial, len, tolerance, |rec| {
                    self.measured_iteration(rec, passes, &partial);
                });
            }
        }
    }

    /// One more iteration, and how much it changed X.
    fn measured_iteration(&mut self, rec: &mut Recorder, passes: &[Pass], partial: &Tensor) {
        let home = self.x.base.clone();
        let mut before = self.x.clone();
        before.r = self.copy(rec, before.r.as_ref());
        before.c = self.copy(rec, before.c.as_ref());
        self.passes(rec, passes);
        self.settle(rec);
        scaled::change(rec, &self.x, &before, partial);
        if self.x.base != home {
            self.materialize_into(rec, &home);
            self.replace(&home);
        }
    }

    fn copy(&self, rec: &mut Recorder, vector: Option<&Tensor>) -> Option<Tensor> {
        vector.map(|vector| {
            let copy = self.x.room(rec, "scaling before", &vector.shape);
            scaled::materialize(rec, &Scaled::new(vector), &copy);
            copy
        })
    }

    fn pass(&mut self, rec: &mut Recorder, pass: Pass) {
        let [m, n] = self.x.shape();
        if pass == Pass::Sign {
            self.x.sign = true;
            return;
        }
        self.settle(rec);
        match pass {
            Pass::Row => scaled::scale_rows_and_columns(rec, &mut self.x, true, false),
            Pass::Column => scaled::scale_rows_and_columns(rec, &mut self.x, false, true),
            Pass::Frobenius => {
                scaled::scale_whole(rec, &mut self.x, WholeNorm::Frobenius, ((m * n) as f64).sqrt());
            }
            Pass::Max => scaled::scale_whole(rec, &mut self.x, WholeNorm::Max, 1.0),
            Pass::Standardize => {
                let y = self.room(rec, "standardized");
                scaled::standardize(rec, &self.x, &y);
                self.replace(&y);
            }
            Pass::Spectral(spectral) => {
                let y = self.room(rec, "spectral");
                newton_schulz(rec, &self.x, &y, &coefficients(spectral), (m.max(n) as f64).sqrt());
                self.replace(&y);
            }
            Pass::Sign => unreachable!("above"),
        }
    }

    /// Scales X so that ‖X‖_F equals that of `of`.
    pub fn rescale_to_norm(&mut self, rec: &mut Recorder, of: &Tensor) {
        self.settle(rec);
        let of = self.x.like(of);
        let [of, own] = [&of, &self.x].map(|x| scaled::whole_factor(rec, x, WholeNorm::Frobenius, 1.0));
        scaled::multiply(rec, &mut self.x, &own, Some(&of));
    }

    /// Writes X to a new tensor.
    pub fn materialize(&self, rec: &mut Recorder) -> Tensor {
        let y = self.room(rec, "normalized");
        self.materialize_into(rec, &y);
        y
    }

    /// Writes X to `y`, which has as many elements.
    pub fn materialize_into(&self, rec: &mut Recorder, y: &Tensor) {
        scaled::materialize(rec, &self.x, y);
    }

    /// Writes a pending sign, which cannot be scaled or measured.
    fn settle(&mut self, rec: &mut Recorder) {
        if self.x.sign {
            self.replace(&self.materialize(rec));
        }
    }

    fn room(&self, rec: &mut Recorder, name: &str) -> Tensor {
        self.x.room(rec, name, &self.x.base.shape)
    }

    fn replace(&mut self, y: &Tensor) {
        self.x = self.x.like(y);
    }
}

/// (a, b, c) of every step.
fn coefficients(Spectral { variant, steps }: Spectral) -> Vec<[f64; 3]> {
    let steps = steps as usize;
    (0..steps).map(|step| sequence(variant).coefficients(step, steps)).collect()
}

/// The polynomials for a name in the configuration.
pub fn sequence(variant: SpectralVariant) -> Sequence {
    match variant {
        SpectralVariant::Cubic => Sequence::Cubic,
        SpectralVariant::Muon => Sequence::Muon,
        SpectralVariant::PolarExpress => Sequence::PolarExpress,
        SpectralVariant::MuonRefined => Sequence::MuonRefined,
    }
}
