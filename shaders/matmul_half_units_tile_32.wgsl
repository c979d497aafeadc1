// y (+)= factor a b on half-precision matrix units, a 32x32 tile of y per workgroup, whose subgroups share the depths:
// each sums 16 of every DEPTH (lib/shared_*.wgsl), and their sums are added in order. For products with few tiles, as
// from a small batch: no part is written to memory and summed in a separate dispatch, and many loads are in flight at
// once.
// Operands are staged in their memory order. An H100 runs two workgroups at once if each uses up to 24 KiB, otherwise
// one.
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
const TILE: u32 = 32u;
const LANES: u32 = 2u * DEPTH;
const DEPTH_VECS: u32 = DEPTH / 4u;
// vec4s from one row of a staged operand to the next, odd multiples of 16 bytes: eight rows start in different banks.
const BY_DEPTH: u32 = DEPTH_VECS + 2u;  // a row or column of y, and its depths
const ALONG: u32 = 10u;                 // a depth, and its 32 rows or columns
const TILE_VECS: u32 = DEPTH * ALONG;
const PITCH: u32 = 8u;                  // the same for sums
const STRIP: u32 = TILE * PITCH;
@group(0) @binding(0) var<storage, read>       a:      array<TypeA>;   // [matrices, M, K] or [matrices, K, M]
@group(0) @binding(1) var<storage, read>       b:      array<TypeB>;   // [matrices, N, K] or [matrices, K, N]
@group(0) @binding(2) var<storage, read_write> y:      array<Stored>;  // [matrices, PARTS, M, N]
@group(0) @binding(3) var<storage, read>       factor: array<f32>;     // [1]
@group(0) @binding(4) var<uniform>             params: Params;

var<workgroup> tile_a: array<vec4<f16>, TILE_VECS>;  // [32, BY_DEPTH] or [DEPTH, ALONG]
var<workgroup> tile_b: array<vec4<f16>, TILE_VECS>;
var<workgroup> strip: array<vec4<f32>, STRIP>;       // [32, 32] a subgroup's sums on the way to memory
var<private> next_a: array<vec4<f16>, 4>;  // this lane's share of the next tiles
var<private> next_b: array<vec4<f16>, 4>;

// Workgroups: [tiles across, tiles down, matrices * PARTS].
@compute @workgroup_size(LANES)
fn matmul_half_units_tile_32(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let matrix = group.z / params.parts;
    let begin = group.z % params.parts * params.k_part;
    let end = min(begin + params.k_part, params.k);
    let row = group.y * TILE;
    let col = group.x * TILE;
    let depth = lane / 32u * 16u;  // start of this subgroup's share of the tile
    var y00 = coop_mat16x16<f32, C>();
    var y01 = coop_mat16x16<f32, C>();
    var y10 = coop_mat16x16<f32, C>();
    var y11 = coop_mat16x16<f32, C>();
    fetch(matrix, row, col, begin, end, lane);
    for (var k = begin; k < end; k += DEPTH) {
        stage(lane);
        workgroupBarrier();
        fetch(matrix, row, col, k + DEPTH, end, lane);
        var a0 = coop_mat16x16<f16, A>();
        var a1 = coop_mat16x16<f16, A>();
        var b0 = coop_mat16x16<f16, B>();
        var b1 = coop_mat16x16<f16, B>();
        if (A_BY_DEPTH) {
            a0 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[depth / 4u], BY_DEPTH);
            a1 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[16u * BY_DEPTH + depth / 4u], BY_DEPTH);
        } else {
            a0 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[depth * ALONG], ALONG);
            a1 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[depth * ALONG + 4u], ALONG);
        }
        if (B_BY_DEPTH) {
            b0 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[depth / 4u], BY_DEPTH);
            b1 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[16u * BY_DEPTH + depth / 4u], BY_DEPTH);
        } else {
            b0 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[depth * ALONG], ALONG);
            b1 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[depth * ALONG + 4u], ALONG);
        }
        y00 = coopMultiplyAdd(a0, b0, y00);
        y01 = coopMultiplyAdd(a0, b1, y01);
        y10 = coopMultiplyAdd(a1, b0, y10);
        y11 = coopMultiplyAdd(a1, b1, y11);
        workgroupBarrier();
    }
    // Subgroups write their sums in turn, and each lane accumulates its own four, or eight.
    var sum = vec4<f32>();
    var other = vec4<f32>();
    for (var leaving = 0u; leaving < LANES / 32u; leaving++) {
        if (lane / 32u == leaving) {
            leave(y00, 0u);
            leave(y01, 4u);
            leave(y10, 16u * PITCH);
            leave(y11, 16u * PITCH + 4u);
        }
        workgroupBarrier();
        sum += strip[lane];
        if (LANES < STRIP) { other += strip[LANES + lane]; }
        workgroupBarrier();
    }
    put(sum, lane, group.z, row, col);
    if (LANES < STRIP) { put(other, LANES + lane, group.z, row, col); }
}

// Vec4 i of the tile that starts at (row, col).
fn put(sum: vec4<f32>, i: u32, part: u32, row: u32, col: u32) {
    let of_y = vec2(row + i / PITCH, col + 4u * (i % PITCH));
    if (of_y.x < params.m && of_y.y < params.n) {
        let at = ((part * params.m + of_y.x) * params.n + of_y.y) / 4u;
        y[at] = stored(select(Real(), Real(y[at]), ACCUMULATE) + factor[0] * sum);
    }
}

fn leave(sums: coop_mat16x16<f32, C>, at: u32) {
    coopStoreT(sums, &strip[at], PITCH);
}

fn fetch(matrix: u32, row: u32, col: u32, k: u32, end: u32, lane: u32) {
    next_a[0] = of_a(matrix, row, k, end, 0u, lane);
    next_a[1] = of_a(matrix, row, k, end, 1u, lane);
    next_a[2] = of_a(matrix, row, k, end, 2u, lane);
    next_a[3] = of_a(matrix, row, k, end, 3u, lane);
    next_b[0] = of_b(matrix, col, k, end, 0u, lane);
    next_b[1] = of_b(matrix, col, k, end, 1u, lane);
    next_b[2] = of_b(matrix, col, k, end, 2u, lane);
    next_b[3] = of_b(matrix, col, k, end, 3u, lane);
}

// Vec4 i of a lane's four: with depths contiguous, adjacent depths of every eighth row; otherwise all 32 of a quarter
// of the depths.
fn of_a(matrix: u32, row: u32, k: u32, end: u32, i: u32, lane: u32) -> vec4<f16> {
    var value = vec4<f16>();
    if (A_BY_DEPTH) {
        let depth = k + 4u * (lane % DEPTH_VECS);
        let outer = matrix * params.m + min(row + lane / DEPTH_VECS + 8u * i, params.m - 1u);
        if (depth < end) { value = vec4<f16>(a[(outer * params.k + depth) / 4u]); }
    } else {
        let depth = k + lane / 8u + DEPTH_VECS * i;
        let along = min(row / 4u + lane % 8u, params.m / 4u - 1u);
        if (depth < end) { value = vec4<f16>(a[(matrix * params.k + depth) * (params.m / 4u) + along]); }
    }
    return value;
}

fn of_b(matrix: u32, col: u32, k: u32, end: u32, i: u32, lane: u32) -> vec4<f16> {
    var value = vec4<f16>();
    if (B_BY_DEPTH) {
        let depth = k + 4u * (lane % DEPTH_VECS);
        let outer = matrix * params.n + min(col + lane / DEPTH_VECS + 8u * i, params.n - 1u);
        if (depth < end) { value = vec4<f16>(b[(outer * params.k + depth) / 4u]); }
    } else {
        let depth = k + lane / 8u + DEPTH_VECS * i;
        let along = min(col / 4u + lane % 8u, params.n / 4u - 1u);
        if (depth < end) { value = vec4<f16>(b[(matrix * params.k + depth) * (params.n / 4u) + along]); }
    }
    return value;
}

fn stage(lane: u32) {
    let at_a = place(A_BY_DEPTH, lane);
    let at_b = place(B_BY_DEPTH, lane);
    let pitch_a = select(DEPTH_VECS * ALONG, 8u * BY_DEPTH, A_BY_DEPTH);
    let pitch_b = select(DEPTH_VECS * ALONG, 8u * BY_DEPTH, B_BY_DEPTH);
    tile_a[at_a] = next_a[0];
    tile_a[at_a + pitch_a] = next_a[1];
    tile_a[at_a + 2u * pitch_a] = next_a[2];
    tile_a[at_a + 3u * pitch_a] = next_a[3];
    tile_b[at_b] = next_b[0];
    tile_b[at_b + pitch_b] = next_b[1];
    tile_b[at_b + 2u * pitch_b] = next_b[2];
    tile_b[at_b + 3u * pitch_b] = next_b[3];
}

// Offset of the first of a lane's four.
fn place(by_depth: bool, lane: u32) -> u32 {
    return select(lane / 8u * ALONG + lane % 8u, lane / DEPTH_VECS * BY_DEPTH + lane % DEPTH_VECS, by_depth);
}
