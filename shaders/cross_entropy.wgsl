// losses[n] = log-sum-exp of row n - its target's logit, or 0 if the target is IGNORE. One workgroup per row.
const IGNORE: u32 = 0xffffffffu;
struct Params {
    rows: u32,
    cols: u32,  // of the vocabulary, in Reals
}
@group(0) @binding(0) var<storage, read>       logits:  array<Stored>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       targets: array<u32>;     // [ROWS]
@group(0) @binding(2) var<storage, read_write> losses:  array<f32>;     // [ROWS]
@group(0) @binding(3) var<uniform>             params:  Params;

@compute @workgroup_size(WG)
fn cross_entropy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * count.x + group.x;
    if (row >= params.rows) { return; }
    let id = targets[row];
    if (id == IGNORE) {
        if (lane == 0u) { losses[row] = 0.0; }
        return;
    }
    let first = row * params.cols;
    for (var begin = lane; begin < params.cols; begin += KEPT * WG) {
        for (var i = 0u; i < KEPT; i++) {
            let col = begin + i * WG;
            block[i] = Real(LOWEST);
            if (col < params.cols) { block[i] = Real(logits[first + col]); }
        }
        take_block();
    }
    let row_top = workgroup_max(top, lane);
    let row_sum = workgroup_sum(sum * exp(top - row_top), lane);
    if (lane == 0u) {
        losses[row] = row_top + log(row_sum) - total(Real(logits[first + id / WIDTH]) * unit(id % WIDTH));
    }
}
