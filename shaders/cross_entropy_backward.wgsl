// losses[n] = log-sum-exp of row n - its target's logit, and logits becomes SCALE factor (softmax - onehot(target)), in
// place; both are 0 if the target is IGNORE. One workgroup per row: its last block (for a short row, the whole row) is
// read only once.
const IGNORE: u32 = 0xffffffffu;
struct Params {
    rows: u32,
    cols: u32,   // of the vocabulary, in Reals
    scale: f32,
}
@group(0) @binding(0) var<storage, read_write> logits:  array<Stored>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       targets: array<u32>;     // [ROWS]
@group(0) @binding(2) var<storage, read_write> losses:  array<f32>;     // [ROWS]
@group(0) @binding(3) var<storage, read>       factor:  array<f32>;     // [1] the loss scale
@group(0) @binding(4) var<uniform>             params:  Params;

@compute @workgroup_size(WG)
fn cross_entropy_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * count.x + group.x;
    if (row >= params.rows) { return; }
    let id = targets[row];
    let first = row * params.cols;
    if (id == IGNORE) {
        for (var col = lane; col < params.cols; col += WG) { logits[first + col] = Stored(); }
        if (lane == 0u) { losses[row] = 0.0; }
        return;
    }
    // The lane that will overwrite the target's logit also reads it, and so writes the loss.
    let id_col = id / WIDTH;
    let onehot = unit(id % WIDTH);
    let has_id = id_col % WG == lane;
    var id_logit = 0.0;
    if (has_id) { id_logit = total(Real(logits[first + id_col]) * onehot); }

    let last = (params.cols - 1u) / (KEPT * WG) * (KEPT * WG);  // start of the last block
    for (var begin = lane; begin <= last + lane; begin += KEPT * WG) {
        for (var i = 0u; i < KEPT; i++) {
            let col = begin + i * WG;
            block[i] = Real(LOWEST);
            if (col < params.cols) { block[i] = Real(logits[first + col]); }
        }
        take_block();
    }
    let row_top = workgroup_max(top, lane);
    let from_lane = exp(top - row_top);
    let row_sum = workgroup_sum(sum * from_lane, lane);
    if (has_id) { losses[row] = row_top + log(row_sum) - id_logit; }

    let scale = params.scale * factor[0];
    let share = from_lane / row_sum;
    for (var i = 0u; i < KEPT; i++) {
        let col = last + i * WG + lane;
        if (col < params.cols) {
            var p = block[i] * share;
            if (col == id_col) { p -= onehot; }
            logits[first + col] = stored(scale * p);
        }
    }
    for (var begin = lane; begin < last + lane; begin += KEPT * WG) {
        for (var i = 0u; i < KEPT; i++) { block[i] = Real(logits[first + begin + i * WG]); }
        for (var i = 0u; i < KEPT; i++) {
            let col = begin + i * WG;
            var p = exp(block[i] - row_top) / row_sum;
            if (col == id_col) { p -= onehot; }
            logits[first + col] = stored(scale * p);
        }
    }
}
