// y (+)= factor times the sum of PARTS parts, in order: combines the split sums of one product.
override ACCUMULATE: bool = false;
struct Params {
    len: u32,    // of y; in vec4s
    parts: u32,
}
@group(0) @binding(0) var<storage, read>       parts:  array<Real>;    // [PARTS, LEN]
@group(0) @binding(1) var<storage, read_write> y:      array<Stored>;  // [LEN]
@group(0) @binding(2) var<storage, read>       factor: array<f32>;     // [1]
@group(0) @binding(3) var<uniform>             params: Params;

@compute @workgroup_size(64)
fn sum_parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.y * count.x + group.x) * 64u + lane;
    if (at >= params.len) { return; }
    var sum = parts[at];
    let end = params.parts * params.len;
    for (var next = at + params.len; next < end; next += params.len) { sum += parts[next]; }
    let scale = factor[0];
    y[at] = stored(select(Real(), Real(y[at]), ACCUMULATE) + scale * sum);
}
