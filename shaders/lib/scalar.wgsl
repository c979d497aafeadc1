// One number at a time: for software adapters, and for rows that vec4s do not span.
alias Real = f32;
const WIDTH: u32 = 1u;

fn total(x: Real) -> f32 {
    return x;
}

fn greatest(x: Real) -> f32 {
    return x;
}

// |x| as bits, which are ordered like the numbers; infinity and NaN are above all.
fn magnitude(x: Real) -> u32 {
    return bitcast<u32>(x) & 0x7fffffffu;
}

// 1 at index `i`, which is 0.
fn unit(i: u32) -> Real {
    return Real(i == 0u);
}
