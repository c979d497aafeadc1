// One number at a time: for software adapters, and for rows that vec4s do not span.
alias Real = f32;
const WIDTH: u32 = 1u;

fn total(x: Real) -> f32 {
    return x;
}

fn greatest(x: Real) -> f32 {
    return x;
}

// |x| by its bits, which are ordered as numbers are; infinity and NaN stand above all.
fn magnitude(x: Real) -> u32 {
    return bitcast<u32>(x) & 0x7fffffffu;
}
