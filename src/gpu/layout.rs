//! Which buffers a record becomes: the same layout for the memory table and for the allocation.

use std::collections::{BTreeMap, HashMap};

use super::dtype::DType;
use super::ledger::{Class, Lifetime, share};
use super::plan::{Dispatch, PlanRecord};

/// A tensor as it is recorded.
pub(super) struct TensorRecord {
    pub name: String,
    pub class: Class,
    pub dtype: DType,
    pub bytes: u64,
    pub persistent: bool,
    /// Whether its memory is the caller's.
    pub lent: bool,
    /// Whether dispatches take their workgroups from it.
    pub indirect: bool,
    /// Whether a kernel binds it as a uniform.
    pub uniform: bool,
    /// The plan that a transient tensor belongs to.
    pub plan: Option<usize>,
}

/// Which buffers there will be, and which holds each tensor.
pub(super) struct BufferLayout {
    /// The parameters' buffer, where there are any, is the last.
    pub buffers: Vec<BufferRecord>,
    pub params: ParamBlocks,
    /// The buffer of each tensor; none for one that is lent, or a transient one that no dispatch names.
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

/// When the transient tensors of each plan are alive.
fn lifetimes(tensors: &[TensorRecord], plans: &[PlanRecord]) -> Vec<Vec<Lifetime>> {
    let of_plan = |plan: &PlanRecord| {
        let mut lives: BTreeMap<usize, Lifetime> = BTreeMap::new();
        let mut made: BTreeMap<usize, Option<u32>> = BTreeMap::new();
        for (body, times) in plan.pieces() {
            for at in body.clone() {
                // What a repetition leaves is there when it begins again.
                let [first, last] = if times > 1 { [body.start, body.end - 1] } else { [at; 2] };
                let named = plan.dispatches[at].bindings.iter().map(|tensor| tensor.id);
                for id in named.filter(|&id| !tensors[id].persistent) {
                    let (every, name) = (plan.dispatches[at].every, &tensors[id].name);
                    let made = *made.entry(id).or_insert(every);
                    assert!(made.is_none() || made == every, "transient tensor {name} is made at times only");
                    let bytes = tensors[id].bytes;
                    lives.entry(id).or_insert(Lifetime { tensor: id, bytes, first, last }).last = last;
                }
            }
        }
        lives.into_values().collect()
    };
    plans.iter().map(of_plan).collect()
}

/// The parameters of all dispatches, one block after the other; equal ones once.
#[derive(Default)]
pub(super) struct ParamBlocks {
    pub words: Vec<u32>,
    /// Where each begins, in bytes.
    begins: HashMap<Vec<u32>, u64>,
}

impl ParamBlocks {
    /// Bytes whose multiples a uniform's binding may begin at, on every adapter.
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

    /// Where the block of a dispatch begins, in bytes, and how many it has; none of a kernel without parameters.
    pub fn place(&self, dispatch: &Dispatch) -> Option<[u64; 2]> {
        let begin = self.begins.get(&dispatch.params)?;
        Some([*begin, 4 * dispatch.params.len() as u64])
    }
}
