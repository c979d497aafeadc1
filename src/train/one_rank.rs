//! In place of `ranks` in a browser, where a run has one rank.

use std::ops::Range;
use std::sync::Arc;

use super::parts::Part;
use super::recording::Recorded;
use super::snapshot::Snapshot;
use crate::Result;
use crate::config::{DistributedConfig, RunConfig};
use crate::gpu::{Gpu, Schedule, Workspace};

/// There is none.
pub(super) enum Group {}

/// There are none.
pub(super) enum Ranks {}

pub(super) struct Layout;

impl Layout {
    pub fn new(_: &mut Recorded, _: &DistributedConfig) -> Self {
        Self
    }
}

impl Ranks {
    pub async fn new(group: Arc<Group>, _: &Gpu, _: &Workspace, _: &RunConfig, _: Layout) -> Result<Self> {
        match *group {}
    }

    pub fn share(&self) -> Range<usize> {
        match *self {}
    }

    pub fn n_ranks(&self) -> usize {
        match *self {}
    }

    pub fn rank(&self) -> usize {
        match *self {}
    }

    pub fn run(&mut self, _: &Gpu, _: &Workspace, _: &Part, _: Schedule) -> Result<()> {
        match *self {}
    }

    pub fn is_due(&self, _: u64, _: u64) -> bool {
        match *self {}
    }

    pub fn average(&mut self, _: &[Vec<f32>]) -> Result<Option<Vec<Vec<f32>>>> {
        match *self {}
    }

    pub fn restart(&mut self, _: &[Vec<f32>], _: Vec<Vec<f32>>) {
        match *self {}
    }

    pub fn add_velocity(&self, _: &mut Snapshot, _: &RunConfig) {
        match *self {}
    }

    pub fn check_weights(&self, _: u64, _: &[Vec<f32>]) -> Result<bool> {
        match *self {}
    }

    pub fn share_snapshot(&self, _: &mut Snapshot) -> Result<()> {
        match *self {}
    }

    pub fn sum_f64(&self, _: f64) -> Result<f64> {
        match *self {}
    }
}

pub(super) fn is_velocity(_: &str) -> bool {
    false
}

pub(super) fn loss_factor(_: &RunConfig, group: Option<&Group>) -> Result<f64> {
    group.map_or(Ok(1.0), |group| match *group {})
}
