// A 128x128 tile of a product by 4 subgroups of 32 lanes, 64x64 each in 4x4 cooperative matrices. Both operands pass
// through workgroup memory in their memory order, DEPTH deep (lib/units_*.wgsl), while the next tiles are loaded into
// registers.
// Sums are also written through workgroup memory, 16x16 per subgroup at a time, because cooperative matrices can
// neither be scaled by lane nor converted to f16. An H100 runs two workgroups at once if each uses up to 24 KiB,
// otherwise one.
// Arrays in registers are unrolled element by element: indexed in a loop they were spilled on an H100, and a step of
// 60m took 72 ms instead of 43.
// The kernel defines how operands are stored (A_BY_DEPTH, B_BY_DEPTH), their sizes (params.m and params.k), and how to
// read them: vec4_of_a(place), and of_b(matrix, col, k, end, i, lane), the counterpart of of_a here.
const TILE: u32 = 128u;
const LANES: u32 = 128u;
const DEPTH_VECS: u32 = DEPTH / 4u;
const ROWS_AT_ONCE: u32 = LANES / DEPTH_VECS;
// vec4s from one row of a staged operand to the next, chosen so that eight rows start in different banks.
const BY_DEPTH: u32 = DEPTH_VECS + 2u;  // a row or column of y, and its depths
const ALONG: u32 = 34u;                 // a depth, and its 128 rows or columns
const TILE_VECS: u32 = TILE * BY_DEPTH;
var<workgroup> tile_a: array<vec4<f16>, TILE_VECS>;  // [128, BY_DEPTH] or [DEPTH, ALONG]
var<workgroup> tile_b: array<vec4<f16>, TILE_VECS>;
var<workgroup> strips: array<vec4<f32>, 256>;        // [subgroups, 16, 16] sums on the way to memory
var<private> next_a: array<vec4<f16>, 8>;  // this lane's share of the next tiles: 4 per 16 depths
var<private> next_b: array<vec4<f16>, 8>;
var<private> sums: array<coop_mat16x16<f32, C>, 16>;  // [4, 4] the subgroup's part of the tile

// Offset of the subgroup's part of the tile.
fn sub_row(lane: u32) -> u32 {
    return lane / 64u * 64u;
}

fn sub_col(lane: u32) -> u32 {
    return lane / 32u % 2u * 64u;
}

// sums += the depths from `begin` to `end` of the tile at (row, col). When it returns, no lane reads the tiles any
// more.
fn add_depths(matrix: u32, row: u32, col: u32, begin: u32, end: u32, lane: u32) {
    fetch(matrix, row, col, begin, end, lane);
    for (var k = begin; k < end; k += DEPTH) {
        stage(lane);
        workgroupBarrier();
        fetch(matrix, row, col, k + DEPTH, end, lane);
        multiply(0u, sub_row(lane), sub_col(lane));
        if (DEPTH > 16u) { multiply(16u, sub_row(lane), sub_col(lane)); }
        workgroupBarrier();
    }
}

// 16 depths of both tiles.
fn multiply(depth: u32, sub_row: u32, sub_col: u32) {
    var a0 = coop_mat16x16<f16, A>();
    var a1 = coop_mat16x16<f16, A>();
    var a2 = coop_mat16x16<f16, A>();
    var a3 = coop_mat16x16<f16, A>();
    var b0 = coop_mat16x16<f16, B>();
    var b1 = coop_mat16x16<f16, B>();
    var b2 = coop_mat16x16<f16, B>();
    var b3 = coop_mat16x16<f16, B>();
    if (A_BY_DEPTH) {
        let at = sub_row * BY_DEPTH + depth / 4u;
        a0 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[at], BY_DEPTH);
        a1 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[at + 16u * BY_DEPTH], BY_DEPTH);
        a2 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[at + 32u * BY_DEPTH], BY_DEPTH);
        a3 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[at + 48u * BY_DEPTH], BY_DEPTH);
    } else {
        let at = depth * ALONG + sub_row / 4u;
        a0 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at], ALONG);
        a1 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at + 4u], ALONG);
        a2 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at + 8u], ALONG);
        a3 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at + 12u], ALONG);
    }
    if (B_BY_DEPTH) {
        let at = sub_col * BY_DEPTH + depth / 4u;
        b0 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[at], BY_DEPTH);
        b1 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[at + 16u * BY_DEPTH], BY_DEPTH);
        b2 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[at + 32u * BY_DEPTH], BY_DEPTH);
        b3 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[at + 48u * BY_DEPTH], BY_DEPTH);
    } else {
        let at = depth * ALONG + sub_col / 4u;
        b0 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at], ALONG);
        b1 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at + 4u], ALONG);
        b2 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at + 8u], ALONG);
        b3 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at + 12u], ALONG);
    }
    sums[0] = coopMultiplyAdd(a0, b0, sums[0]);
    sums[1] = coopMultiplyAdd(a0, b1, sums[1]);
    sums[2] = coopMultiplyAdd(a0, b2, sums[2]);
    sums[3] = coopMultiplyAdd(a0, b3, sums[3]);
    sums[4] = coopMultiplyAdd(a1, b0, sums[4]);
    sums[5] = coopMultiplyAdd(a1, b1, sums[5]);
    sums[6] = coopMultiplyAdd(a1, b2, sums[6]);
    sums[7] = coopMultiplyAdd(a1, b3, sums[7]);
    sums[8] = coopMultiplyAdd(a2, b0, sums[8]);
    sums[9] = coopMultiplyAdd(a2, b1, sums[9]);
    sums[10] = coopMultiplyAdd(a2, b2, sums[10]);
    sums[11] = coopMultiplyAdd(a2, b3, sums[11]);
    sums[12] = coopMultiplyAdd(a3, b0, sums[12]);
    sums[13] = coopMultiplyAdd(a3, b1, sums[13]);
    sums[14] = coopMultiplyAdd(a3, b2, sums[14]);
    sums[15] = coopMultiplyAdd(a3, b3, sums[15]);
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
    if (DEPTH > 16u) {
        next_a[4] = of_a(matrix, row, k, end, 4u, lane);
        next_a[5] = of_a(matrix, row, k, end, 5u, lane);
        next_a[6] = of_a(matrix, row, k, end, 6u, lane);
        next_a[7] = of_a(matrix, row, k, end, 7u, lane);
        next_b[4] = of_b(matrix, col, k, end, 4u, lane);
        next_b[5] = of_b(matrix, col, k, end, 5u, lane);
        next_b[6] = of_b(matrix, col, k, end, 6u, lane);
        next_b[7] = of_b(matrix, col, k, end, 7u, lane);
    }
}

// Vec4 i of a lane: with depths contiguous, adjacent depths of strided rows; otherwise all 128 of every fourth depth.
fn of_a(matrix: u32, row: u32, k: u32, end: u32, i: u32, lane: u32) -> vec4<f16> {
    let inner = k + 4u * (lane % DEPTH_VECS);
    let depth = k + lane / 32u + 4u * i;
    var value = vec4<f16>();
    if (A_BY_DEPTH) {
        let outer = matrix * params.m + min(row + lane / DEPTH_VECS + ROWS_AT_ONCE * i, params.m - 1u);
        if (inner < end) { value = vec4_of_a(outer * (params.k / 4u) + inner / 4u); }
    } else if (depth < end) {
        let along = min(row / 4u + lane % 32u, params.m / 4u - 1u);
        value = vec4_of_a((matrix * params.k + depth) * (params.m / 4u) + along);
    }
    return value;
}

fn stage(lane: u32) {
    let by_depth = lane / DEPTH_VECS * BY_DEPTH + lane % DEPTH_VECS;
    let along = lane / 32u * ALONG + lane % 32u;
    let at_a = select(along, by_depth, A_BY_DEPTH);
    let at_b = select(along, by_depth, B_BY_DEPTH);
    let pitch_a = select(4u * ALONG, ROWS_AT_ONCE * BY_DEPTH, A_BY_DEPTH);
    let pitch_b = select(4u * ALONG, ROWS_AT_ONCE * BY_DEPTH, B_BY_DEPTH);
    tile_a[at_a] = next_a[0];
    tile_a[at_a + pitch_a] = next_a[1];
    tile_a[at_a + 2u * pitch_a] = next_a[2];
    tile_a[at_a + 3u * pitch_a] = next_a[3];
    tile_b[at_b] = next_b[0];
    tile_b[at_b + pitch_b] = next_b[1];
    tile_b[at_b + 2u * pitch_b] = next_b[2];
    tile_b[at_b + 3u * pitch_b] = next_b[3];
    if (DEPTH > 16u) {
        tile_a[at_a + 4u * pitch_a] = next_a[4];
        tile_a[at_a + 5u * pitch_a] = next_a[5];
        tile_a[at_a + 6u * pitch_a] = next_a[6];
        tile_a[at_a + 7u * pitch_a] = next_a[7];
        tile_b[at_b + 4u * pitch_b] = next_b[4];
        tile_b[at_b + 5u * pitch_b] = next_b[5];
        tile_b[at_b + 6u * pitch_b] = next_b[6];
        tile_b[at_b + 7u * pitch_b] = next_b[7];
    }
}
