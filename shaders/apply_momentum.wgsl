// M = BETA M + (1 - BETA) X with X = diag(r) G diag(c), or its sign; w = (1 - lr WEIGHT_DECAY) w - lr SCALE M, or with
// Nesterov BETA M + (1 - BETA) X in place of M: momentum after the passes.
override MATRICES: u32 = 1u;
override ROWS: u32;  // per matrix
override COLS: u32;  // in Reals
override LR: f32;
override SCALE: f32;
override BETA: f32;
override REST: f32;              // 1 - BETA, computed by the host: f32 would lose digits
override NESTEROV: bool = false;
override WEIGHT_DECAY: f32 = 0.0;
override HAS_ROWS: bool = true;  // else r is 1
override HAS_COLS: bool = true;  // else c is 1
override SIGN: bool = false;
@group(0) @binding(0) var<storage, read_write> weight:     array<Real>;  // [MATRICES, ROWS, COLS]
@group(0) @binding(1) var<storage, read_write> momentum:   array<Real>;  // [MATRICES, ROWS, COLS], zero before the first step
@group(0) @binding(2) var<storage, read>       gradient:   array<Real>;  // [MATRICES, ROWS, COLS]
@group(0) @binding(3) var<storage, read>       r:          array<f32>;   // [MATRICES, ROWS]
@group(0) @binding(4) var<storage, read>       c:          array<Real>;  // [MATRICES, COLS]
@group(0) @binding(5) var<storage, read>       statistics: array<f32>;   // [1] says whether the run was halted
@group(0) @binding(6) var<uniform>             step:       Step;

@compute @workgroup_size(64)
fn apply_momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= MATRICES * ROWS * COLS || halted(statistics[1])) { return; }
    var x = gradient[at];
    if (HAS_ROWS) { x *= r[at / COLS]; }
    if (HAS_COLS) { x *= c[column(at)]; }
    if (SIGN) { x = sign(x); }
    let m = fma(Real(BETA), momentum[at], REST * x);
    momentum[at] = m;
    var lookahead = m;
    if (NESTEROV) { lookahead = fma(Real(BETA), m, REST * x); }
    let lr = LR * step.schedule;
    weight[at] = weight[at] * (1.0 - lr * WEIGHT_DECAY) - lr * SCALE * lookahead;
}

// Index in c of an element's column.
fn column(at: u32) -> u32 {
    var column = at % COLS;
    if (MATRICES > 1u) { column += at / (ROWS * COLS) * COLS; }
    return column;
}
