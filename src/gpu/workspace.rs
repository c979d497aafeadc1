//! The allocated form of a record: buffers, and plans to replay.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use web_time::Instant;

use super::device::Gpu;
use super::dtype::{DType, Element};
use super::layout::{BufferLayout, BufferRecord, ParamBlocks};
use super::ledger::Memory;
use super::plan::{Dispatch, DispatchInfo, Schedule};
use super::recorder::{Choice, Recorder};
use super::span::Span;
use super::tensor::Tensor;
use crate::{Error, Result};

/// Bytes per copy of a read-back.
const TRANSFER_BYTES: u64 = 16 << 20;
/// Most dispatches per submission: their commands take memory until it completes.
pub(super) const MAX_SUBMITTED: usize = 4096;

/// Buffers and plans, ready to replay. Nothing is allocated after construction.
pub struct Workspace {
    buffers: Vec<wgpu::Buffer>,
    place: Vec<Option<usize>>,
    plans: Vec<Plan>,
    /// What was allocated, by class.
    pub memory: Memory,
    /// When its buffers were allocated and its kernels compiled.
    pub spans: Vec<Span>,
    /// The variants its plans use, by operation.
    pub choices: BTreeMap<String, Choice>,
}

pub(super) struct Plan {
    pub name: Cow<'static, str>,
    pub steps: Vec<Step>,
    /// Bind groups with the caller's buffers, most recently used first.
    pub lent: Vec<LentSet>,
    /// The steps in order, as ranges with repeat counts.
    pieces: Vec<(Range<usize>, usize)>,
}

pub(super) struct Step {
    pub info: DispatchInfo,
    pub pipeline: wgpu::ComputePipeline,
    /// `None` until the caller supplies its buffers.
    pub bind_group: Option<wgpu::BindGroup>,
    /// Its bindings in order, each with first byte and size, if some belong to the caller; otherwise empty.
    pub lent: Vec<(BufferSource, [u64; 2])>,
    groups: Groups,
    every: Option<u32>,
}

/// Which buffer backs a tensor.
pub(super) enum BufferSource {
    Own(wgpu::Buffer),
    /// The caller's buffer for the tensor with this id.
    Lent(usize),
}

/// Bind groups for one set of buffers, one per dispatch of the plan that uses a lent tensor, in order.
pub(super) struct LentSet {
    pub buffers: Vec<wgpu::Buffer>,
    pub bind_groups: Vec<wgpu::BindGroup>,
}

enum Groups {
    Fixed([u32; 3]),
    /// Read from this buffer at this byte offset.
    Gated(wgpu::Buffer, u64),
}

impl Recorder {
    /// Allocates all buffers and creates all pipelines and bind groups.
    ///
    /// Errors: a buffer or binding exceeds the device's limits, memory runs out, or the driver rejects a kernel; each
    /// names the buffer or kernel.
    pub async fn allocate(self, gpu: &Gpu) -> Result<Workspace> {
        self.check_limits()?;
        Workspace::new(gpu, self).await
    }
}

impl Workspace {
    async fn new(gpu: &Gpu, recorder: Recorder) -> Result<Self> {
        let began = Instant::now();
        let memory = recorder.memory();
        let layout = BufferLayout::of(&recorder.tensors, &recorder.plans);
        let buffers = create_buffers(gpu, &layout.buffers).await?;
        let spans = vec![Span::since("allocate", began)];
        let began = Instant::now();
        let choices = recorder.choices().clone();
        let mut workspace = Self { buffers, place: layout.place, plans: Vec::new(), memory, spans, choices };
        gpu.prepare(&recorder.kernels()).await?;
        for plan in &recorder.plans {
            let mut steps = Vec::with_capacity(plan.dispatches.len());
            for dispatch in &plan.dispatches {
                steps.push(workspace.step(gpu, dispatch, &layout.params).await?);
            }
            let (name, pieces) = (plan.name.clone(), plan.pieces().collect());
            workspace.plans.push(Plan { name, steps, lent: Vec::new(), pieces });
        }
        workspace.spans.push(Span::since("compile", began));
        for (tensor, values) in &recorder.initial {
            workspace.write_bytes(gpu, tensor, bytemuck::cast_slice(values));
        }
        if !layout.params.words.is_empty() {
            let buffer = workspace.buffers.last().expect("the parameters' buffer");
            gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&layout.params.words));
        }
        gpu.check()?;
        Ok(workspace)
    }

    async fn step(&self, gpu: &Gpu, dispatch: &Dispatch, params: &ParamBlocks) -> Result<Step> {
        let pipeline = gpu.pipeline(dispatch.kernel, &dispatch.overrides()).await?;
        let tensors = dispatch
            .bindings
            .iter()
            .map(|tensor| (self.place_of(tensor), [tensor.offset_bytes(), tensor.words_bytes()]));
        let of_params =
            |range| (BufferSource::Own(self.buffers.last().expect("the parameters' buffer").clone()), range);
        let bindings: Vec<(BufferSource, [u64; 2])> = tensors.chain(params.place(dispatch).map(of_params)).collect();
        let own = bindings.iter().map(|(place, range)| match place {
            BufferSource::Own(buffer) => Some((buffer, *range)),
            BufferSource::Lent(_) => None,
        });
        let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let bind_group = own
            .collect::<Option<Vec<_>>>()
            .map(|own| create_bind_group(gpu, dispatch.kernel.name, &pipeline, own.into_iter()));
        if let Some(error) = scope.pop().await {
            return Err(gpu.lost_or(Error::Gpu(format!("bindings of kernel {}: {error}", dispatch.kernel.name))));
        }
        let groups = match &dispatch.gated {
            None => Groups::Fixed(dispatch.groups),
            Some(tensor) => Groups::Gated(self.buffer(tensor).clone(), tensor.offset_bytes()),
        };
        let lent = if bind_group.is_none() { bindings } else { Vec::new() };
        Ok(Step { info: dispatch.info(), pipeline, bind_group, lent, groups, every: dispatch.every })
    }

    fn place_of(&self, tensor: &Tensor) -> BufferSource {
        match self.place[tensor.id] {
            Some(place) => BufferSource::Own(self.buffers[place].clone()),
            None => BufferSource::Lent(tensor.id),
        }
    }

    pub(super) fn plan(&self, name: &str) -> &Plan {
        self.plans.iter().find(|plan| plan.name == name).unwrap_or_else(|| panic!("no plan {name}"))
    }

    pub(super) fn plan_mut(&mut self, name: &str) -> &mut Plan {
        self.plans.iter_mut().find(|plan| plan.name == name).unwrap_or_else(|| panic!("no plan {name}"))
    }

    pub(super) fn buffer(&self, tensor: &Tensor) -> &wgpu::Buffer {
        &self.buffers[self.place[tensor.id].expect("a tensor of our own that a dispatch names")]
    }

    /// Number of recorded dispatches of a plan.
    pub(super) fn n_recorded(&self, plan: &str) -> usize {
        self.plan(plan).steps.len()
    }

    /// The indices of the dispatches that a replay runs, in order.
    pub(crate) fn order(&self, plan: &str, due: Schedule) -> Vec<usize> {
        self.plan(plan).order(due).collect()
    }

    /// Replays `plans` in order, including everything scheduled, in one submission unless it would be too large.
    pub fn run(&self, gpu: &Gpu, plans: &[&str]) {
        self.run_scheduled(gpu, plans, Schedule::All);
    }

    /// Replays `plans` like [`Workspace::run`], but only the dispatches that are due.
    ///
    /// [`Throttle::run`](super::Throttle::run) does the same in pieces.
    pub fn run_scheduled(&self, gpu: &Gpu, plans: &[&str], due: Schedule) {
        submit(gpu, plans.iter().flat_map(|name| self.plan(name).replay(due)));
    }

    /// Replays a part of [`Workspace::order`].
    pub(crate) fn submit(&self, gpu: &Gpu, plan: &str, part: &[usize]) {
        let plan = self.plan(plan);
        submit(gpu, part.iter().map(|&step| &plan.steps[step]));
    }

    /// Whether any plan has scheduled dispatches: see [`Recorder::every_n_steps`].
    pub fn has_intervals(&self) -> bool {
        self.plans.iter().flat_map(|plan| &plan.steps).any(|step| step.every.is_some())
    }

    /// Writes a tensor's elements, ordered before anything submitted later.
    ///
    /// Panics if the number of elements differs.
    pub fn write<T: Element>(&self, gpu: &Gpu, tensor: &Tensor, values: &[T]) {
        tensor.dtype.check_host_type::<T>();
        assert_eq!(values.len(), tensor.len(), "values for a tensor {:?}", tensor.shape);
        self.write_bytes(gpu, tensor, bytemuck::cast_slice(values));
    }

    /// Writes the elements of consecutive tensors, such as the parts of one split matrix.
    ///
    /// Panics if the number of elements differs.
    pub fn write_all<'a, T: Element>(&self, gpu: &Gpu, tensors: impl Iterator<Item = &'a Tensor>, values: &[T]) {
        let mut rest = values;
        for tensor in tensors {
            let (own, after) = rest.split_at(tensor.len());
            self.write(gpu, tensor, own);
            rest = after;
        }
        assert!(rest.is_empty(), "{} of {} values are left", rest.len(), values.len());
    }

    fn write_bytes(&self, gpu: &Gpu, tensor: &Tensor, bytes: &[u8]) {
        let (words, rest) = bytes.split_at(bytes.len() / 4 * 4);
        gpu.queue.write_buffer(self.buffer(tensor), tensor.offset_bytes(), words);
        if let &[low, high] = rest {
            // Half a word: only padding follows it in memory.
            gpu.queue.write_buffer(self.buffer(tensor), tensor.offset_bytes() + words.len() as u64, &[low, high, 0, 0]);
        }
    }

    /// Writes an f32 or f16 tensor, converting as needed.
    ///
    /// Panics if the number of elements differs.
    pub fn write_numbers(&self, gpu: &Gpu, tensor: &Tensor, values: &[f32]) {
        match tensor.dtype {
            DType::F16 => self.write(gpu, tensor, &values.iter().map(|&x| half::f16::from_f32(x)).collect::<Vec<_>>()),
            _ => self.write(gpu, tensor, values),
        }
    }

    /// Reads an f32 or f16 tensor.
    pub async fn read_numbers(&self, gpu: &Gpu, tensor: &Tensor) -> Result<Vec<f32>> {
        match tensor.dtype {
            DType::F16 => Ok(self.read::<half::f16>(gpu, tensor).await?.into_iter().map(f32::from).collect()),
            _ => self.read(gpu, tensor).await,
        }
    }

    /// Reads a tensor back after all work submitted so far.
    pub async fn read<T: Element>(&self, gpu: &Gpu, tensor: &Tensor) -> Result<Vec<T>> {
        tensor.dtype.check_host_type::<T>();
        let bytes = tensor.words_bytes();
        let mut values = read_bytes(gpu, self.buffer(tensor), tensor.offset_bytes(), bytes).await?;
        values.truncate(tensor.len());
        Ok(values)
    }

    /// Reads the elements of consecutive tensors: see [`Workspace::write_all`].
    pub async fn read_all<'a, T: Element>(
        &self,
        gpu: &Gpu,
        tensors: impl Iterator<Item = &'a Tensor>,
    ) -> Result<Vec<T>> {
        let mut values = Vec::new();
        for tensor in tensors {
            values.append(&mut self.read(gpu, tensor).await?);
        }
        Ok(values)
    }
}

impl Plan {
    pub fn replay(&self, due: Schedule) -> impl Iterator<Item = &Step> {
        self.order(due).map(|step| &self.steps[step])
    }

    /// The indices of due dispatches. A piece with nothing due is checked once, regardless of its repeat count.
    pub fn order(&self, due: Schedule) -> impl Iterator<Item = usize> {
        let is_due = move |step: &usize| due.includes(self.steps[*step].every);
        self.pieces.iter().flat_map(move |(piece, times)| {
            let times = if piece.clone().any(|step| is_due(&step)) { *times } else { 0 };
            (0..times).flat_map(move |_| piece.clone().filter(is_due))
        })
    }
}

pub(super) fn submit<'a>(gpu: &Gpu, steps: impl IntoIterator<Item = &'a Step>) {
    let mut steps = steps.into_iter().peekable();
    while steps.peek().is_some() {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for step in steps.by_ref().take(MAX_SUBMITTED) {
                step.record(&mut pass);
            }
        }
        gpu.queue.submit([encoder.finish()]);
    }
}

/// The bind group for a pipeline's single group, from buffers with offset and size in bytes.
pub(super) fn create_bind_group<'a>(
    gpu: &Gpu,
    label: &str,
    pipeline: &wgpu::ComputePipeline,
    bindings: impl Iterator<Item = (&'a wgpu::Buffer, [u64; 2])>,
) -> wgpu::BindGroup {
    let entries: Vec<wgpu::BindGroupEntry<'_>> = bindings
        .enumerate()
        .map(|(binding, (buffer, [offset, bytes]))| wgpu::BindGroupEntry {
            binding: binding as u32,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset,
                size: std::num::NonZero::new(bytes),
            }),
        })
        .collect();
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(label),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    })
}

impl Step {
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, Some(self.bind_group.as_ref().expect("buffers for lent tensors")), &[]);
        match &self.groups {
            Groups::Fixed([x, y, z]) => pass.dispatch_workgroups(*x, *y, *z),
            Groups::Gated(buffer, offset) => pass.dispatch_workgroups_indirect(buffer, *offset),
        }
    }
}

/// Creates all buffers of a layout; on failure, destroys those already made and returns the error of the one that
/// failed.
async fn create_buffers(gpu: &Gpu, records: &[BufferRecord]) -> Result<Vec<wgpu::Buffer>> {
    let mut buffers: Vec<wgpu::Buffer> = Vec::with_capacity(records.len());
    for record in records {
        let mut usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        usage.set(wgpu::BufferUsages::UNIFORM, record.uniform);
        usage.set(wgpu::BufferUsages::INDIRECT, record.indirect);
        match create_buffer(gpu, &record.label, record.bytes, usage).await {
            Ok(buffer) => buffers.push(buffer),
            Err(error) => {
                // A browser would keep them until garbage collection, and the caller may want to retry with less.
                buffers.iter().for_each(wgpu::Buffer::destroy);
                return Err(error);
            }
        }
    }
    Ok(buffers)
}

/// Creates a buffer; the error names it.
pub(super) async fn create_buffer(
    gpu: &Gpu,
    label: &str,
    bytes: u64,
    usage: wgpu::BufferUsages,
) -> Result<wgpu::Buffer> {
    let memory = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let validation = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: bytes,
        usage,
        mapped_at_creation: false,
    });
    let (validation, memory) = (validation.pop(), memory.pop());
    if let Some(error) = validation.await {
        return Err(gpu.lost_or(Error::Gpu(format!("buffer {label:?} of {bytes} bytes: {error}"))));
    }
    if memory.await.is_some() {
        return Err(gpu.lost_or(Error::TooLarge(format!(
            "{} has no memory left for buffer {label:?} of {bytes} bytes: choose a smaller model, micro-batch or \
             sequence length (`--dry-run` shows what each class takes)",
            gpu.adapter_name
        ))));
    }
    Ok(buffer)
}

pub(super) async fn read_bytes<T: bytemuck::Pod>(
    gpu: &Gpu,
    buffer: &wgpu::Buffer,
    offset: u64,
    bytes: u64,
) -> Result<Vec<T>> {
    let piece_bytes = bytes.min(TRANSFER_BYTES);
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let staging = create_buffer(gpu, "read-back", piece_bytes, usage).await?;
    let mut values = Vec::with_capacity((bytes / size_of::<T>() as u64) as usize);
    let mut at = 0;
    while at < bytes {
        let piece = (bytes - at).min(piece_bytes);
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        encoder.copy_buffer_to_buffer(buffer, offset + at, &staging, 0, piece);
        gpu.queue.submit([encoder.finish()]);
        let (sender, receiver) = flume::bounded(1);
        // A failed send means that nobody is waiting any more.
        staging.map_async(wgpu::MapMode::Read, 0..piece, move |result| drop(sender.send(result)));
        #[cfg(not(target_arch = "wasm32"))]
        gpu.wait()?;
        match receiver.recv_async().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(gpu.failed_to("read back", &error)),
            Err(error) => return Err(gpu.failed_to("read back", &error)),
        }
        {
            let view = staging.get_mapped_range(0..piece).map_err(|error| gpu.failed_to("read back", &error))?;
            values.extend_from_slice(bytemuck::cast_slice(&view));
        }
        staging.unmap();
        at += piece;
    }
    Ok(values)
}
