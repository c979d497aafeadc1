//! Attention in half precision on matrix units.

use multinorm::gpu::DType;
use multinorm::kernels::attention::{Shape, Variant, select};

use super::{case, run};
use crate::kernels::attention::BothPasses;

/// All in one case: the driver takes seconds to compile each of the three kernels, and all sequence lengths share them.
fn check(shapes: &[Shape]) {
    let mut case = case();
    let record = |shape: &Shape| {
        assert_eq!(select(&case.rec.profile, shape, DType::F16), Variant::Units, "{shape:?}");
        BothPasses::record(&mut case, DType::F16, *shape)
    };
    let recorded: Vec<_> = shapes.iter().map(record).collect();
    let done = run(case);
    for both in recorded {
        both.check(&done);
    }
}

#[test]
fn lengths_and_groupings_agree_with_the_reference() {
    let shapes = [(1, 1, 1), (7, 4, 2), (32, 2, 2), (37, 6, 1), (64, 1, 1), (65, 4, 2), (140, 2, 1)];
    check(&shapes.map(|(seq, heads, kv_heads)| Shape { batch: 2, seq, heads, kv_heads, head_dim: 64 }));
}

// Sums are written out in one go, in three, the last of which is half empty, or in four.
#[test]
fn the_smallest_head_the_largest_and_one_of_an_odd_size_agree_with_the_reference() {
    for head_dim in [16, 80, 128] {
        check(&[Shape { batch: 1, seq: 70, heads: 2, kv_heads: 1, head_dim }]);
    }
}
