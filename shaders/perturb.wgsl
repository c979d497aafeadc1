// Moves weights along a direction of standard normal numbers z, redrawn wherever they are needed: MeZO (arXiv
// 2305.17333).
override LEN: u32;
override STREAM: u32;
override FIRST: u32 = 0u;  // index of the weight's first element, if it is a part of a parameter
@group(0) @binding(0) var<storage, read_write> weight: array<f32>;  // [LEN]
@group(0) @binding(1) var<uniform>             motion: Move;
@group(0) @binding(2) var<uniform>             step:   Step;

@compute @workgroup_size(64)
fn perturb(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= LEN) { return; }
    weight[at] = moved(weight[at], normal(FIRST + at, STREAM, step.number - 1u, step.seed), motion, step.schedule);
}
