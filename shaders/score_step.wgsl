// s -= LR schedule g, a step against the score function estimate of the loss's gradient (arXiv 2406.10576, as its code
// computes it): g = 1/(SAMPLES - 1) sum over j of (L_j - baseline) (m_j - s) / sqrt((s + e) (1 - s + e)), e = 1e-7.
override SAMPLES: u32;
override PITCH: u32;  // from one loss to the next
override LR: f32;
struct Params {
    len: u32,
}
@group(0) @binding(0) var<storage, read>       masks:    array<f32>;  // [SAMPLES, LEN]
@group(0) @binding(1) var<storage, read>       losses:   array<f32>;  // [SAMPLES, PITCH]: the first of each
@group(0) @binding(2) var<storage, read>       baseline: array<f32>;  // [1]
@group(0) @binding(3) var<storage, read_write> scores:   array<f32>;  // [LEN]
@group(0) @binding(4) var<uniform>             step:     Step;
@group(0) @binding(5) var<uniform>             params:   Params;

@compute @workgroup_size(64)
fn score_step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= params.len) { return; }
    let s = scores[at];
    let spread = sqrt((s + 1e-7) * (1.0 - s + 1e-7));
    var sum = 0.0;
    for (var j = 0u; j < SAMPLES; j++) {
        let excess = select(0.0, losses[j * PITCH] - baseline[0], is_finite(losses[j * PITCH]));
        sum += excess * (masks[j * params.len + at] - s) / spread;
    }
    scores[at] = s - LR * step.schedule * sum / f32(SAMPLES - 1u);
}
