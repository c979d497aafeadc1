// y (+)= factor a b on half-precision matrix units: operands are staged as f16, whatever their precision in memory, and
// sums are f32. A 128x128 tile of y per workgroup (lib/half_units.wgsl).
// Sizes of contiguous dimensions are multiples of 4.
override A_BY_DEPTH: bool;  // a is [M, K] in memory; else [K, M]
override B_BY_DEPTH: bool;  // b is [N, K] in memory; else [K, N]
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

// Workgroups: [tiles across, tiles down, matrices * PARTS].
@compute @workgroup_size(LANES)
fn matmul_half_units(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let matrix = group.z / params.parts;
    let begin = group.z % params.parts * params.k_part;
    let end = min(begin + params.k_part, params.k);
    add_depths(matrix, group.y * TILE, group.x * TILE, begin, end, lane);
    let row = group.y * TILE + sub_row(lane);
    let col = group.x * TILE + sub_col(lane);
    leave(sums[0], group.z, row, col, lane);
    leave(sums[1], group.z, row, col + 16u, lane);
    leave(sums[2], group.z, row, col + 32u, lane);
    leave(sums[3], group.z, row, col + 48u, lane);
    leave(sums[4], group.z, row + 16u, col, lane);
    leave(sums[5], group.z, row + 16u, col + 16u, lane);
    leave(sums[6], group.z, row + 16u, col + 32u, lane);
    leave(sums[7], group.z, row + 16u, col + 48u, lane);
    leave(sums[8], group.z, row + 32u, col, lane);
    leave(sums[9], group.z, row + 32u, col + 16u, lane);
    leave(sums[10], group.z, row + 32u, col + 32u, lane);
    leave(sums[11], group.z, row + 32u, col + 48u, lane);
    leave(sums[12], group.z, row + 48u, col, lane);
    leave(sums[13], group.z, row + 48u, col + 16u, lane);
    leave(sums[14], group.z, row + 48u, col + 32u, lane);
    leave(sums[15], group.z, row + 48u, col + 48u, lane);
}

// Writes a subgroup's 16x16 sums, the first of which is at (row, col) of y.
fn leave(found: coop_mat16x16<f32, C>, part: u32, row: u32, col: u32, lane: u32) {
    let strip = lane / 32u * 64u;
    coopStoreT(found, &strips[strip], 4u);
    workgroupBarrier();
    let scale = factor[0];
    for (var i = lane % 32u; i < 64u; i += 32u) {
        let of_row = row + i / 4u;
        let of_col = col + i % 4u * 4u;
        if (of_row < params.m && of_col < params.n) {
            let at = ((part * params.m + of_row) * params.n + of_col) / 4u;
            y[at] = stored(select(Real(), Real(y[at]), ACCUMULATE) + scale * strips[strip + i]);
        }
    }
    workgroupBarrier();
}

fn vec4_of_a(place: u32) -> vec4<f16> {
    return vec4<f16>(a[place]);
}

fn of_b(matrix: u32, col: u32, k: u32, end: u32, i: u32, lane: u32) -> vec4<f16> {
    let inner = k + 4u * (lane % DEPTH_VECS);
    let depth = k + lane / 32u + 4u * i;
    var value = vec4<f16>();
    if (B_BY_DEPTH) {
        let outer = matrix * params.n + min(col + lane / DEPTH_VECS + ROWS_AT_ONCE * i, params.n - 1u);
        if (inner < end) { value = vec4<f16>(b[outer * (params.k / 4u) + inner / 4u]); }
    } else if (depth < end) {
        let along = min(col / 4u + lane % 32u, params.n / 4u - 1u);
        value = vec4<f16>(b[(matrix * params.k + depth) * (params.n / 4u) + along]);
    }
    return value;
}
