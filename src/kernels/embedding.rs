//! Embedding lookup and its gradient, without float atomics.

use std::ops::Range;

use super::{Output, REAL_LANES, Target, lanes_within, widest};
use crate::gpu::{Class, DType, Profile, Recorder, Tensor, grid, kernels};

kernels! {
    EMBEDDING = "embedding" + "vec4";
    EMBEDDING_SCALAR = "embedding_scalar": "embedding" + "scalar";
    EMBEDDING_BACKWARD = "embedding_backward" + "vec4";
    EMBEDDING_BACKWARD_SCALAR = "embedding_backward_scalar": "embedding_backward" + "scalar";
}

/// Token ids, with their positions sorted by id for the gradient.
#[derive(Clone, Debug)]
pub struct TokenBatch {
    /// `[N]` ids.
    pub ids: Tensor,
    /// `[N]` positions, sorted by id, ascending within an id.
    pub order: Tensor,
    /// `[N + 1]` index in `order` where each run of equal ids starts, padded with N.
    pub starts: Tensor,
}

impl TokenBatch {
    /// Allocates tensors for `n` tokens.
    pub fn new(rec: &mut Recorder, n: usize) -> Self {
        Self {
            ids: rec.persistent(Class::Scratch, DType::U32, "token ids", &[n]),
            order: rec.persistent(Class::Scratch, DType::U32, "token order", &[n]),
            starts: rec.persistent(Class::Scratch, DType::U32, "token runs", &[n + 1]),
        }
    }

    /// The contents of `order` and `starts` for these ids.
    pub fn sorted(ids: &[u32]) -> (Vec<u32>, Vec<u32>) {
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_by_key(|&place| ids[place as usize]); // stable: positions of one id stay ascending
        let mut starts: Vec<u32> = (0..ids.len())
            .filter(|&at| at == 0 || ids[order[at] as usize] != ids[order[at - 1] as usize])
            .map(|at| at as u32)
            .collect();
        starts.resize(ids.len() + 1, ids.len() as u32);
        (order, starts)
    }
}

/// y\[n, :\] = table\[ids\[n\], :\] for table `[V, C]` and y `[N, C]`. If the table holds only the rows of `some` ids,
/// rows of y with other ids are unchanged.
pub fn embedding(rec: &mut Recorder, ids: &Tensor, table: &Tensor, some: Option<&Range<usize>>, y: &Tensor) {
    let [rows, cols] = y.shape[..] else { panic!("embedding wants y [N, C], got {:?}", y.shape) };
    assert_eq!((ids.len(), table.shape[1]), (rows, cols), "embedding {:?} of {:?}", ids.shape, table.shape);
    let (kernel, cols) = widest([&EMBEDDING, &EMBEDDING_SCALAR], cols);
    let constants = [&[("ROWS", rows as f64), ("COLS", cols as f64)][..], &of_part(table, some)].concat();
    rec.dispatch(kernel, &[ids, table, y], &constants, grid((rows * cols).div_ceil(REAL_LANES)));
}

/// dtable\[id, :\] += factor · Σ dy\[n, :\] over the positions n of id; rows of other ids are unchanged. dtable may
/// hold only the rows of `some` ids.
///
/// # Panics
/// If the target is to be overwritten.
pub fn embedding_backward(
    rec: &mut Recorder,
    tokens: &TokenBatch,
    dy: &Tensor,
    some: Option<&Range<usize>>,
    target: Target<'_>,
) {
    let Target { tensor: dtable, output, .. } = target;
    assert_eq!(output, Output::Accumulate, "embedding_backward");
    let [rows, cols] = dy.shape[..] else { panic!("embedding_backward wants dy [N, C], got {:?}", dy.shape) };
    assert_eq!((tokens.ids.len(), dtable.shape[1]), (rows, cols), "embedding_backward into {:?}", dtable.shape);
    let factor = target.factor(rec);
    let bindings = [&tokens.ids, &tokens.order, &tokens.starts, dy, dtable, &factor];
    let (kernel, cols) = widest([&EMBEDDING_BACKWARD, &EMBEDDING_BACKWARD_SCALAR], cols);
    let [across, lanes] = backward_lanes(&rec.profile, rows, cols);
    let constants = [("COLS", cols as f64), ("ACROSS", across as f64), ("WG", lanes as f64)];
    let constants = [&constants[..], &of_part(dtable, some)].concat();
    rec.dispatch(kernel, &bindings, &constants, grid(rows));
}

/// Tells a kernel which ids a partial table holds.
fn of_part(table: &Tensor, some: Option<&Range<usize>>) -> Vec<(&'static str, f64)> {
    let Some(ids) = some else { return Vec::new() };
    assert_eq!(table.shape[0], ids.len(), "a table of the ids {ids:?}");
    vec![("FIRST", ids.start as f64), ("TABLE_ROWS", ids.len() as f64)]
}

/// Lanes along a row of `reals` `Real`s, and workgroup size. On a GPU several lanes share the positions of an id,
/// because a frequent id has hundreds of them and its workgroup finishes last.
fn backward_lanes(profile: &Profile, places: usize, reals: usize) -> [usize; 2] {
    let across = reals.next_power_of_two().min(64);
    if !profile.software {
        return [across, 256];
    }
    // All positions may have the same id.
    let rounds = |lanes: usize| {
        let share = lanes / across;
        reals.div_ceil(across) * (1 + places.div_ceil(share) + share)
    };
    [across, lanes_within(profile, across, rounds)]
}
