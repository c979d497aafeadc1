//! The adapter's peak rates, measured with kernels that do nothing else.

use multinorm::gpu::{Class, DType, DispatchInfo, Gpu, Need, Recorder, Schedule, Tensor, Workspace};
use multinorm::kernels::{bench, fill};
use multinorm::{Error, Result};
use serde::Serialize;

use super::steady_secs;
use crate::cli::console::out;

/// Time budget of each measurement, in seconds.
const BUDGET_SECS: f64 = 0.1;
const PLAN: &str = "ceiling";

/// Peak rates: measured, not looked up.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ceilings {
    /// Bytes read plus bytes written, in a copy.
    pub copy_bytes_per_sec: f64,
    /// Multiply-adds in f32 registers, each counted as two operations.
    pub fma_flops_per_sec: f64,
    /// Matrix units with f16 operands and f32 sums, if the kernels can use them.
    pub matrix_units_flops_per_sec: Option<f64>,
}

impl Ceilings {
    pub async fn measure(gpu: &Gpu) -> Result<Self> {
        Ok(Self {
            copy_bytes_per_sec: copy(gpu).await?,
            fma_flops_per_sec: fma(gpu).await?,
            matrix_units_flops_per_sec: match gpu.profile.runs(&bench::BENCH_MATRIX_UNITS) {
                true => Some(matrix_units(gpu).await?),
                false => None,
            },
        })
    }

    /// The least time, in seconds, that a dispatch can take: for its arithmetic or for its bytes, whichever is longer;
    /// and whether the arithmetic is.
    pub fn least_secs(&self, dispatch: &DispatchInfo) -> (f64, bool) {
        let units = self.matrix_units_flops_per_sec.filter(|_| self.uses_matrix_units(dispatch));
        let flops_per_sec = units.unwrap_or(self.fma_flops_per_sec);
        let arithmetic = dispatch.flops as f64 / flops_per_sec;
        let memory = self.memory_secs(dispatch.bytes());
        (arithmetic.max(memory), arithmetic > memory)
    }

    /// Whether the ceiling of a dispatch is that of the matrix units.
    pub fn uses_matrix_units(&self, dispatch: &DispatchInfo) -> bool {
        self.matrix_units_flops_per_sec.is_some() && dispatch.kernel.needs.contains(&Need::MatrixUnits)
    }

    /// Seconds to move `bytes` at the copy ceiling.
    pub fn memory_secs(&self, bytes: u64) -> f64 {
        bytes as f64 / self.copy_bytes_per_sec
    }

    pub fn print(&self) {
        let mut words = format!(
            "copy {:.1} GB/s, multiply-add {:.1} GFLOP/s",
            self.copy_bytes_per_sec / 1e9,
            self.fma_flops_per_sec / 1e9
        );
        if let Some(units) = self.matrix_units_flops_per_sec {
            words += &format!(", matrix units {:.1} GFLOP/s", units / 1e9);
        }
        out!("ceilings       {words}");
    }
}

/// Bytes per second of a copy too large for any cache.
async fn copy(gpu: &Gpu) -> Result<f64> {
    let profile = &gpu.profile;
    let most: u64 = if profile.software { 64 << 20 } else { 256 << 20 };
    let len = most.min(profile.max_binding_bytes).min(profile.max_buffer_bytes) as usize / 4 / 1024 * 1024;
    let mut rec = Recorder::new(profile);
    let [x, y] = ["from", "to"].map(|name| rec.persistent(Class::Scratch, DType::F32, name, &[len]));
    rec.begin("fill");
    fill::fill(&mut rec, &x, 1.5);
    rec.begin(PLAN);
    bench::copy(&mut rec, &x, &y);
    let workspace = rec.allocate(gpu).await?;
    workspace.run(gpu, &["fill"]);
    let secs = secs(gpu, &workspace, &y.rows(len - 4..len), 1.5).await?;
    Ok((2 * x.bytes()) as f64 / secs)
}

/// Operations per second of multiply-adds in registers.
async fn fma(gpu: &Gpu) -> Result<f64> {
    let (len, rounds) = if gpu.profile.software { (64 * 256, 64) } else { (4096 * 256, 128) };
    let mut rec = Recorder::new(&gpu.profile);
    let x = rec.persistent(Class::Scratch, DType::F32, "factors", &[2, 4]);
    let y = rec.persistent(Class::Scratch, DType::F32, "sums", &[len, 4]);
    rec.begin(PLAN);
    bench::fma(&mut rec, &x, &y, rounds);
    let workspace = rec.allocate(gpu).await?;
    workspace.write(gpu, &x, &[0.5f32; 8]);
    // The iteration s = s / 2 + 1 / 2 converges to 1, and eight are added.
    let secs = secs(gpu, &workspace, &y.rows(len - 1..len), 8.0).await?;
    Ok(workspace.dispatch(PLAN, 0).flops as f64 / secs)
}

/// Operations per second of the matrix units.
async fn matrix_units(gpu: &Gpu) -> Result<f64> {
    let (subgroups, rounds) = (4096, 512);
    let mut rec = Recorder::new(&gpu.profile);
    let [a, b] = [2, 4].map(|n| rec.persistent(Class::Scratch, DType::F16, "operands", &[n, 16, 16]));
    let y = rec.persistent(Class::Scratch, DType::F32, "sums", &[subgroups, 2, 4, 16, 16]);
    rec.begin(PLAN);
    bench::matrix_units(&mut rec, &a, &b, &y, rounds);
    let workspace = rec.allocate(gpu).await?;
    for operand in [&a, &b] {
        workspace.write(gpu, operand, &vec![half::f16::ONE; operand.len()]);
    }
    let secs = secs(gpu, &workspace, &y.rows(subgroups - 1..subgroups), 16.0 * rounds as f32).await?;
    Ok(workspace.dispatch(PLAN, 0).flops as f64 / secs)
}

/// Seconds per replay of the plan, after checking that it leaves `want` everywhere in `last`: a kernel that does no
/// work is fast.
async fn secs(gpu: &Gpu, workspace: &Workspace, last: &Tensor, want: f32) -> Result<f64> {
    workspace.run(gpu, &[PLAN]);
    let got: Vec<f32> = workspace.read(gpu, last).await?;
    if let Some(wrong) = got.iter().find(|got| **got != want) {
        let kernel = workspace.dispatch(PLAN, 0).kernel.name;
        return Err(Error::Gpu(format!("{kernel} computes {wrong} instead of {want}: nothing is timed")));
    }
    steady_secs(BUDGET_SECS, async |replays| workspace.time_replays(gpu, PLAN, Schedule::All, replays).await).await
}
