//! Caller-owned buffers that stand in for tensors, called lent tensors in a record.

use wgpu::util::DeviceExt;

use super::device::Gpu;
use super::dtype::Element;
use super::plan::Schedule;
use super::tensor::Tensor;
use super::workspace::{BufferSource, LentSet, Plan, Workspace, create_bind_group};
use super::{Buffer, CommandEncoder};
use crate::{Error, Result};

/// Number of buffer sets whose bind groups a plan keeps; a caller that alternates between two gradient buffers has two
/// sets.
const SETS: usize = 4;

/// A buffer that backs, from its first byte, a tensor made by [`Recorder::lent`](super::Recorder::lent).
#[derive(Clone, Copy, Debug)]
pub struct Lent<'a> {
    /// What to call it in messages.
    pub what: &'a str,
    /// The tensor.
    pub tensor: &'a Tensor,
    /// The buffer.
    pub buffer: &'a Buffer,
}

impl Workspace {
    /// Encodes a plan's due dispatches into the caller's encoder. `lent` gives the buffers for all tensors lent to the
    /// plan, in the same order each time.
    ///
    /// Bind groups are created when a set of buffers is first seen; the last four sets and their buffers are kept.
    /// Errors: a buffer that cannot be bound, is too small, or backs two tensors.
    pub fn encode(
        &mut self,
        gpu: &Gpu,
        encoder: &mut CommandEncoder,
        plan: &str,
        due: Schedule,
        lent: &[Lent<'_>],
    ) -> Result<()> {
        lent.iter().try_for_each(Lent::check)?;
        for (index, Lent { what, buffer, .. }) in lent.iter().enumerate() {
            if let Some(other) = lent[..index].iter().find(|other| other.buffer == *buffer) {
                return Err(Error::Gpu(format!("one buffer is given for {} and for {what}", other.what)));
            }
        }
        let plan = self.plan_mut(plan);
        plan.lend(gpu, lent);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        plan.replay(due).for_each(|step| step.record(&mut pass));
        Ok(())
    }

    /// Encodes a write of a tensor's elements into the caller's encoder, ordered after what it has already recorded.
    ///
    /// Panics if the number of elements differs.
    pub fn encode_write<T: Element>(&self, gpu: &Gpu, encoder: &mut CommandEncoder, tensor: &Tensor, values: &[T]) {
        tensor.dtype.check_host_type::<T>();
        assert_eq!(values.len(), tensor.len(), "values for a tensor {:?}", tensor.shape);
        let staging = gpu.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("values to write"),
            contents: bytemuck::cast_slice(values),
            usage: wgpu::BufferUsages::COPY_SRC,
        });
        encoder.copy_buffer_to_buffer(&staging, 0, self.buffer(tensor), tensor.offset_bytes(), tensor.bytes());
    }
}

impl Lent<'_> {
    fn check(&self) -> Result<()> {
        let Self { what, tensor, buffer } = self;
        let refuse = |message: String| Err(Error::Gpu(format!("the buffer for {what} {message}")));
        if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return refuse(format!("has usages {:?}, but kernels need STORAGE", buffer.usage()));
        }
        let (bytes, wanted) = (buffer.size(), tensor.bytes());
        if bytes < wanted {
            return refuse(format!(
                "holds {bytes} bytes, and {:?} numbers of type {:?} take {wanted}",
                tensor.shape, tensor.dtype
            ));
        }
        Ok(())
    }
}

impl Plan {
    /// Binds these buffers in place of the lent tensors.
    fn lend(&mut self, gpu: &Gpu, lent: &[Lent<'_>]) {
        let known = self.lent.iter().position(|set| set.buffers.iter().eq(lent.iter().map(|lent| lent.buffer)));
        let set = match known {
            Some(known) => self.lent.remove(known),
            None => self.bind(gpu, lent),
        };
        let naming = self.steps.iter_mut().filter(|step| !step.lent.is_empty());
        for (step, bind_group) in naming.zip(&set.bind_groups) {
            step.bind_group = Some(bind_group.clone());
        }
        self.lent.insert(0, set);
        self.lent.truncate(SETS);
    }

    fn bind(&self, gpu: &Gpu, lent: &[Lent<'_>]) -> LentSet {
        let buffer_of = |id: usize| {
            let found = lent.iter().find(|lent| lent.tensor.id == id);
            found.map(|lent| lent.buffer).unwrap_or_else(|| panic!("plan {} wants a buffer for tensor {id}", self.name))
        };
        let naming = self.steps.iter().filter(|step| !step.lent.is_empty());
        let bind_groups = naming.map(|step| {
            let bindings = step.lent.iter().map(|(place, range)| match place {
                BufferSource::Own(buffer) => (buffer, *range),
                BufferSource::Lent(id) => (buffer_of(*id), *range),
            });
            create_bind_group(gpu, step.info.kernel.name, &step.pipeline, bindings)
        });
        LentSet { bind_groups: bind_groups.collect(), buffers: lent.iter().map(|lent| lent.buffer.clone()).collect() }
    }
}
