// One head of TEAMS rows of two matrices in workgroup memory: of k and v, or of q and the output gradient.
// Each lane of a team holds DEPTH vec4s of every vector, those at part, part + LANES, ...
// The kernel defines how to read: scoring_at and weighed_at return the vec4 at an index of either matrix.
override HEAD_VEC4: u32;  // vec4s per head
override DEPTH: u32;      // vec4s per lane: at most 4, the last of them zeros if LANES * DEPTH is more than HEAD_VEC4
const UNSEEN: f32 = -3.4e38;
var<workgroup> scoring: array<vec4<f32>, 256>;  // [TEAMS, LANES * DEPTH] k or q: computes scores
var<workgroup> weighed: array<vec4<f32>, 256>;  // [TEAMS, LANES * DEPTH] v or dout: multiplied by softmax weights

// Rows first, first + 1, ... of the sequence whose first row is `base`, for this one of `heads` heads. The caller
// places the barriers.
fn stage_rows(base: u32, first: u32, heads: u32, head: u32, lane: u32) {
    for (var d = 0u; d < DEPTH; d++) {
        let i = d * 64u + lane;
        let at = i % (LANES * DEPTH);
        let source = ((base + min(first + i / (LANES * DEPTH), params.seq - 1u)) * heads + head) * HEAD_VEC4 + at;
        if (at < HEAD_VEC4) {
            scoring[i] = scoring_at(source);
            weighed[i] = weighed_at(source);
        } else {
            scoring[i] = vec4<f32>();
            weighed[i] = vec4<f32>();
        }
    }
}
