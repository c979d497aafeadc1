// y = g w: a 64x64 tile of y a workgroup, operands through workgroup memory; K and N are multiples of 4.
override M: u32;
override N: u32;
override K: u32;
override ACCUMULATE: bool = false;
@group(0) @binding(0) var<storage, read>       g: array<vec4<f32>>;  // [M, K]
@group(0) @binding(1) var<storage, read>       w: array<vec4<f32>>;  // [K, N]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;        // [M, N]

@compute @workgroup_size(64)
fn matmul_nn_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tx = lane % 8u;
    let ty = lane / 8u;
    for (var k = 0u; k < K; k += DEPTH) {
        {  // both tiles, one 4x4 block of each a lane
            // Four rows of g, four deep: transposed, so that a depth stands together.
            var g_rows: mat4x4<f32>;
            for (var r = 0u; r < 4u; r++) {
                let at = group.y * TILE + 4u * (lane / 4u) + r;
                g_rows[r] = vec4<f32>();
                if (at < M && k + 4u * (lane % 4u) < K) { g_rows[r] = g[at * (K / 4u) + k / 4u + lane % 4u]; }
            }
            let g_depths = transpose(g_rows);
            for (var d = 0u; d < 4u; d++) { tile_a[(4u * (lane % 4u) + d) * PITCH + lane / 4u] = g_depths[d]; }
            for (var d = 0u; d < 4u; d++) {
                let depth = 4u * d + lane / 16u;
                let at = group.x * TILE + 4u * (lane % 16u);
                var value = vec4<f32>();
                if (at < N && k + depth < K) { value = w[(k + depth) * (N / 4u) + at / 4u]; }
                tile_b[depth * PITCH + lane % 16u] = value;
            }
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
                if (row < M && col < N) {
                    let at = row * N + col;
                    y[at] = select(0.0, y[at], ACCUMULATE) + tile_sums[2u * i + half][c];
                }
            }
        }
    }
}
