// Sums and maxima over a workgroup of WG lanes with two barriers, in a fixed order; WG is a multiple of 16.
override WG: u32 = 64u;
const PARTS: u32 = 16u;
var<workgroup> reduce_lanes: array<f32, WG>;
var<workgroup> reduce_parts: array<f32, PARTS>;

fn workgroup_sum(value: f32, lane: u32) -> f32 {
    reduce_lanes[lane] = value;  // the previous reduction's values were read before its second barrier
    workgroupBarrier();
    if (lane < PARTS) {
        var part = 0.0;
        for (var at = lane; at < WG; at += PARTS) { part += reduce_lanes[at]; }
        reduce_parts[lane] = part;
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var at = 0u; at < PARTS; at++) { sum += reduce_parts[at]; }
    return sum;
}

fn workgroup_max(value: f32, lane: u32) -> f32 {
    reduce_lanes[lane] = value;
    workgroupBarrier();
    if (lane < PARTS) {
        var part = reduce_lanes[lane];
        for (var at = lane + PARTS; at < WG; at += PARTS) { part = max(part, reduce_lanes[at]); }
        reduce_parts[lane] = part;
    }
    workgroupBarrier();
    var largest = reduce_parts[0];
    for (var at = 1u; at < PARTS; at++) { largest = max(largest, reduce_parts[at]); }
    return largest;
}
