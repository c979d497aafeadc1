// Moves weights along a low-rank direction, z = SCALE left right: SubZero (arXiv 2410.08989).
override ROWS: u32;
override COLS: u32;
override RANK: u32;
override SCALE: f32;
@group(0) @binding(0) var<storage, read_write> weight: array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       left:   array<f32>;  // [ROWS, RANK]
@group(0) @binding(2) var<storage, read>       right:  array<f32>;  // [RANK, COLS]
@group(0) @binding(3) var<uniform>             motion: Move;
@group(0) @binding(4) var<uniform>             step:   Step;

@compute @workgroup_size(64)
fn perturb_low_rank(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= ROWS * COLS) { return; }
    let row = at / COLS;
    let col = at % COLS;
    var z = 0.0;
    for (var k = 0u; k < RANK; k++) { z = fma(left[row * RANK + k], right[k * COLS + col], z); }
    weight[at] = moved(weight[at], SCALE * z, motion, step.schedule);
}
