//! The buffers a record becomes: one layout for both the memory table and the allocation.

use std::collections::{BTreeMap, HashMap};

use super::dtype::DType;
use super::ledger::{Class, Lifetime, share};
use super::plan::{Dispatch, PlanRecord};

/// A recorded tensor.
pub(super) struct TensorRecord {
    pub name: String,
    pub class: Class,
    pub dtype: DType,
    pub bytes: u64,
    pub persistent: bool,
    /// Whether the caller provides its memory.
    pub lent: bool,
    /// Whether indirect dispatches read their workgroup counts from it.
    pub indirect: bool,
    /// Whether a kernel binds it as a uniform.
    pub uniform: bool,
    /// The plan that a transient tensor belongs to.
    pub plan: Option<usize>,
}

/// The buffers to allocate, and the one that holds each tensor.
pub(super) struct BufferLayout {
    /// The parameter buffer, if any, comes last.
    pub buffers: Vec<BufferRecord>,
    pub params: ParamBlocks,
    /// The buffer of each tensor; `None` for a lent tensor, or a transient one that no dispatch uses.
    pub place: Vec<Option<usize>>,
}

pub(super) struct BufferRecord {
    pub label: String,
    pub class: Class,
    pub bytes: u64,
    pub indirect: bool,
    pub uniform: bool,
}

impl BufferLayout {
    /// The buffers of a record.
    pub fn of(tensors: &[TensorRecord], plans: &[PlanRecord]) -> Self {
        let mut layout = Self { buffers: Vec::new(), place: vec![None; tensors.len()], params: ParamBlocks::of(plans) };
        for (id, tensor) in tensors.iter().enumerate().filter(|(_, t)| t.persistent && !t.lent) {
            layout.place[id] = Some(layout.buffers.len());
            let TensorRecord { class, bytes, indirect, uniform, .. } = *tensor;
            layout.buffers.push(BufferRecord { label: tensor.name.clone(), class, bytes, indirect, uniform });
        }
        let lives = lifetimes(tensors, plans);
        for class in Class::ALL {
            let of_class = |life: &&Lifetime| tensors[life.tensor].class == class;
            let plans: Vec<Vec<Lifetime>> =
                lives.iter().map(|plan| plan.iter().filter(of_class).copied().collect()).collect();
            let (shared, places) = share(&plans);
            let base = layout.buffers.len();
            for (number, buffer) in shared.iter().enumerate() {
                let label = format!("shared {} {number}", class.name());
                let bytes = buffer.bytes;
                layout.buffers.push(BufferRecord { label, class, bytes, indirect: false, uniform: false });
            }
            for (tensor, number) in places {
                layout.place[tensor] = Some(base + number);
            }
        }
        if !layout.params.words.is_empty() {
            let (label, bytes) = ("parameters of dispatches".to_owned(), 4 * layout.params.words.len() as u64);
            layout.buffers.push(BufferRecord { label, class: Class::Scratch, bytes, indirect: false, uniform: true });
        }
        layout
    }
}

/// The lifetimes of each plan's transient tensors.
fn lifetimes(tensors: &[TensorRecord], plans: &[PlanRecord]) -> Vec<Vec<Lifetime>> {
    let of_plan = |plan: &PlanRecord| {
        let mut lives: BTreeMap<usize, Lifetime> = BTreeMap::new();
        let mut made: BTreeMap<usize, Option<u32>> = BTreeMap::new();
        for (body, times) in plan.pieces() {
            for at in body.clone() {
                // Whatever one repetition leaves must survive until the next begins.
                let [first, last] = if times > 1 { [body.start, body.end - 1] } else { [at; 2] };
                let named = plan.dispatches[at].bindings.iter().map(|tensor| tensor.id);
                for id in named.filter(|&id| !tensors[id].persistent) {
                    let (every, name) = (plan.dispatches[at].every, &tensors[id].name);
                    let made = *made.entry(id).or_insert(every);
                    assert!(made.is_none() || made == every, "transient tensor {name} is not made in every step");
                    let bytes = tensors[id].bytes;
                    lives.entry(id).or_insert(Lifetime { tensor: id, bytes, first, last }).last = last;
                }
            }
        }
        lives.into_values().collect()
    };
    plans.iter().map(of_plan).collect()
}

/// The parameters of all dispatches, one block after another, without duplicates.
#[derive(Default)]
pub(super) struct ParamBlocks {
    pub words: Vec<u32>,
    /// Start of each block in bytes.
    begins: HashMap<Vec<u32>, u64>,
}

impl ParamBlocks {
    /// Offset alignment of a uniform binding in bytes, valid on every adapter.
    const ALIGNMENT: usize = 256;

    fn of(plans: &[PlanRecord]) -> Self {
        let mut blocks = Self::default();
        for dispatch in plans.iter().flat_map(|plan| &plan.dispatches) {
            if dispatch.params.is_empty() || blocks.begins.contains_key(&dispatch.params) {
                continue;
            }
            blocks.words.resize(blocks.words.len().next_multiple_of(Self::ALIGNMENT / 4), 0);
            blocks.begins.insert(dispatch.params.clone(), 4 * blocks.words.len() as u64);
            blocks.words.extend(&dispatch.params);
        }
        blocks
    }

    /// Start and size in bytes of a dispatch's block; `None` for a kernel without parameters.
    pub fn place(&self, dispatch: &Dispatch) -> Option<[u64; 2]> {
        let begin = self.begins.get(&dispatch.params)?;
        Some([*begin, 4 * dispatch.params.len() as u64])
    }
}
