// w = (1 - rate WEIGHT_DECAY) w - rate ((of_row + of_column) / 2 + rates[1] diag(r) G diag(c)): H-Fac's step.
override ROWS: u32;
override COLS: u32;
override WEIGHT_DECAY: f32 = 0.0;
@group(0) @binding(0) var<storage, read_write> weight:    array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       gradient:  array<f32>;  // [ROWS, COLS]
@group(0) @binding(2) var<storage, read>       r:         array<f32>;  // [ROWS]
@group(0) @binding(3) var<storage, read>       c:         array<f32>;  // [COLS]
@group(0) @binding(4) var<storage, read>       of_row:    array<f32>;  // [ROWS]
@group(0) @binding(5) var<storage, read>       of_column: array<f32>;  // [COLS]
@group(0) @binding(6) var<storage, read>       rates:     array<f32>;  // [2]
@group(0) @binding(7) var<storage, read>       statistics: array<f32>; // [1] says whether the run was halted
@group(0) @binding(8) var<uniform>             step:      Step;

@compute @workgroup_size(64)
fn h_fac_apply(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= ROWS * COLS || halted(statistics[1])) { return; }
    let row = at / COLS;
    let col = at % COLS;
    let rate = rates[0] * step.schedule;
    let update = 0.5 * (of_row[row] + of_column[col]) + rates[1] * r[row] * gradient[at] * c[col];
    weight[at] = weight[at] * (1.0 - rate * WEIGHT_DECAY) - rate * update;
}
