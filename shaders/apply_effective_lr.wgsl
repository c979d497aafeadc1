// w = (1 - rate WEIGHT_DECAY) w - rate rates[1] SCALE diag(r) G diag(c), with rate = rates[0] times the schedule: a
// step whose length the device computed.
override ROWS: u32;
override COLS: u32;
override SCALE: f32;
override WEIGHT_DECAY: f32 = 0.0;
override HAS_ROWS: bool = true;  // else r is 1
override HAS_COLS: bool = true;  // else c is 1
@group(0) @binding(0) var<storage, read_write> weight:     array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       gradient:   array<f32>;  // [ROWS, COLS]
@group(0) @binding(2) var<storage, read>       r:          array<f32>;  // [ROWS]
@group(0) @binding(3) var<storage, read>       c:          array<f32>;  // [COLS]
@group(0) @binding(4) var<storage, read>       rates:      array<f32>;  // [2]
@group(0) @binding(5) var<storage, read>       statistics: array<f32>;  // [1] tells whether the run was halted
@group(0) @binding(6) var<uniform>             step:       Step;

@compute @workgroup_size(64)
fn apply_effective_lr(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= ROWS * COLS || halted(statistics[1])) { return; }
    var update = gradient[at];
    if (HAS_ROWS) { update *= r[at / COLS]; }
    if (HAS_COLS) { update *= c[at % COLS]; }
    let rate = rates[0] * step.schedule;
    weight[at] = weight[at] * (1.0 - rate * WEIGHT_DECAY) - rate * rates[1] * SCALE * update;
}
