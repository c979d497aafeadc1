// average = BETA average + (1 - BETA) latest; root = 1 / sqrt(average), times the clip factor if CLIPPED: RACS's
// scalings.
override LEN: u32;
override BETA: f32;
override REST: f32;  // 1 - BETA, computed by the host
override CLIPPED: bool;
@group(0) @binding(0) var<storage, read>       latest:     array<f32>;  // [LEN]
@group(0) @binding(1) var<storage, read>       statistics: array<f32>;  // [1] is the clip factor
@group(0) @binding(2) var<storage, read_write> average:    array<f32>;  // [LEN], zero before the first step
@group(0) @binding(3) var<storage, read_write> root:       array<f32>;  // [LEN]

@compute @workgroup_size(64)
fn averaged_root(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.x * 64u + lane;
    if (at >= LEN || halted(statistics[1])) { return; }
    let value = fma(BETA, average[at], REST * latest[at]);
    average[at] = value;
    var result = 0.0;  // a row or column that never had a gradient does not move
    if (value > 0.0) { result = inverseSqrt(value); }
    if (CLIPPED) { result *= statistics[1]; }
    root[at] = result;
}
