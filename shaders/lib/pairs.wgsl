// Two vectors side by side, component by component: each value read serves both.

// sums + x of each vector times y.
fn add_dots(sums: vec2<f32>, x: mat4x2<f32>, y: vec4<f32>) -> vec2<f32> {
    return fma(x[3], vec2(y.w), fma(x[2], vec2(y.z), fma(x[1], vec2(y.y), fma(x[0], vec2(y.x), sums))));
}

// sums + weights y, with each vector's own weight.
fn add_outer(sums: mat4x2<f32>, weights: vec2<f32>, y: vec4<f32>) -> mat4x2<f32> {
    return mat4x2(
        fma(weights, vec2(y.x), sums[0]), fma(weights, vec2(y.y), sums[1]),
        fma(weights, vec2(y.z), sums[2]), fma(weights, vec2(y.w), sums[3]),
    );
}
