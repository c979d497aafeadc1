// y (+)= factor a b, up to 64x64 of y per workgroup of 8 lanes, no workgroup memory; K is a multiple of 8, and sizes of
// contiguous dimensions are multiples of 4.
// A lane keeps 8 columns of up to 64 rows. One lane loads each element of a, and subgroupShuffle shares it: on llvmpipe
// one instruction multiplies for all 8 lanes, but each lane's load is a series of instructions of its own.
override ACCUMULATE: bool = false;
override A_BY_DEPTH: bool;  // a is [M, K] in memory; else [K, M]
override B_BY_DEPTH: bool;  // b is [N, K] in memory; else [K, N]
struct Params {
    m: u32,
    n: u32,
    k: u32,
    rows: u32,  // per workgroup: at most 64, a multiple of 8
}
@group(0) @binding(0) var<storage, read>       a:      array<TypeA>;   // [matrices, M, K] or [matrices, K, M]
@group(0) @binding(1) var<storage, read>       b:      array<TypeB>;   // [matrices, N, K] or [matrices, K, N]
@group(0) @binding(2) var<storage, read_write> y:      array<Stored>;  // [matrices, M, N]
@group(0) @binding(3) var<storage, read>       factor: array<f32>;     // [1]
@group(0) @binding(4) var<uniform>             params: Params;

const MOST_ROWS: u32 = 64u;
const DEPTHS: u32 = 8u;  // per iteration

var<private> sums: array<array<f32, 8>, MOST_ROWS>;   // of the lane's columns; Mesa compiles arrays of vec4s half as fast
var<private> columns: array<vec4<f32>, 2u * DEPTHS>;  // of b: [depth, first and last four]

// Workgroups: [blocks of 64 columns, blocks of ROWS rows, matrices].
@compute @workgroup_size(8)
fn matmul_shuffled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * params.rows;
    let rows = min(params.rows, params.m - row);
    let col = (group.x * 8u + lane) * 8u;
    // K, counted through all matrices: Mesa recompiled the kernel at every dispatch if only a uniform determined the trip
    // count of this loop.
    let first = group.z * params.k;
    for (var k = first; k < first + params.k; k += DEPTHS) {
        load_columns(group.z, col, k);
        for (var i = 0u; i < rows; i += 8u) { multiply_rows(group.z, row, i, min(8u, rows - i), k, lane); }
    }
    let scale = factor[0];
    for (var i = 0u; i < rows; i++) {
        let at = ((group.z * params.m + row + i) * params.n + col) / 4u;
        if (col < params.n) { y[at] = stored(select(Real(), Real(y[at]), ACCUMULATE) + scale * first_four(i)); }
        if (col + 4u < params.n) {
            y[at + 1u] = stored(select(Real(), Real(y[at + 1u]), ACCUMULATE) + scale * last_four(i));
        }
    }
}

// `k` counts through all matrices.
fn load_columns(matrix: u32, col: u32, k: u32) {
    if (B_BY_DEPTH) {
        for (var half = 0u; half < 2u; half++) {
            for (var depth = 0u; depth < 2u; depth++) {
                var block: mat4x4<f32>;
                for (var j = 0u; j < 4u; j++) {
                    let at = matrix * (params.n - 1u) + min(col + 4u * half + j, params.n - 1u);
                    block[j] = vec4<f32>(b[at * (params.k / 4u) + k / 4u + depth]);
                }
                let by_depth = transpose(block);
                for (var j = 0u; j < 4u; j++) { columns[2u * (4u * depth + j) + half] = by_depth[j]; }
            }
        }
    } else {
        for (var depth = 0u; depth < DEPTHS; depth++) {
            for (var half = 0u; half < 2u; half++) {
                let along = min(col + 4u * half, params.n - 4u);
                columns[2u * depth + half] = vec4<f32>(b[((k + depth) * params.n + along) / 4u]);
            }
        }
    }
}

// Up to 8 rows of a from `row + i`, one loaded by each lane; `k` counts through all matrices.
fn multiply_rows(matrix: u32, row: u32, i: u32, rows: u32, k: u32, lane: u32) {
    let mine = min(row + i + lane, params.m - 1u);
    var low: vec4<f32>;
    var high: vec4<f32>;
    if (A_BY_DEPTH) {
        let at = (matrix * (params.m - 1u) + mine) * (params.k / 4u) + k / 4u;
        low = vec4<f32>(a[at]);
        high = vec4<f32>(a[at + 1u]);
    } else {
        for (var depth = 0u; depth < 4u; depth++) {
            let at = (k + depth) * params.m + mine;
            low[depth] = f32(a[at / 4u][at % 4u]);
            high[depth] = f32(a[at / 4u + params.m][at % 4u]);  // four depths on
        }
    }
    for (var source = 0u; source < rows; source++) {
        multiply_row(i + source, subgroupShuffle(low, source), subgroupShuffle(high, source));
    }
}

fn first_four(i: u32) -> vec4<f32> { return vec4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]); }

fn last_four(i: u32) -> vec4<f32> { return vec4(sums[i][4], sums[i][5], sums[i][6], sums[i][7]); }

// Adds eight depths of one row of a, in order.
fn multiply_row(i: u32, low: vec4<f32>, high: vec4<f32>) {
    var left = first_four(i);
    var right = last_four(i);
    left = fma(vec4(low.x), columns[0], left);
    right = fma(vec4(low.x), columns[1], right);
    left = fma(vec4(low.y), columns[2], left);
    right = fma(vec4(low.y), columns[3], right);
    left = fma(vec4(low.z), columns[4], left);
    right = fma(vec4(low.z), columns[5], right);
    left = fma(vec4(low.w), columns[6], left);
    right = fma(vec4(low.w), columns[7], right);
    left = fma(vec4(high.x), columns[8], left);
    right = fma(vec4(high.x), columns[9], right);
    left = fma(vec4(high.y), columns[10], left);
    right = fma(vec4(high.y), columns[11], right);
    left = fma(vec4(high.z), columns[12], left);
    right = fma(vec4(high.z), columns[13], right);
    left = fma(vec4(high.w), columns[14], left);
    right = fma(vec4(high.w), columns[15], right);
    sums[i] = array(left.x, left.y, left.z, left.w, right.x, right.y, right.z, right.w);
}
