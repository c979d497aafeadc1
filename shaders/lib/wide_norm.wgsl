// Norms of numbers of any size: the bits of the largest magnitude, and squares scaled by a power of two chosen from it.
var<workgroup> norm_lanes: array<u32, 256>;

// Over a workgroup of `lanes` lanes, a power of two.
fn workgroup_largest(magnitude: u32, lane: u32, lanes: u32) -> u32 {
    workgroupBarrier();  // an earlier reduction may still be read
    norm_lanes[lane] = magnitude;
    workgroupBarrier();
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        if (lane < width) { norm_lanes[lane] = max(norm_lanes[lane], norm_lanes[lane + width]); }
        workgroupBarrier();
    }
    return norm_lanes[0];
}

// Checks the bits, because compilers may assume that values are finite.
fn is_bad(largest: u32) -> bool {
    return largest >= 0x7f800000u;
}

// The biased exponent of the unit: 1 if squares neither overflow nor vanish next to the largest, else near the largest.
fn norm_exponent(largest: u32) -> u32 {
    let exponent = largest >> 23u;
    if (exponent >= 87u && exponent <= 167u) { return 127u; }
    return clamp(exponent, 1u, 253u);
}

fn norm_unit(largest: u32) -> f32 {
    return bitcast<f32>(norm_exponent(largest) << 23u);
}

// 1 / unit, exactly.
fn norm_scale(largest: u32) -> f32 {
    return bitcast<f32>((254u - norm_exponent(largest)) << 23u);
}

// Converts squares from the unit of a part to the unit of the whole.
fn in_unit_of(whole: u32, part: vec2<u32>) -> f32 {
    let ratio = norm_scale(whole) * norm_unit(part.x);
    return bitcast<f32>(part.y) * (ratio * ratio);
}

// The norm of finite numbers, clamped to the largest finite number; for others a non-finite value.
fn norm_of(largest: u32, squares: f32) -> f32 {
    if (is_bad(largest)) { return bitcast<f32>(largest); }
    let root = min(sqrt(squares), min(1.0, norm_scale(largest)) * 3.4028234e38);
    return root * norm_unit(largest);
}
