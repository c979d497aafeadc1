// y = a b in nearly single precision on half-precision matrix units: each operand is the sum of two halves, high + low,
// and low high + high low + high high is summed in f32; low low is below f32's own rounding.
// A 128x128 tile of y by 4 subgroups of 32 lanes, 64x64 each in 4x4 cooperative matrices; both operands pass through
// workgroup memory, 16 deep, while the next tiles are loaded into registers.
// Powers of two, chosen by each operand's largest element, scale the operands into f16's range. A mask extracts the
// leading bits for the high half, because a compiler may fold away a round-trip conversion.
// M and N are multiples of 16, K of 4.
override M: u32;
override N: u32;
override K: u32;
override A_BY_DEPTH: bool;  // a is [M, K] in memory; else [K, M]
override B_BY_DEPTH: bool;  // b is [N, K] in memory; else [K, N]
override ACCUMULATE: bool = false;
override K_PART: u32;      // depths per part; a multiple of 16 if there is more than one
override PARTS: u32 = 1u;  // of K
const TILE: u32 = 128u;
const DEPTH: u32 = 16u;
const LANES: u32 = 128u;
const PITCH: u32 = 34u;  // vec4s from one depth to the next: 128 elements, and 2 against bank conflicts
const TILE_VECS: u32 = DEPTH * PITCH;
@group(0) @binding(0) var<storage, read>       a:         array<vec4<f32>>;  // [matrices, M, K] or [matrices, K, M]
@group(0) @binding(1) var<storage, read>       b:         array<vec4<f32>>;  // [matrices, N, K] or [matrices, K, N]
@group(0) @binding(2) var<storage, read>       largest_a: array<vec4<f32>>;  // [matrices, LANES]: of |a|, one per share
@group(0) @binding(3) var<storage, read>       largest_b: array<vec4<f32>>;  // [matrices, LANES]: of |b|
@group(0) @binding(4) var<storage, read_write> y:         array<f32>;        // [matrices, PARTS, M, N]

var<workgroup> high_a: array<vec4<f16>, TILE_VECS>;  // [DEPTH, PITCH]
var<workgroup> low_a: array<vec4<f16>, TILE_VECS>;
var<workgroup> high_b: array<vec4<f16>, TILE_VECS>;
var<workgroup> low_b: array<vec4<f16>, TILE_VECS>;
var<workgroup> largest: array<vec2<f32>, LANES>;
var<private> next_a: array<vec4<f32>, 4>;  // this lane's share of the next tiles
var<private> next_b: array<vec4<f32>, 4>;

// Workgroups: [tiles across, tiles down, matrices * PARTS].
@compute @workgroup_size(LANES)
fn matmul_units(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let matrix = group.z / PARTS;
    let begin = group.z % PARTS * K_PART;
    let end = min(begin + K_PART, K);
    let exponents = exponents_of_largest(matrix, lane);
    let scale_a = power_of_two(14 - exponents.x);  // the largest element becomes 2^14 to 2^15
    let scale_b = power_of_two(14 - exponents.y);
    // Undo the scaling in two factors, neither of which leaves f32's range.
    let back = exponents.x + exponents.y - 28;
    let back_1 = power_of_two(back / 2);
    let back_2 = power_of_two(back - back / 2);
    let sub_row = lane / 64u * 64u;  // offset of this subgroup's part of the tile
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
        stage(scale_a, scale_b, lane);
        workgroupBarrier();
        fetch(matrix, group.y * TILE, group.x * TILE, k + DEPTH, end, lane);
        let bh0 = coopLoadT<coop_mat16x16<f16, B>>(&high_b[sub_col / 4u], PITCH);
        let bl0 = coopLoadT<coop_mat16x16<f16, B>>(&low_b[sub_col / 4u], PITCH);
        let bh1 = coopLoadT<coop_mat16x16<f16, B>>(&high_b[sub_col / 4u + 4u], PITCH);
        let bl1 = coopLoadT<coop_mat16x16<f16, B>>(&low_b[sub_col / 4u + 4u], PITCH);
        let bh2 = coopLoadT<coop_mat16x16<f16, B>>(&high_b[sub_col / 4u + 8u], PITCH);
        let bl2 = coopLoadT<coop_mat16x16<f16, B>>(&low_b[sub_col / 4u + 8u], PITCH);
        let bh3 = coopLoadT<coop_mat16x16<f16, B>>(&high_b[sub_col / 4u + 12u], PITCH);
        let bl3 = coopLoadT<coop_mat16x16<f16, B>>(&low_b[sub_col / 4u + 12u], PITCH);
        let ah0 = coopLoad<coop_mat16x16<f16, A>>(&high_a[sub_row / 4u], PITCH);
        let al0 = coopLoad<coop_mat16x16<f16, A>>(&low_a[sub_row / 4u], PITCH);
        y00 = coopMultiplyAdd(al0, bh0, y00);
        y00 = coopMultiplyAdd(ah0, bl0, y00);
        y01 = coopMultiplyAdd(al0, bh1, y01);
        y01 = coopMultiplyAdd(ah0, bl1, y01);
        y02 = coopMultiplyAdd(al0, bh2, y02);
        y02 = coopMultiplyAdd(ah0, bl2, y02);
        y03 = coopMultiplyAdd(al0, bh3, y03);
        y03 = coopMultiplyAdd(ah0, bl3, y03);
        y00 = coopMultiplyAdd(ah0, bh0, y00);
        y01 = coopMultiplyAdd(ah0, bh1, y01);
        y02 = coopMultiplyAdd(ah0, bh2, y02);
        y03 = coopMultiplyAdd(ah0, bh3, y03);
        let ah1 = coopLoad<coop_mat16x16<f16, A>>(&high_a[sub_row / 4u + 4u], PITCH);
        let al1 = coopLoad<coop_mat16x16<f16, A>>(&low_a[sub_row / 4u + 4u], PITCH);
        y10 = coopMultiplyAdd(al1, bh0, y10);
        y10 = coopMultiplyAdd(ah1, bl0, y10);
        y11 = coopMultiplyAdd(al1, bh1, y11);
        y11 = coopMultiplyAdd(ah1, bl1, y11);
        y12 = coopMultiplyAdd(al1, bh2, y12);
        y12 = coopMultiplyAdd(ah1, bl2, y12);
        y13 = coopMultiplyAdd(al1, bh3, y13);
        y13 = coopMultiplyAdd(ah1, bl3, y13);
        y10 = coopMultiplyAdd(ah1, bh0, y10);
        y11 = coopMultiplyAdd(ah1, bh1, y11);
        y12 = coopMultiplyAdd(ah1, bh2, y12);
        y13 = coopMultiplyAdd(ah1, bh3, y13);
        let ah2 = coopLoad<coop_mat16x16<f16, A>>(&high_a[sub_row / 4u + 8u], PITCH);
        let al2 = coopLoad<coop_mat16x16<f16, A>>(&low_a[sub_row / 4u + 8u], PITCH);
        y20 = coopMultiplyAdd(al2, bh0, y20);
        y20 = coopMultiplyAdd(ah2, bl0, y20);
        y21 = coopMultiplyAdd(al2, bh1, y21);
        y21 = coopMultiplyAdd(ah2, bl1, y21);
        y22 = coopMultiplyAdd(al2, bh2, y22);
        y22 = coopMultiplyAdd(ah2, bl2, y22);
        y23 = coopMultiplyAdd(al2, bh3, y23);
        y23 = coopMultiplyAdd(ah2, bl3, y23);
        y20 = coopMultiplyAdd(ah2, bh0, y20);
        y21 = coopMultiplyAdd(ah2, bh1, y21);
        y22 = coopMultiplyAdd(ah2, bh2, y22);
        y23 = coopMultiplyAdd(ah2, bh3, y23);
        let ah3 = coopLoad<coop_mat16x16<f16, A>>(&high_a[sub_row / 4u + 12u], PITCH);
        let al3 = coopLoad<coop_mat16x16<f16, A>>(&low_a[sub_row / 4u + 12u], PITCH);
        y30 = coopMultiplyAdd(al3, bh0, y30);
        y30 = coopMultiplyAdd(ah3, bl0, y30);
        y31 = coopMultiplyAdd(al3, bh1, y31);
        y31 = coopMultiplyAdd(ah3, bl1, y31);
        y32 = coopMultiplyAdd(al3, bh2, y32);
        y32 = coopMultiplyAdd(ah3, bl2, y32);
        y33 = coopMultiplyAdd(al3, bh3, y33);
        y33 = coopMultiplyAdd(ah3, bl3, y33);
        y30 = coopMultiplyAdd(ah3, bh0, y30);
        y31 = coopMultiplyAdd(ah3, bh1, y31);
        y32 = coopMultiplyAdd(ah3, bh2, y32);
        y33 = coopMultiplyAdd(ah3, bh3, y33);
        workgroupBarrier();
    }
    let row = group.y * TILE + sub_row;
    let col = group.x * TILE + sub_col;
    {
        let at = (group.z * M + min(row, M - 16u)) * N + min(col, N - 16u);
        var sum = y00 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row < M && col < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row, M - 16u)) * N + min(col + 16u, N - 16u);
        var sum = y01 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row < M && col + 16u < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row, M - 16u)) * N + min(col + 32u, N - 16u);
        var sum = y02 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row < M && col + 32u < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row, M - 16u)) * N + min(col + 48u, N - 16u);
        var sum = y03 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row < M && col + 48u < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row + 16u, M - 16u)) * N + min(col, N - 16u);
        var sum = y10 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row + 16u < M && col < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row + 16u, M - 16u)) * N + min(col + 16u, N - 16u);
        var sum = y11 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row + 16u < M && col + 16u < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row + 16u, M - 16u)) * N + min(col + 32u, N - 16u);
        var sum = y12 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row + 16u < M && col + 32u < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row + 16u, M - 16u)) * N + min(col + 48u, N - 16u);
        var sum = y13 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row + 16u < M && col + 48u < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row + 32u, M - 16u)) * N + min(col, N - 16u);
        var sum = y20 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row + 32u < M && col < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row + 32u, M - 16u)) * N + min(col + 16u, N - 16u);
        var sum = y21 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row + 32u < M && col + 16u < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row + 32u, M - 16u)) * N + min(col + 32u, N - 16u);
        var sum = y22 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row + 32u < M && col + 32u < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row + 32u, M - 16u)) * N + min(col + 48u, N - 16u);
        var sum = y23 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row + 32u < M && col + 48u < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row + 48u, M - 16u)) * N + min(col, N - 16u);
        var sum = y30 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row + 48u < M && col < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row + 48u, M - 16u)) * N + min(col + 16u, N - 16u);
        var sum = y31 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row + 48u < M && col + 16u < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row + 48u, M - 16u)) * N + min(col + 32u, N - 16u);
        var sum = y32 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row + 48u < M && col + 32u < N) { coopStoreT(stored, &y[at], N); }
    }
    {
        let at = (group.z * M + min(row + 48u, M - 16u)) * N + min(col + 48u, N - 16u);
        var sum = y33 * back_1 * back_2;
        if (ACCUMULATE) { sum = sum + coopLoadT<coop_mat16x16<f32, C>>(&y[at], N); }
        let stored = sum;
        if (row + 48u < M && col + 48u < N) { coopStoreT(stored, &y[at], N); }
    }
}

// floor(log2 |x|) of the largest elements of a and of b; tiny or non-finite values are clamped.
fn exponents_of_largest(matrix: u32, lane: u32) -> vec2<i32> {
    let most_a = largest_a[matrix * LANES + lane];
    let most_b = largest_b[matrix * LANES + lane];
    let most = max(vec2(most_a.x, most_b.x), vec2(most_a.y, most_b.y));
    largest[lane] = max(most, max(vec2(most_a.z, most_b.z), vec2(most_a.w, most_b.w)));
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if (lane < width) { largest[lane] = max(largest[lane], largest[lane + width]); }
        workgroupBarrier();
    }
    let fields = (bitcast<vec2<u32>>(largest[0]) >> vec2(23u)) & vec2(255u);
    return clamp(vec2<i32>(fields) - 127, vec2(-112), vec2(126));
}

fn power_of_two(exponent: i32) -> f32 {
    return bitcast<f32>(u32(exponent + 127) << 23u);
}

// If K is contiguous, a lane takes four rows, four deep: pairs of lanes read 32 contiguous bytes of a row.
fn block_depth(lane: u32) -> u32 {
    return 4u * (lane % 2u + 2u * (lane / 64u));
}

fn block_row(lane: u32) -> u32 {
    return lane / 2u % 32u;
}

fn fetch(matrix: u32, row: u32, col: u32, k: u32, end: u32, lane: u32) {
    for (var i = 0u; i < 4u; i++) {
        next_a[i] = vec4<f32>();
        next_b[i] = vec4<f32>();
        let inner = k + block_depth(lane);
        let depth = k + lane / 32u + 4u * i;
        if (A_BY_DEPTH) {
            let outer = matrix * M + min(row + 4u * block_row(lane) + i, M - 1u);
            if (inner < end) { next_a[i] = a[outer * (K / 4u) + inner / 4u]; }
        } else if (depth < end) {
            next_a[i] = a[(matrix * K + depth) * (M / 4u) + min(row / 4u + lane % 32u, M / 4u - 1u)];
        }
        if (B_BY_DEPTH) {
            let outer = matrix * N + min(col + 4u * block_row(lane) + i, N - 1u);
            if (inner < end) { next_b[i] = b[outer * (K / 4u) + inner / 4u]; }
        } else if (depth < end) {
            next_b[i] = b[(matrix * K + depth) * (N / 4u) + min(col / 4u + lane % 32u, N / 4u - 1u)];
        }
    }
}

fn stage(scale_a: f32, scale_b: f32, lane: u32) {
    let a = transpose(mat4x4<f32>(next_a[0], next_a[1], next_a[2], next_a[3]));
    let b = transpose(mat4x4<f32>(next_b[0], next_b[1], next_b[2], next_b[3]));
    for (var i = 0u; i < 4u; i++) {
        let transposed = (block_depth(lane) + i) * PITCH + block_row(lane);
        let straight = (lane / 32u + 4u * i) * PITCH + lane % 32u;
        var whole_a = next_a[i];
        var whole_b = next_b[i];
        if (A_BY_DEPTH) { whole_a = a[i]; }
        if (B_BY_DEPTH) { whole_b = b[i]; }
        let at_a = select(straight, transposed, A_BY_DEPTH);
        let at_b = select(straight, transposed, B_BY_DEPTH);
        whole_a *= scale_a;
        whole_b *= scale_b;
        let leading_a = leading_bits(whole_a);
        let leading_b = leading_bits(whole_b);
        high_a[at_a] = vec4<f16>(leading_a);
        low_a[at_a] = vec4<f16>(whole_a - leading_a);
        high_b[at_b] = vec4<f16>(leading_b);
        low_b[at_b] = vec4<f16>(whole_b - leading_b);
    }
}

// The bits that f16 can hold: sign, exponent and ten mantissa bits.
fn leading_bits(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) & vec4(0xffffe000u));
}
