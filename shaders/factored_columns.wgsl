// The columns of a factored second moment: col[j] = BETA col[j] + (1 - BETA) (mean over rows of g^2 + EPS), from the
// blocks' sums of squares, with BETA = 1 - t^-DECAY.
override ROWS: u32;
override COLS: u32;
override BLOCKS: u32;
override EPS: f32;
override DECAY: f32;
@group(0) @binding(0) var<storage, read>       partial:    array<f32>;  // [BLOCKS, COLS]
@group(0) @binding(1) var<storage, read>       statistics: array<f32>;  // [1] tells whether the run was halted
@group(0) @binding(2) var<storage, read_write> col:        array<f32>;  // [COLS]
@group(0) @binding(3) var<uniform>             step:       Step;

@compute @workgroup_size(64)
fn factored_columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.x * 64u + lane;
    if (at >= COLS || halted(statistics[1])) { return; }
    var squares = 0.0;
    for (var block = 0u; block < BLOCKS; block++) { squares += partial[block * COLS + at]; }
    let rest = pow(f32(step.number), -DECAY);
    col[at] = (1.0 - rest) * col[at] + rest * (squares / f32(ROWS) + EPS);
}
