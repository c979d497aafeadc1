// The depths of a tile in a loop, which compiles fast: unrolled, next to element-wise loads, llvmpipe takes minutes to
// compile them.
fn multiply(tx: u32, ty: u32) {
    for (var k = 0u; k < DEPTH; k++) { multiply_depth(k, tx, ty); }
}
