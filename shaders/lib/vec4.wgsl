// Four adjacent numbers at a time: the widest possible load.
alias Real = vec4<f32>;
const WIDTH: u32 = 4u;

fn total(x: Real) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}

fn greatest(x: Real) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
}

// The largest |x| as bits, which are ordered like the numbers; infinity and NaN are above all.
fn magnitude(x: Real) -> u32 {
    let bits = bitcast<vec4<u32>>(x) & vec4(0x7fffffffu);
    return max(max(bits.x, bits.y), max(bits.z, bits.w));
}

// 1 at index `i`, 0 elsewhere.
fn unit(i: u32) -> Real {
    return Real(vec4(i) == vec4(0u, 1u, 2u, 3u));
}
