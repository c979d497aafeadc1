// y (+)= factor a b as in matmul_tile.wgsl, for sizes that are not multiples of 4: element by element.
override ACCUMULATE: bool = false;
struct Params {
    m: u32,
    n: u32,
    k: u32,
    k_part: u32,  // depths per part; a multiple of 16 if there is more than one
    parts: u32,   // of K
}
@group(0) @binding(0) var<storage, read>       a:      array<TypeA>;   // [matrices, M, K] or [matrices, K, M]
@group(0) @binding(1) var<storage, read>       b:      array<TypeB>;   // [matrices, N, K] or [matrices, K, N]
@group(0) @binding(2) var<storage, read_write> y:      array<Stored>;  // [matrices, PARTS, M, N]
@group(0) @binding(3) var<storage, read>       factor: array<f32>;     // [1]
@group(0) @binding(4) var<uniform>             params: Params;

var<private> matrix: u32;

// Workgroups: [tiles across, tiles down, matrices * PARTS].
@compute @workgroup_size(LANES)
fn matmul_tile_unaligned(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    matrix = group.z / params.parts;
    let begin = group.z % params.parts * params.k_part;
    tile_product(group.y * TILE, group.x * TILE, begin, min(begin + params.k_part, params.k), lane);
    let scale = factor[0];
    for (var i = 0u; i < 8u; i++) {
        let row = group.y * TILE + sum_row(i, lane);
        for (var j = 0u; j < VECS; j++) {
            for (var c = 0u; c < 4u; c++) {
                let col = group.x * TILE + sum_col(j, lane) + c;
                if (row < params.m && col < params.n) {
                    let at = (group.z * params.m + row) * params.n + col;
                    y[at] = stored(select(0.0, Real(y[at]), ACCUMULATE) + scale * sums[i * VECS + j][c]);
                }
            }
        }
    }
}

fn load_a(outer: u32, inner: u32) -> vec4<f32> {
    let pitch = select(params.m, params.k, A_BY_DEPTH);
    let row = matrix * (params.m * params.k) + outer * pitch;
    var value = vec4<f32>();
    for (var c = 0u; c < 4u; c++) {
        if (inner + c < pitch) { value[c] = f32(a[row + inner + c]); }
    }
    return value;
}

fn load_b(outer: u32, inner: u32) -> vec4<f32> {
    let pitch = select(params.n, params.k, B_BY_DEPTH);
    let row = matrix * (params.n * params.k) + outer * pitch;
    var value = vec4<f32>();
    for (var c = 0u; c < 4u; c++) {
        if (inner + c < pitch) { value[c] = f32(b[row + inner + c]); }
    }
    return value;
}
