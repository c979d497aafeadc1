// y (+)= factor a b on half-precision matrix units: operands are staged as f16, in whatever precision they lie in memory, and
// sums are f32.
// A tile of 128x128 of y by 4 subgroups of 32 lanes, 64x64 each in 4x4 cooperative matrices; both operands pass through
// workgroup memory, DEPTH deep (lib/units_*.wgsl), and what comes next is loaded into registers meanwhile. Sums leave through
// workgroup memory as well, 16x16 a subgroup at a time, for matrices can neither be scaled by lane nor become f16.
// Sizes along which a matrix lies in memory are multiples of 4.
override A_BY_DEPTH: bool;  // a is [M, K] in memory; else [K, M]
override B_BY_DEPTH: bool;  // b is [N, K] in memory; else [K, N]
override ACCUMULATE: bool = false;
struct Params {
    m: u32,
    n: u32,
    k: u32,
    k_part: u32,  // depths of a part; a multiple of 16 where there is more than one
    parts: u32,   // of K
}
const TILE: u32 = 128u;
const LANES: u32 = 128u;
const PITCH: u32 = 34u;  // vec4s from one depth to the next: 128 elements, and 2 against bank conflicts
const TILE_VECS: u32 = DEPTH * PITCH;
// vec4s of either tile that a lane loads: 4 for each 16 depths, one after the other in the text. Indexed in a loop they left
// the registers of an H100, and a step of 60m took 72 ms where it takes 43.
const LOADS: u32 = 8u;
@group(0) @binding(0) var<storage, read>       a:      array<TypeA>;   // [matrices, M, K] or [matrices, K, M]
@group(0) @binding(1) var<storage, read>       b:      array<TypeB>;   // [matrices, N, K] or [matrices, K, N]
@group(0) @binding(2) var<storage, read_write> y:      array<Stored>;  // [matrices, PARTS, M, N]
@group(0) @binding(3) var<storage, read>       factor: array<f32>;     // [1]
@group(0) @binding(4) var<uniform>             params: Params;

var<workgroup> tile_a: array<vec4<f16>, TILE_VECS>;  // [DEPTH, PITCH]
var<workgroup> tile_b: array<vec4<f16>, TILE_VECS>;
var<workgroup> strips: array<vec4<f32>, 256>;  // [subgroups, 16, 16]
var<private> next_a: array<vec4<f16>, LOADS>;  // this lane's share of the tiles that come next
var<private> next_b: array<vec4<f16>, LOADS>;

// Workgroups: [tiles across, tiles down, matrices * PARTS].
@compute @workgroup_size(LANES)
fn matmul_half_units(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let matrix = group.z / params.parts;
    let begin = group.z % params.parts * params.k_part;
    let end = min(begin + params.k_part, params.k);
    let sub_row = lane / 64u * 64u;  // of this subgroup's part of the tile
    let sub_col = lane / 32u % 2u * 64u;
    var y00 = coop_mat16x16<f32, C>();
    var y01 = coop_mat16x16<f32, C>();
    var y02 = coop_mat16x16<f32, C>();
    var y03 = coop_mat16x16<f32, C>();
    var y10 = coop_mat16x16<f32, C>();
    var y11 = coop_mat16x16<f32, C>();
    var y12 = coop_mat16x16<f32, C>();
    var y13 = coop_mat16x16<f32, C>();
    var y20 = coop_mat16x16<f32, C>();
    var y21 = coop_mat16x16<f32, C>();
    var y22 = coop_mat16x16<f32, C>();
    var y23 = coop_mat16x16<f32, C>();
    var y30 = coop_mat16x16<f32, C>();
    var y31 = coop_mat16x16<f32, C>();
    var y32 = coop_mat16x16<f32, C>();
    var y33 = coop_mat16x16<f32, C>();
    fetch(matrix, group.y * TILE, group.x * TILE, begin, end, lane);
    for (var k = begin; k < end; k += DEPTH) {
        stage(lane);
        workgroupBarrier();
        fetch(matrix, group.y * TILE, group.x * TILE, k + DEPTH, end, lane);
        {
            let at_a = sub_row / 4u;
            let at_b = sub_col / 4u;
            let b0 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at_b], PITCH);
            let b1 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at_b + 4u], PITCH);
            let b2 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at_b + 8u], PITCH);
            let b3 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at_b + 12u], PITCH);
            let a0 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at_a], PITCH);
            y00 = coopMultiplyAdd(a0, b0, y00);
            y01 = coopMultiplyAdd(a0, b1, y01);
            y02 = coopMultiplyAdd(a0, b2, y02);
            y03 = coopMultiplyAdd(a0, b3, y03);
            let a1 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at_a + 4u], PITCH);
            y10 = coopMultiplyAdd(a1, b0, y10);
            y11 = coopMultiplyAdd(a1, b1, y11);
            y12 = coopMultiplyAdd(a1, b2, y12);
            y13 = coopMultiplyAdd(a1, b3, y13);
            let a2 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at_a + 8u], PITCH);
            y20 = coopMultiplyAdd(a2, b0, y20);
            y21 = coopMultiplyAdd(a2, b1, y21);
            y22 = coopMultiplyAdd(a2, b2, y22);
            y23 = coopMultiplyAdd(a2, b3, y23);
            let a3 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at_a + 12u], PITCH);
            y30 = coopMultiplyAdd(a3, b0, y30);
            y31 = coopMultiplyAdd(a3, b1, y31);
            y32 = coopMultiplyAdd(a3, b2, y32);
            y33 = coopMultiplyAdd(a3, b3, y33);
        }
        if (DEPTH > 16u) {
            let at_a = 16u * PITCH + sub_row / 4u;
            let at_b = 16u * PITCH + sub_col / 4u;
            let b0 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at_b], PITCH);
            let b1 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at_b + 4u], PITCH);
            let b2 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at_b + 8u], PITCH);
            let b3 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[at_b + 12u], PITCH);
            let a0 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at_a], PITCH);
            y00 = coopMultiplyAdd(a0, b0, y00);
            y01 = coopMultiplyAdd(a0, b1, y01);
            y02 = coopMultiplyAdd(a0, b2, y02);
            y03 = coopMultiplyAdd(a0, b3, y03);
            let a1 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at_a + 4u], PITCH);
            y10 = coopMultiplyAdd(a1, b0, y10);
            y11 = coopMultiplyAdd(a1, b1, y11);
            y12 = coopMultiplyAdd(a1, b2, y12);
            y13 = coopMultiplyAdd(a1, b3, y13);
            let a2 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at_a + 8u], PITCH);
            y20 = coopMultiplyAdd(a2, b0, y20);
            y21 = coopMultiplyAdd(a2, b1, y21);
            y22 = coopMultiplyAdd(a2, b2, y22);
            y23 = coopMultiplyAdd(a2, b3, y23);
            let a3 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[at_a + 12u], PITCH);
            y30 = coopMultiplyAdd(a3, b0, y30);
            y31 = coopMultiplyAdd(a3, b1, y31);
            y32 = coopMultiplyAdd(a3, b2, y32);
            y33 = coopMultiplyAdd(a3, b3, y33);
        }
        workgroupBarrier();
    }
    let row = group.y * TILE + sub_row;
    let col = group.x * TILE + sub_col;
    leave(y00, group.z, row, col, lane);
    leave(y01, group.z, row, col + 16u, lane);
    leave(y02, group.z, row, col + 32u, lane);
    leave(y03, group.z, row, col + 48u, lane);
    leave(y10, group.z, row + 16u, col, lane);
    leave(y11, group.z, row + 16u, col + 16u, lane);
    leave(y12, group.z, row + 16u, col + 32u, lane);
    leave(y13, group.z, row + 16u, col + 48u, lane);
    leave(y20, group.z, row + 32u, col, lane);
    leave(y21, group.z, row + 32u, col + 16u, lane);
    leave(y22, group.z, row + 32u, col + 32u, lane);
    leave(y23, group.z, row + 32u, col + 48u, lane);
    leave(y30, group.z, row + 48u, col, lane);
    leave(y31, group.z, row + 48u, col + 16u, lane);
    leave(y32, group.z, row + 48u, col + 32u, lane);
    leave(y33, group.z, row + 48u, col + 48u, lane);
}

// A subgroup's 16x16 sums, the first of which is at (row, col) of y.
fn leave(sums: coop_mat16x16<f32, C>, part: u32, row: u32, col: u32, lane: u32) {
    let strip = lane / 32u * 64u;
    coopStoreT(sums, &strips[strip], 4u);
    workgroupBarrier();
    let scale = factor[0];
    let of_row = row + lane % 32u / 2u;  // each lane has half a row of 16
    for (var i = 0u; i < 8u; i += 4u) {
        let of_col = col + lane % 2u * 8u + i;
        if (of_row < params.m && of_col < params.n) {
            let sum = strips[strip + lane % 32u * 2u + i / 4u];
            let at = ((part * params.m + of_row) * params.n + of_col) / 4u;
            y[at] = stored(select(Real(), Real(y[at]), ACCUMULATE) + scale * sum);
        }
    }
    workgroupBarrier();
}

// Where K is contiguous a lane takes blocks of four rows, four deep: four lanes side by side read 16 neighbours of a row.
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
        next_a[4] = of_a(matrix, row, k + 16u, end, 0u, lane);
        next_a[5] = of_a(matrix, row, k + 16u, end, 1u, lane);
        next_a[6] = of_a(matrix, row, k + 16u, end, 2u, lane);
        next_a[7] = of_a(matrix, row, k + 16u, end, 3u, lane);
        next_b[4] = of_b(matrix, col, k + 16u, end, 0u, lane);
        next_b[5] = of_b(matrix, col, k + 16u, end, 1u, lane);
        next_b[6] = of_b(matrix, col, k + 16u, end, 2u, lane);
        next_b[7] = of_b(matrix, col, k + 16u, end, 3u, lane);
    }
}

// Vec4 i of a lane's four from depth k on.
fn of_a(matrix: u32, row: u32, k: u32, end: u32, i: u32, lane: u32) -> vec4<f16> {
    let inner = k + 4u * (lane % 4u);
    let depth = k + lane / 32u + 4u * i;
    var value = vec4<f16>();
    if (A_BY_DEPTH) {
        let outer = matrix * params.m + min(row + lane / 4u * 4u + i, params.m - 1u);
        if (inner < end) { value = vec4<f16>(a[outer * (params.k / 4u) + inner / 4u]); }
    } else if (depth < end) {
        let along = min(row / 4u + lane % 32u, params.m / 4u - 1u);
        value = vec4<f16>(a[(matrix * params.k + depth) * (params.m / 4u) + along]);
    }
    return value;
}

fn of_b(matrix: u32, col: u32, k: u32, end: u32, i: u32, lane: u32) -> vec4<f16> {
    let inner = k + 4u * (lane % 4u);
    let depth = k + lane / 32u + 4u * i;
    var value = vec4<f16>();
    if (B_BY_DEPTH) {
        let outer = matrix * params.n + min(col + lane / 4u * 4u + i, params.n - 1u);
        if (inner < end) { value = vec4<f16>(b[outer * (params.k / 4u) + inner / 4u]); }
    } else if (depth < end) {
        let along = min(col / 4u + lane % 32u, params.n / 4u - 1u);
        value = vec4<f16>(b[(matrix * params.k + depth) * (params.n / 4u) + along]);
    }
    return value;
}

fn stage(lane: u32) {
    stage_depths(0u, next_a[0], next_a[1], next_a[2], next_a[3], next_b[0], next_b[1], next_b[2], next_b[3], lane);
    if (DEPTH > 16u) {
        stage_depths(16u, next_a[4], next_a[5], next_a[6], next_a[7], next_b[4], next_b[5], next_b[6], next_b[7], lane);
    }
}

fn stage_depths(
    first: u32,
    a0: vec4<f16>, a1: vec4<f16>, a2: vec4<f16>, a3: vec4<f16>,
    b0: vec4<f16>, b1: vec4<f16>, b2: vec4<f16>, b3: vec4<f16>,
    lane: u32,
) {
    let transposed = (first + 4u * (lane % 4u)) * PITCH + lane / 4u;
    let straight = (first + lane / 32u) * PITCH + lane % 32u;
    var rows_a = mat4x4<f16>(a0, a1, a2, a3);
    var rows_b = mat4x4<f16>(b0, b1, b2, b3);
    if (A_BY_DEPTH) { rows_a = transpose(rows_a); }
    if (B_BY_DEPTH) { rows_b = transpose(rows_b); }
    let at_a = select(straight, transposed, A_BY_DEPTH);
    let at_b = select(straight, transposed, B_BY_DEPTH);
    let pitch_a = select(4u * PITCH, PITCH, A_BY_DEPTH);
    let pitch_b = select(4u * PITCH, PITCH, B_BY_DEPTH);
    tile_a[at_a] = rows_a[0];
    tile_a[at_a + pitch_a] = rows_a[1];
    tile_a[at_a + 2u * pitch_a] = rows_a[2];
    tile_a[at_a + 3u * pitch_a] = rows_a[3];
    tile_b[at_b] = rows_b[0];
    tile_b[at_b + pitch_b] = rows_b[1];
    tile_b[at_b + 2u * pitch_b] = rows_b[2];
    tile_b[at_b + 3u * pitch_b] = rows_b[3];
}
