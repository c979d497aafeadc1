// y = ALPHA x xT + BETA z + GAMMA I for symmetric z: the tiles of the lower triangle are computed and mirrored.
// Tiles through workgroup memory; M = N, and K is a multiple of 4.
override HAS_Z: bool;  // else BETA is 0, and z is not read
struct Params {
    m: u32,
    n: u32,
    k: u32,
    alpha: f32,
    beta: f32,
    gamma: f32,
}
@group(0) @binding(0) var<storage, read>       x: array<vec4<f32>>;  // [matrices, M, K]
@group(0) @binding(1) var<storage, read>       z: array<f32>;        // [matrices, M, M]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;        // [matrices, M, M]
@group(0) @binding(3) var<uniform>             params: Params;

var<private> matrix: u32;

// Workgroups: [tiles across, tiles down, matrices].
@compute @workgroup_size(LANES)
fn gram_tile(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if (group.x > group.y) { return; }
    matrix = group.z;
    tile_product(group.y * TILE, group.x * TILE, 0u, params.k, lane);
    let first = matrix * params.m * params.m;
    for (var i = 0u; i < 8u; i++) {
        let row = group.y * TILE + sum_row(i, lane);
        for (var j = 0u; j < VECS; j++) {
            for (var c = 0u; c < 4u; c++) {
                let col = group.x * TILE + sum_col(j, lane) + c;
                if (row < params.m && col <= row) {
                    var value = params.alpha * sums[i * VECS + j][c];
                    if (HAS_Z) { value = fma(params.beta, z[first + row * params.m + col], value); }
                    if (col == row) { value += params.gamma; }
                    y[first + row * params.m + col] = value;
                    y[first + col * params.m + row] = value;
                }
            }
        }
    }
}

fn load_a(outer: u32, inner: u32) -> vec4<f32> {
    return x[(matrix * params.m + outer) * (params.k / 4u) + inner / 4u];
}

fn load_b(outer: u32, inner: u32) -> vec4<f32> {
    return load_a(outer, inner);
}
