// Projects the scores of each scope onto the budget: s = clamp(s - v, 0, 1), with v = 0 if their sum then is at most
// BUDGET, else v between 0 and the largest score by bisection (arXiv 2406.10576, as its code computes it).
struct Params {
    len: u32,     // units per scope
    budget: f32,  // of the sum per scope
}
@group(0) @binding(0) var<storage, read_write> scores: array<f32>;  // [scopes, LEN]
@group(0) @binding(1) var<uniform>             params: Params;

// One workgroup per scope.
@compute @workgroup_size(WG)
fn project_scores(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let begin = group.x * params.len;
    let end = begin + params.len;
    var largest = 0.0;
    for (var at = begin + lane; at < end; at += WG) { largest = max(largest, scores[at]); }
    var low = 0.0;
    var high = workgroup_max(largest, lane);
    var shift = 0.0;
    let exceeds = workgroup_sum(sum_above(0.0, begin, end, lane), lane) > params.budget;
    var is_done = false;
    for (var round = 0u; round < 21u; round++) {
        let middle = 0.5 * (low + high);
        let excess = workgroup_sum(sum_above(middle, begin, end, lane), lane) - params.budget;
        if (!is_done) {
            shift = middle;
            if (excess > 0.0) { low = middle; } else { high = middle; }
        }
        is_done = is_done || abs(excess) < 1e-3;
    }
    if (!exceeds) { shift = 0.0; }
    for (var at = begin + lane; at < end; at += WG) { scores[at] = clamp(scores[at] - shift, 0.0, 1.0); }
}

// This lane's share of the sum of the clamped scores less `shift`.
fn sum_above(shift: f32, begin: u32, end: u32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var at = begin + lane; at < end; at += WG) { sum += clamp(scores[at] - shift, 0.0, 1.0); }
    return sum;
}
