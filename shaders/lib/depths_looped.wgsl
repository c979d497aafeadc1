// The depths of a tile in a loop, which compiles soon: written out, beside loads element by element, llvmpipe compiles for
// minutes.
fn multiply(tx: u32, ty: u32) {
    for (var k = 0u; k < DEPTH; k++) { multiply_depth(k, tx, ty); }
}
