// mask = 1 where a uniform number is below the score, else 0: one Bernoulli draw per unit (arXiv 2406.10576).
override STREAM: u32;
struct Params {
    len: u32,
}
@group(0) @binding(0) var<storage, read>       scores: array<f32>;  // [LEN]
@group(0) @binding(1) var<storage, read_write> mask:   array<f32>;  // [LEN]
@group(0) @binding(2) var<uniform>             step:   Step;
@group(0) @binding(3) var<uniform>             params: Params;

@compute @workgroup_size(64)
fn draw_mask(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= params.len) { return; }
    let bits = pcg4d(vec4(at, STREAM, step.number - 1u, step.seed)).x;
    mask[at] = select(0.0, 1.0, f32(bits >> 8u) / 16777216.0 < scores[at]);
}
