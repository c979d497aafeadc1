// gate = x gate_weightT, up = x up_weightT and activated = silu(gate) up on half-precision matrix units: operands are
// staged as f16, and sums are f32. Bit-identical to two products by matmul_half_units followed by swiglu.
// A workgroup computes 128 rows and 64 columns of each (lib/half_units.wgsl): of a subgroup's 64 columns of the tile,
// the first 32 are gate and the others the same columns of up, so that the lane that writes a gate has its up as well.
// K and N are multiples of 4.
struct Params {
    m: u32,
    n: u32,
    k: u32,
}
const A_BY_DEPTH: bool = true;
const B_BY_DEPTH: bool = true;
@group(0) @binding(0) var<storage, read>       x:           array<vec4<f16>>;  // [M, K]
@group(0) @binding(1) var<storage, read>       gate_weight: array<vec4<f32>>;  // [N, K]
@group(0) @binding(2) var<storage, read>       up_weight:   array<vec4<f32>>;  // [N, K]
@group(0) @binding(3) var<storage, read_write> gate:        array<Stored>;     // [M, N]
@group(0) @binding(4) var<storage, read_write> up:          array<Stored>;     // [M, N]
@group(0) @binding(5) var<storage, read_write> activated:   array<Stored>;     // [M, N]
@group(0) @binding(6) var<uniform>             params:      Params;

// Workgroups: [tiles across, tiles down].
@compute @workgroup_size(LANES)
fn matmul_swiglu_half_units(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    add_depths(0u, group.y * TILE, group.x * (TILE / 2u), 0u, params.k, lane);
    let row = group.y * TILE + sub_row(lane);
    let col = group.x * (TILE / 2u) + sub_col(lane) / 2u;
    leave(sums[0], sums[2], row, col, lane);
    leave(sums[1], sums[3], row, col + 16u, lane);
    leave(sums[4], sums[6], row + 16u, col, lane);
    leave(sums[5], sums[7], row + 16u, col + 16u, lane);
    leave(sums[8], sums[10], row + 32u, col, lane);
    leave(sums[9], sums[11], row + 32u, col + 16u, lane);
    leave(sums[12], sums[14], row + 48u, col, lane);
    leave(sums[13], sums[15], row + 48u, col + 16u, lane);
}

// Writes a subgroup's 16x16 sums of gate and of up, the first of which are at (row, col): gates first, which their
// lanes keep.
fn leave(of_gate: coop_mat16x16<f32, C>, of_up: coop_mat16x16<f32, C>, row: u32, col: u32, lane: u32) {
    let strip = lane / 32u * 64u;
    let place = strip + lane % 32u;  // index of a lane's first vec4; the other is eight rows below
    let of_row = row + lane % 32u / 4u;
    let of_col = col + lane % 4u * 4u;
    let at = (of_row * params.n + of_col) / 4u;
    let below = at + 2u * params.n;
    let writes = of_row < params.m && of_col < params.n;
    let writes_below = of_row + 8u < params.m && of_col < params.n;
    coopStoreT(of_gate, &strips[strip], 4u);
    workgroupBarrier();
    let g = stored(strips[place]);
    let g_below = stored(strips[place + 32u]);
    if (writes) { gate[at] = g; }
    if (writes_below) { gate[below] = g_below; }
    workgroupBarrier();
    coopStoreT(of_up, &strips[strip], 4u);
    workgroupBarrier();
    let u = stored(strips[place]);
    let u_below = stored(strips[place + 32u]);
    if (writes) {
        up[at] = u;
        activated[at] = stored(silu(Real(g)) * Real(u));
    }
    if (writes_below) {
        up[below] = u_below;
        activated[below] = stored(silu(Real(g_below)) * Real(u_below));
    }
    workgroupBarrier();
}

fn vec4_of_a(place: u32) -> vec4<f16> {
    return x[place];
}

// Which weight row i of a lane belongs to depends only on i, so lanes of a subgroup do not diverge.
fn of_b(matrix: u32, col: u32, k: u32, end: u32, i: u32, lane: u32) -> vec4<f16> {
    let inner = k + 4u * (lane % DEPTH_VECS);
    let of_tile = lane / DEPTH_VECS + ROWS_AT_ONCE * i;
    let outer = min(col + of_tile / 64u * 32u + of_tile % 32u, params.n - 1u);
    let at = outer * (params.k / 4u) + inner / 4u;
    var value = vec4<f16>();
    if (inner < end) {
        if (ROWS_AT_ONCE * i / 32u % 2u == 0u) {
            value = vec4<f16>(gate_weight[at]);
        } else {
            value = vec4<f16>(up_weight[at]);
        }
    }
    return value;
}
