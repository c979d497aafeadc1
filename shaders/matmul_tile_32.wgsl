// y (+)= factor a b, a 32x32 tile of y per workgroup of 16 teams that share the depths: team t sums some of every 64,
// and the teams' sums are added in order. For products with few tiles: no part is written to memory and summed in a
// separate dispatch.
// Sizes of contiguous dimensions are multiples of 4.
override ACCUMULATE: bool = false;
override A_BY_DEPTH: bool;  // a is [M, K] in memory; else [K, M]
override B_BY_DEPTH: bool;  // b is [N, K] in memory; else [K, N]
struct Params {
    m: u32,
    n: u32,
    k: u32,
    k_part: u32,  // depths per part
    parts: u32,   // of K
}
@group(0) @binding(0) var<storage, read>       a:      array<TypeA>;   // [matrices, M, K] or [matrices, K, M]
@group(0) @binding(1) var<storage, read>       b:      array<TypeB>;   // [matrices, N, K] or [matrices, K, N]
@group(0) @binding(2) var<storage, read_write> y:      array<Stored>;  // [matrices, PARTS, M, N]
@group(0) @binding(3) var<storage, read>       factor: array<f32>;     // [1]
@group(0) @binding(4) var<uniform>             params: Params;

const TILE: u32 = 32u;
const DEPTH: u32 = 64u;
const PITCH: u32 = TILE / 4u;  // vec4s from one depth to the next
const TEAM: u32 = 16u;         // lanes per team, 4 by 4, each with 8x8 sums
const TILE_B: u32 = DEPTH * PITCH;
const OF_TEAM: u32 = TILE * PITCH;

// The tile of a, followed by that of b; at the end the sums of four teams.
var<workgroup> tiles: array<vec4<f32>, 2u * TILE_B>;
var<private> next: array<vec4<f32>, 4>;   // this lane's share of the next tiles
var<private> sums: array<vec4<f32>, 16>;  // [8 rows, 2]

// Workgroups: [tiles across, tiles down, matrices * PARTS].
@compute @workgroup_size(256)
fn matmul_tile_32(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let matrix = group.z / params.parts;
    let begin = group.z % params.parts * params.k_part;
    let end = min(begin + params.k_part, params.k);
    let row = group.y * TILE;
    let col = group.x * TILE;
    fetch(matrix, row, col, begin, end, lane);
    for (var k = begin; k < end; k += DEPTH) {
        stage(lane);
        workgroupBarrier();
        fetch(matrix, row, col, k + DEPTH, end, lane);
        for (var i = 0u; i < 4u; i++) { multiply_depth(depth_of_team(lane / TEAM) + i, lane); }
        workgroupBarrier();
    }
    let team = lane / TEAM;
    hand_over(16u, team, lane);
    hand_over(12u, team, lane);
    hand_over(8u, team, lane);
    // Four teams are left: all lanes add their sums, one vec4 of the tile each.
    if (team < 4u) { leave_sums(team, lane); }
    workgroupBarrier();
    let of_y = vec2(row + lane / PITCH, col + 4u * (lane % PITCH));
    if (of_y.x < params.m && of_y.y < params.n) {
        let at = ((group.z * params.m + of_y.x) * params.n + of_y.y) / 4u;
        let scale = factor[0];
        let sum = tiles[lane] + tiles[OF_TEAM + lane] + tiles[2u * OF_TEAM + lane] + tiles[3u * OF_TEAM + lane];
        y[at] = stored(select(Real(), Real(y[at]), ACCUMULATE) + scale * sum);
    }
}

// The first half of the workgroup reads the tile of a, the other half that of b.
fn fetch(matrix: u32, row: u32, col: u32, k: u32, end: u32, lane: u32) {
    let reads_a = lane < 128u;
    let by_depth = select(B_BY_DEPTH, A_BY_DEPTH, reads_a);
    let extent = select(params.n, params.m, reads_a);
    let first = select(col, row, reads_a);
    for (var i = 0u; i < 4u; i++) {
        next[i] = vec4(0.0);
        // By depth: four rows of a 4x4 block, 64 adjacent depths. Otherwise: all 32 of one depth.
        let depth = select(k + lane % 128u / 8u + 16u * i, k + 4u * (lane % 16u), by_depth);
        let outer = min(first + 4u * (lane % 128u / 16u) + i, extent - 1u);
        let along = min(first / 4u + lane % PITCH, extent / 4u - 1u);
        let pitch = select(extent, params.k, by_depth) / 4u;
        let at = matrix * (extent * params.k / 4u) + select(depth * pitch + along, outer * pitch + depth / 4u, by_depth);
        if (depth < end) {
            if (reads_a) { next[i] = vec4<f32>(a[at]); } else { next[i] = vec4<f32>(b[at]); }
        }
    }
}

// Index of a vec4, swizzled so that neither stores of transposed blocks nor reads of two teams have bank conflicts.
fn place(depth: u32, vec: u32) -> u32 {
    return depth * PITCH + (vec ^ (depth / 4u % 8u));
}

fn stage(lane: u32) {
    let transposed = transpose(mat4x4<f32>(next[0], next[1], next[2], next[3]));
    let of_a = lane < 128u;
    let first = select(TILE_B, 0u, of_a);
    for (var i = 0u; i < 4u; i++) {
        if (select(B_BY_DEPTH, A_BY_DEPTH, of_a)) {
            tiles[first + place(4u * (lane % 16u) + i, lane % 128u / 16u)] = transposed[i];
        } else {
            tiles[first + place(lane % 128u / 8u + 16u * i, lane % PITCH)] = next[i];
        }
    }
}

// The first of a team's four depths: adjacent teams are 16 depths apart.
fn depth_of_team(team: u32) -> u32 {
    return team % 4u * 16u + team / 4u * 4u;
}

// Lane (tx, ty) of a team sums the rows {4 ty .. 4 ty + 3} and {16 + 4 ty ..}, and of each the columns {4 tx ..} and {16 + 4 tx ..}.
fn multiply_depth(depth: u32, lane: u32) {
    let a0 = tiles[place(depth, lane / 4u % 4u)];
    let a1 = tiles[place(depth, 4u + lane / 4u % 4u)];
    for (var j = 0u; j < 2u; j++) {
        let b = tiles[TILE_B + place(depth, 4u * j + lane % 4u)];
        sums[j] = fma(vec4(a0.x), b, sums[j]);
        sums[2u + j] = fma(vec4(a0.y), b, sums[2u + j]);
        sums[4u + j] = fma(vec4(a0.z), b, sums[4u + j]);
        sums[6u + j] = fma(vec4(a0.w), b, sums[6u + j]);
        sums[8u + j] = fma(vec4(a1.x), b, sums[8u + j]);
        sums[10u + j] = fma(vec4(a1.y), b, sums[10u + j]);
        sums[12u + j] = fma(vec4(a1.z), b, sums[12u + j]);
        sums[14u + j] = fma(vec4(a1.w), b, sums[14u + j]);
    }
}

// The last four of the remaining teams pass their sums to the four before them.
fn hand_over(teams: u32, team: u32, lane: u32) {
    if (team >= teams - 4u && team < teams) { leave_sums(team - (teams - 4u), lane); }
    workgroupBarrier();
    if (team >= teams - 8u && team < teams - 4u) {
        for (var i = 0u; i < 16u; i++) { sums[i] += tiles[place_of_sum(team - (teams - 8u), i, lane)]; }
    }
    workgroupBarrier();
}

fn leave_sums(slot: u32, lane: u32) {
    for (var i = 0u; i < 16u; i++) { tiles[place_of_sum(slot, i, lane)] = sums[i]; }
}

fn place_of_sum(slot: u32, i: u32, lane: u32) -> u32 {
    let row = i / 8u * 16u + 4u * (lane / 4u % 4u) + i / 2u % 4u;
    return slot * OF_TEAM + row * PITCH + 4u * (i % 2u) + lane % 4u;
}
