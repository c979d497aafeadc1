// One-sided Jacobi (Hestenes 1958): rotates the rows of b among each other until they are orthogonal, and those of y along
// with them. With b = y A for a y of orthonormal rows, the rows of y become left singular vectors and the norms of b's
// rows the singular values. One workgroup, for few rows.
override ROWS: u32;
override COLS: u32;
override Y_COLS: u32;
override SWEEPS: u32;
@group(0) @binding(0) var<storage, read_write> b: array<f32>;  // [ROWS, COLS]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [ROWS, Y_COLS]

@compute @workgroup_size(WG)
fn jacobi_rows(@builtin(local_invocation_index) lane: u32) {
    for (var sweep = 0u; sweep < SWEEPS; sweep++) {
        for (var i = 0u; i + 1u < ROWS; i++) {
            for (var j = i + 1u; j < ROWS; j++) {
                // Each lane touches its own columns alone, so that only the sums are shared.
                var of_i = 0.0;
                var of_j = 0.0;
                var product = 0.0;
                for (var at = lane; at < COLS; at += WG) {
                    let x = b[i * COLS + at];
                    let z = b[j * COLS + at];
                    of_i = fma(x, x, of_i);
                    of_j = fma(z, z, of_j);
                    product = fma(x, z, product);
                }
                of_i = workgroup_sum(of_i, lane);
                of_j = workgroup_sum(of_j, lane);
                product = workgroup_sum(product, lane);
                if (abs(product) > 1e-8 * sqrt(of_i) * sqrt(of_j)) {
                    let zeta = (of_j - of_i) / (2.0 * product);
                    let size = abs(zeta);
                    // The root of 1 + zeta^2 without its square, which may leave the range.
                    let root = select(sqrt(fma(zeta, zeta, 1.0)), size, size > 1e9);
                    let tangent = select(-1.0, 1.0, zeta >= 0.0) / (size + root);
                    let cosine = inverseSqrt(fma(tangent, tangent, 1.0));
                    let sine = cosine * tangent;
                    for (var at = lane; at < COLS; at += WG) {
                        let x = b[i * COLS + at];
                        let z = b[j * COLS + at];
                        b[i * COLS + at] = cosine * x - sine * z;
                        b[j * COLS + at] = sine * x + cosine * z;
                    }
                    for (var at = lane; at < Y_COLS; at += WG) {
                        let x = y[i * Y_COLS + at];
                        let z = y[j * Y_COLS + at];
                        y[i * Y_COLS + at] = cosine * x - sine * z;
                        y[j * Y_COLS + at] = sine * x + cosine * z;
                    }
                }
            }
        }
    }
}
