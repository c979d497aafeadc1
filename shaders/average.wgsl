// M = BETA M + (1 - BETA) g; lookahead = BETA M + (1 - BETA) g for Nesterov, else M: momentum before the passes.
override LEN: u32;  // in Reals
override BETA: f32;
override REST: f32;              // 1 - BETA, computed by the host: f32 would lose digits
override NESTEROV: bool = false;
@group(0) @binding(0) var<storage, read>       gradient:   array<Real>;  // [LEN]
@group(0) @binding(1) var<storage, read_write> momentum:   array<Real>;  // [LEN], zero before the first step
@group(0) @binding(2) var<storage, read_write> lookahead:  array<Real>;  // [LEN]
@group(0) @binding(3) var<storage, read>       statistics: array<f32>;   // [1] is the clip factor

@compute @workgroup_size(64)
fn average(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= LEN || statistics[1] < 0.0) { return; }
    let g = REST * gradient[at] * statistics[1];
    let m = fma(Real(BETA), momentum[at], g);
    momentum[at] = m;
    var next = m;
    if (NESTEROV) { next = fma(Real(BETA), m, g); }
    lookahead[at] = next;
}
