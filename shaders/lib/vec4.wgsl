// Four neighbours at a time: the widest load that there is.
alias Real = vec4<f32>;
const WIDTH: u32 = 4u;

fn total(x: Real) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}

fn greatest(x: Real) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
}

// The largest |x| by its bits, which are ordered as numbers are; infinity and NaN stand above all.
fn magnitude(x: Real) -> u32 {
    let bits = bitcast<vec4<u32>>(x) & vec4(0x7fffffffu);
    return max(max(bits.x, bits.y), max(bits.z, bits.w));
}
