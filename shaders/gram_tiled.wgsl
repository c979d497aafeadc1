// y = ALPHA x xT + BETA z + GAMMA I for symmetric z: the tiles of the lower triangle are computed and mirrored.
// A 64x64 tile of y a workgroup, operands through workgroup memory; K is a multiple of 4.
override M: u32;
override K: u32;
override ALPHA: f32 = 1.0;
override BETA: f32 = 0.0;   // 0: z is not read
override GAMMA: f32 = 0.0;
@group(0) @binding(0) var<storage, read>       x: array<vec4<f32>>;  // [M, K]
@group(0) @binding(1) var<storage, read>       z: array<f32>;        // [M, M]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;        // [M, M]

@compute @workgroup_size(64)
fn gram_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if (group.x > group.y) { return; }
    let tx = lane % 8u;
    let ty = lane / 8u;
    for (var k = 0u; k < K; k += DEPTH) {
        {  // both tiles, one 4x4 block of each a lane
            // Four rows of x, four deep: transposed, so that a depth stands together.
            var a_rows: mat4x4<f32>;
            for (var r = 0u; r < 4u; r++) {
                let at = group.y * TILE + 4u * (lane / 4u) + r;
                a_rows[r] = vec4<f32>();
                if (at < M && k + 4u * (lane % 4u) < K) { a_rows[r] = x[at * (K / 4u) + k / 4u + lane % 4u]; }
            }
            let a_depths = transpose(a_rows);
            for (var d = 0u; d < 4u; d++) { tile_a[(4u * (lane % 4u) + d) * PITCH + lane / 4u] = a_depths[d]; }
            var b_rows: mat4x4<f32>;
            for (var r = 0u; r < 4u; r++) {
                let at = group.x * TILE + 4u * (lane / 4u) + r;
                b_rows[r] = vec4<f32>();
                if (at < M && k + 4u * (lane % 4u) < K) { b_rows[r] = x[at * (K / 4u) + k / 4u + lane % 4u]; }
            }
            let b_depths = transpose(b_rows);
            for (var d = 0u; d < 4u; d++) { tile_b[(4u * (lane % 4u) + d) * PITCH + lane / 4u] = b_depths[d]; }
        }
        workgroupBarrier();
        tile_multiply(tx, ty);
        workgroupBarrier();
    }
    for (var i = 0u; i < 8u; i++) {
        let row = group.y * TILE + tile_row(ty, i);
        for (var half = 0u; half < 2u; half++) {
            for (var c = 0u; c < 4u; c++) {
                let col = group.x * TILE + tile_col(tx, half, c);
                if (row < M && col <= row) {
                    var value = ALPHA * tile_sums[2u * i + half][c];
                    if (BETA != 0.0) { value = fma(BETA, z[row * M + col], value); }
                    if (col == row) { value += GAMMA; }
                    y[row * M + col] = value;
                    y[col * M + row] = value;
                }
            }
        }
    }
}
