// w = (1 - lr WEIGHT_DECAY) w - lr SCALE diag(r) G diag(c): the step along a gradient that only scaling vectors normalize.
override ROWS: u32;
override COLS: u32;
override LR: f32;
override SCALE: f32;
override WEIGHT_DECAY: f32 = 0.0;
override HAS_COLS: bool = true;  // no column pass: c is 1
@group(0) @binding(0) var<storage, read_write> weight:   array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       gradient: array<f32>;  // [ROWS, COLS]
@group(0) @binding(2) var<storage, read>       r:        array<f32>;  // [ROWS]
@group(0) @binding(3) var<storage, read>       c:        array<f32>;  // [COLS]
@group(0) @binding(4) var<storage, read>       statistics: array<f32>;  // [1] says whether the run was halted
@group(0) @binding(5) var<uniform>             step:     Step;

@compute @workgroup_size(64)
fn apply_scaled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= ROWS * COLS || halted(statistics[1])) { return; }
    var update = r[at / COLS] * gradient[at];
    if (HAS_COLS) { update *= c[at % COLS]; }
    let lr = LR * step.schedule;
    weight[at] = weight[at] * (1.0 - lr * WEIGHT_DECAY) - lr * SCALE * update;
}
