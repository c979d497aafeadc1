// y = s0 + .. + s7, each updated by s -> s a + b, 4 ROUNDS times: peak rate of multiply-adds in registers.
// The eight vec4s are independent; a, b and the initial values come from memory, so the compiler cannot fold them.
override ROUNDS: u32;
override LEN: u32;  // vec4s of y
@group(0) @binding(0) var<storage, read>       x: array<vec4<f32>>;  // [2]: a, b
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;  // [LEN]

@compute @workgroup_size(256)
fn bench_fma(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.x * 256u + lane;
    let a = x[0];
    let b = x[1];
    var s0 = b * f32(at % 8u);
    var s1 = s0 + b;
    var s2 = s1 + b;
    var s3 = s2 + b;
    var s4 = s3 + b;
    var s5 = s4 + b;
    var s6 = s5 + b;
    var s7 = s6 + b;
    for (var round = 0u; round < ROUNDS; round++) {
        // Unrolled by four to hide the cost of the loop itself.
        s0 = fma(s0, a, b); s1 = fma(s1, a, b); s2 = fma(s2, a, b); s3 = fma(s3, a, b);
        s4 = fma(s4, a, b); s5 = fma(s5, a, b); s6 = fma(s6, a, b); s7 = fma(s7, a, b);
        s0 = fma(s0, a, b); s1 = fma(s1, a, b); s2 = fma(s2, a, b); s3 = fma(s3, a, b);
        s4 = fma(s4, a, b); s5 = fma(s5, a, b); s6 = fma(s6, a, b); s7 = fma(s7, a, b);
        s0 = fma(s0, a, b); s1 = fma(s1, a, b); s2 = fma(s2, a, b); s3 = fma(s3, a, b);
        s4 = fma(s4, a, b); s5 = fma(s5, a, b); s6 = fma(s6, a, b); s7 = fma(s7, a, b);
        s0 = fma(s0, a, b); s1 = fma(s1, a, b); s2 = fma(s2, a, b); s3 = fma(s3, a, b);
        s4 = fma(s4, a, b); s5 = fma(s5, a, b); s6 = fma(s6, a, b); s7 = fma(s7, a, b);
    }
    if (at < LEN) { y[at] = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)); }
}
