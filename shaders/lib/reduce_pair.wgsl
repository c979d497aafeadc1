// Two sums at a time over a workgroup of WG lanes, in a fixed order; WG is a power of two.
override WG: u32 = 64u;
var<workgroup> reduce_pairs: array<vec2<f32>, WG>;

fn workgroup_sums(values: vec2<f32>, lane: u32) -> vec2<f32> {
    workgroupBarrier();  // an earlier reduction may still be read
    reduce_pairs[lane] = values;
    workgroupBarrier();
    for (var width = WG / 2u; width > 0u; width /= 2u) {
        if (lane < width) { reduce_pairs[lane] += reduce_pairs[lane + width]; }
        workgroupBarrier();
    }
    return reduce_pairs[0];
}
