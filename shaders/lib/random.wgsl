// Counter-based random numbers: they depend only on index, stream, epoch and seed, not on the order of generation.

// pcg4d (Jarzynski & Olano 2020, "Hash functions for GPU rendering", JCGT 9(3)).
fn pcg4d(counter: vec4<u32>) -> vec4<u32> {
    var v = counter * 1664525u + 1013904223u;
    v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
    v ^= v >> vec4<u32>(16u);
    v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
    return v;
}

// A standard normal number from two 24-bit uniform ones (Box-Muller).
fn normal(at: u32, stream: u32, epoch: u32, seed: u32) -> f32 {
    let bits = pcg4d(vec4<u32>(at, stream, epoch, seed));
    let above_0 = f32((bits.x >> 8u) + 1u) / 16777216.0;
    // Near 1, WGSL's logarithm may have an error larger than its value; the series in the complement does not.
    let missing = f32(16777215u - (bits.x >> 8u)) / 16777216.0;
    let series = missing * (1.0 + missing * (0.5 + missing * (1.0 / 3.0 + missing * (0.25 + missing * 0.2))));
    let minus_log = select(-log(above_0), series, missing < 0.03125);
    // The angle from the nearest quarter turn, where sine and cosine are accurate.
    let eighth = (bits.y >> 8u) + 2097152u;
    let quarter = (eighth >> 22u) & 3u;
    let angle = 6.2831855 * (f32(eighth & 4194303u) - 2097152.0) / 16777216.0;
    let turned = select(cos(angle), -sin(angle), (quarter & 1u) == 1u);
    return sqrt(2.0 * minus_log) * select(turned, -turned, quarter >= 2u);
}
