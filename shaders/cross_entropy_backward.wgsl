// logits becomes SCALE (softmax - onehot(target)), in place, for one chunk of the vocabulary.
override ROWS: u32;
override COLS: u32;           // of this chunk
override FIRST_ID: u32 = 0u;  // of this chunk
override SCALE: f32;
const IGNORE: u32 = 0xffffffffu;
@group(0) @binding(0) var<storage, read_write> logits:     array<f32>;        // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       targets:    array<u32>;        // [ROWS]
@group(0) @binding(2) var<storage, read>       statistics: array<vec4<f32>>;  // [ROWS]

@compute @workgroup_size(64)
fn cross_entropy_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= ROWS * COLS) { return; }
    let row = at / COLS;
    let s = statistics[row];
    let onehot = select(0.0, 1.0, targets[row] == FIRST_ID + at % COLS);
    let scale = select(SCALE, 0.0, targets[row] == IGNORE);
    logits[at] = scale * (exp(logits[at] - s.x) / s.y - onehot);
}
