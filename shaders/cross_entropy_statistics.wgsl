// Per row the running maximum, sum of exp(logit - maximum) and the target's logit, over one chunk of the vocabulary.
// One workgroup per row; a target of IGNORE belongs to no chunk.
override ROWS: u32;
override COLS: u32;           // of this chunk
override FIRST_ID: u32 = 0u;  // of this chunk
override BEGIN: bool = true;  // the first chunk: no statistics yet
@group(0) @binding(0) var<storage, read>       logits:     array<f32>;        // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       targets:    array<u32>;        // [ROWS]
@group(0) @binding(2) var<storage, read_write> statistics: array<vec4<f32>>;  // [ROWS]: maximum, sum, target's logit, 0

@compute @workgroup_size(WG)
fn cross_entropy_statistics(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.y * count.x + group.x;
    if (row >= ROWS) { return; }
    var top = -3.4e38;
    for (var col = lane; col < COLS; col += WG) { top = max(top, logits[row * COLS + col]); }
    let chunk_max = workgroup_max(top, lane);
    var sum = 0.0;
    for (var col = lane; col < COLS; col += WG) { sum += exp(logits[row * COLS + col] - chunk_max); }
    let chunk_sum = workgroup_sum(sum, lane);
    if (lane == 0u) {
        var now = vec4(chunk_max, chunk_sum, 0.0, 0.0);
        if (!BEGIN) {
            let before = statistics[row];
            let both = max(before.x, chunk_max);
            now = vec4(both, before.y * exp(before.x - both) + chunk_sum * exp(chunk_max - both), before.z, 0.0);
        }
        let target_col = targets[row] - FIRST_ID;  // wraps to a large number below the chunk
        if (target_col < COLS) { now.z = logits[row * COLS + target_col]; }
        statistics[row] = now;
    }
}
