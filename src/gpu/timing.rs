//! Timing: on the device with timestamps, on the host with its clock.

use web_time::Instant;

use super::device::Gpu;
use super::plan::{DispatchInfo, Schedule};
use super::workspace::{MAX_SUBMITTED, Step, Workspace, create_buffer, read_bytes};
use crate::{Error, Result};

/// Timestamps per submission.
const QUERIES: u32 = 2048;

/// Device time of one kernel in one replay.
#[derive(Clone, Debug)]
pub struct KernelTime {
    /// The kernel's name.
    pub kernel: &'static str,
    /// Its dispatches in that replay.
    pub dispatches: usize,
    /// Seconds of all of them together.
    pub secs: f64,
}

/// Device time of one dispatch.
#[derive(Clone, Copy, Debug)]
pub struct DispatchTime {
    /// Its index in the plan: see [`Workspace::dispatch`].
    pub dispatch: usize,
    /// When the host submitted the batch it was in.
    pub submitted: Instant,
    /// Seconds since the start of the first dispatch of that submission; never before the end of the previous one.
    pub began_secs: f64,
    /// Duration in seconds.
    pub secs: f64,
}

impl Workspace {
    /// A recorded dispatch of a plan, by index.
    pub fn dispatch(&self, plan: &str, dispatch: usize) -> &DispatchInfo {
        &self.plan(plan).steps[dispatch].info
    }

    /// The indices of the dispatches that a replay runs, in order.
    pub fn replayed(&self, plan: &str, due: Schedule) -> Vec<usize> {
        self.order(plan, due)
    }

    /// Replays a plan's due dispatches once with timestamps around each, and sums the times by kernel, slowest first.
    ///
    /// Errors: an adapter without timestamps.
    pub async fn time(&self, gpu: &Gpu, plan: &str, due: Schedule) -> Result<Vec<KernelTime>> {
        let mut times: Vec<KernelTime> = Vec::new();
        for DispatchTime { dispatch, secs, .. } in self.time_dispatches(gpu, plan, due).await? {
            let kernel = self.dispatch(plan, dispatch).kernel.name;
            match times.iter_mut().find(|time| time.kernel == kernel) {
                Some(time) => (time.dispatches, time.secs) = (time.dispatches + 1, time.secs + secs),
                None => times.push(KernelTime { kernel, dispatches: 1, secs }),
            }
        }
        times.sort_by(|a, b| b.secs.total_cmp(&a.secs));
        Ok(times)
    }

    /// Replays a plan's due dispatches once with timestamps around each.
    ///
    /// Errors: an adapter without timestamps.
    pub async fn time_dispatches(&self, gpu: &Gpu, plan: &str, due: Schedule) -> Result<Vec<DispatchTime>> {
        let stamps = Stamps::new(gpu).await?;
        let (plan, order) = (self.plan(plan), self.order(plan, due));
        let mut times = Vec::with_capacity(order.len());
        for piece in order.chunks(QUERIES as usize / 2) {
            let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
            for (index, &dispatch) in piece.iter().enumerate() {
                let step = &plan.steps[dispatch];
                step.record(&mut stamps.pass(&mut encoder, Some(step.info.kernel.name), index));
            }
            let submitted = Instant::now();
            let secs = stamps.submit(gpu, encoder, piece.len()).await?;
            // On some drivers passes overlap; a single lane of a timeline cannot.
            let mut done = 0.0;
            for (&dispatch, [began, ended]) in piece.iter().zip(secs) {
                let began_secs = f64::max(began, done);
                done = f64::max(ended, began_secs);
                times.push(DispatchTime { dispatch, submitted, began_secs, secs: f64::max(ended - began, 0.0) });
            }
        }
        Ok(times)
    }

    /// Mean device seconds of a replay of a plan's due dispatches, over `replays` consecutive replays in as few
    /// submissions as possible, with timestamps at both ends of each submission.
    ///
    /// Without timestamps it uses the host's clock, which includes the cost of submission.
    pub async fn time_replays(&self, gpu: &Gpu, plan: &str, due: Schedule, replays: usize) -> Result<f64> {
        let plan = self.plan(plan);
        let steps: Vec<&Step> = (0..replays).flat_map(|_| plan.replay(due)).collect();
        Ok(time_steps(gpu, &steps).await? / replays as f64)
    }

    /// The same for a single dispatch of a plan.
    pub async fn time_dispatch(&self, gpu: &Gpu, plan: &str, dispatch: usize, replays: usize) -> Result<f64> {
        let steps = vec![&self.plan(plan).steps[dispatch]; replays];
        Ok(time_steps(gpu, &steps).await? / replays as f64)
    }
}

/// Seconds of these dispatches together.
async fn time_steps(gpu: &Gpu, steps: &[&Step]) -> Result<f64> {
    if !gpu.profile.timestamps {
        gpu.wait()?;
        let began = Instant::now();
        super::workspace::submit(gpu, steps.iter().copied());
        gpu.wait()?;
        return Ok(began.elapsed().as_secs_f64());
    }
    let stamps = Stamps::new(gpu).await?;
    let mut secs = 0.0;
    for piece in steps.chunks(MAX_SUBMITTED) {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        {
            // One pass: its own two timestamps suffice, and every adapter with timestamps supports them.
            let mut pass = stamps.pass(&mut encoder, None, 0);
            piece.iter().for_each(|step| step.record(&mut pass));
        }
        let [began, ended] = stamps.submit(gpu, encoder, 1).await?[0];
        secs += ended - began;
    }
    Ok(secs)
}

/// Timestamps at both ends of passes.
struct Stamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
}

impl Stamps {
    /// Errors: an adapter without timestamps.
    async fn new(gpu: &Gpu) -> Result<Self> {
        if !gpu.profile.timestamps {
            return Err(Error::Gpu(format!("{} does not support timestamps", gpu.adapter_name)));
        }
        let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timing"),
            ty: wgpu::QueryType::Timestamp,
            count: QUERIES,
        });
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = create_buffer(gpu, "timing", u64::from(QUERIES) * 8, usage).await?;
        Ok(Self { queries, resolved })
    }

    /// The pass with this index, between two timestamps.
    fn pass<'a>(
        &self,
        encoder: &'a mut wgpu::CommandEncoder,
        label: Option<&str>,
        index: usize,
    ) -> wgpu::ComputePass<'a> {
        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label,
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(2 * index as u32),
                end_of_pass_write_index: Some(2 * index as u32 + 1),
            }),
        })
    }

    /// Submits `passes` passes and returns the seconds at both ends of each, counted from the start of the first.
    async fn submit(&self, gpu: &Gpu, mut encoder: wgpu::CommandEncoder, passes: usize) -> Result<Vec<[f64; 2]>> {
        encoder.resolve_query_set(&self.queries, 0..2 * passes as u32, &self.resolved, 0);
        gpu.queue.submit([encoder.finish()]);
        let stamps: Vec<u64> = read_bytes(gpu, &self.resolved, 0, 16 * passes as u64).await?;
        let period = f64::from(gpu.queue.get_timestamp_period()) * 1e-9;
        let secs = |stamp: u64| stamp.saturating_sub(stamps[0]) as f64 * period;
        Ok(stamps.chunks(2).map(|ends| [secs(ends[0]), secs(ends[1])]).collect())
    }
}
