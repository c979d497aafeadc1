//! A ring of staging buffers: small results are read back some steps late, without stalling.

use std::collections::VecDeque;

use super::device::Gpu;
use super::tensor::Tensor;
use super::workspace::{Workspace, create_buffer};
use crate::Result;

/// Copies of small tensors in flight to the host, oldest first, each with its tag.
pub struct ReadbackRing {
    free: Vec<wgpu::Buffer>,
    pending: VecDeque<Pending>,
    source: Option<Tensor>,
}

struct Pending {
    tag: u64,
    bytes: u64,
    /// Unused in the browser, where the event loop waits.
    #[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "the event loop waits"))]
    submission: wgpu::SubmissionIndex,
    buffer: wgpu::Buffer,
    mapped: flume::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl ReadbackRing {
    /// Bytes of a ring; pass them to [`super::Recorder::reserve_staging`].
    pub fn bytes(source: &Tensor, slots: usize) -> u64 {
        source.bytes() * slots as u64
    }

    /// A ring of `slots` staging buffers for `source`.
    pub async fn new(gpu: &Gpu, source: &Tensor, slots: usize) -> Result<Self> {
        Ok(Self { source: Some(source.clone()), ..Self::of_bytes(gpu, source.bytes(), slots).await? })
    }

    /// A ring of `slots` staging buffers of this many bytes, for [`ReadbackRing::send_pieces`].
    pub async fn of_bytes(gpu: &Gpu, bytes: u64, slots: usize) -> Result<Self> {
        let mut free = Vec::with_capacity(slots);
        for slot in 0..slots {
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            free.push(create_buffer(gpu, &format!("read-back ring {slot}"), bytes, usage).await?);
        }
        Ok(Self { free, pending: VecDeque::new(), source: None })
    }

    /// Whether a copy can be sent without waiting for an older one.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Number of copies in flight.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Sends a copy of the tensor as it will be after everything submitted so far.
    ///
    /// Panics if the ring is full: take the oldest copy first.
    pub fn send(&mut self, gpu: &Gpu, workspace: &Workspace, tag: u64) {
        let source = self.source.clone().expect("a ring for one tensor");
        self.send_pieces(gpu, workspace, std::slice::from_ref(&source), tag);
    }

    /// Sends a copy of several tensors, one after the other, as [`ReadbackRing::send`] does of one.
    ///
    /// Panics if the ring is full, or they are larger than a slot.
    pub fn send_pieces(&mut self, gpu: &Gpu, workspace: &Workspace, pieces: &[Tensor], tag: u64) {
        let buffer = self.free.pop().expect("room in the read-back ring");
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        let mut bytes = 0;
        for piece in pieces {
            let source = workspace.buffer(piece);
            encoder.copy_buffer_to_buffer(source, piece.offset_bytes(), &buffer, bytes, piece.bytes());
            bytes += piece.bytes();
        }
        let submission = gpu.queue.submit([encoder.finish()]);
        let (sender, mapped) = flume::bounded(1);
        // A failed send means that nobody is waiting any more.
        buffer.map_async(wgpu::MapMode::Read, 0..bytes, move |result| drop(sender.send(result)));
        self.pending.push_back(Pending { tag, bytes, submission, buffer, mapped });
    }

    /// The oldest copy, if it has arrived.
    pub fn try_take(&mut self, gpu: &Gpu) -> Result<Option<(u64, Vec<f32>)>> {
        gpu.poll();
        gpu.check()?;
        let Some(oldest) = self.pending.front() else { return Ok(None) };
        match oldest.mapped.try_recv() {
            Err(flume::TryRecvError::Empty) => Ok(None),
            Ok(Ok(())) => self.take_front(gpu).map(Some),
            Ok(Err(error)) => Err(gpu.failed_to("read back", &error)),
            Err(error @ flume::TryRecvError::Disconnected) => Err(gpu.failed_to("read back", &error)),
        }
    }

    /// Waits for the oldest copy; `None` if nothing is in flight.
    pub async fn take(&mut self, gpu: &Gpu) -> Result<Option<(u64, Vec<f32>)>> {
        let Some(oldest) = self.pending.front() else { return Ok(None) };
        #[cfg(not(target_arch = "wasm32"))]
        gpu.wait_for(&oldest.submission)?;
        match oldest.mapped.recv_async().await {
            Ok(Ok(())) => self.take_front(gpu).map(Some),
            Ok(Err(error)) => Err(gpu.failed_to("read back", &error)),
            Err(error) => Err(gpu.failed_to("read back", &error)),
        }
    }

    fn take_front(&mut self, gpu: &Gpu) -> Result<(u64, Vec<f32>)> {
        let Pending { tag, bytes, buffer, .. } = self.pending.pop_front().expect("a pending read-back");
        let values = {
            let view = buffer.get_mapped_range(0..bytes).map_err(|error| gpu.failed_to("read back", &error))?;
            bytemuck::cast_slice(&view).to_vec()
        };
        buffer.unmap();
        self.free.push(buffer);
        Ok((tag, values))
    }
}
