// y = a b in nearly single precision on half-precision matrix units: each operand is the sum of two halves, high + low,
// and high high + high low + low high is summed in f32; low low is below f32's own rounding.
// A tile of 128x128 of y by 4 subgroups of 32 lanes, 64x64 each in 4x4 cooperative matrices; both operands pass through
// workgroup memory, 16 deep, and what comes next is loaded into registers meanwhile.
// Powers of two bring the operands into f16's range, from the largest number of each. The high half takes the leading bits
// by a mask: a compiler may fold a conversion there and back away.
// M and N are multiples of 16, K of 4.
enable f16;
enable wgpu_cooperative_matrix;
override M: u32;
override N: u32;
override K: u32;
override A_BY_DEPTH: bool;  // a is [M, K] in memory; else [K, M]
override B_BY_DEPTH: bool;  // b is [N, K] in memory; else [K, N]
override ACCUMULATE: bool = false;
override K_PART: u32;      // depths of a part; a multiple of 16 where there is more than one
override PARTS: u32 = 1u;  // of K
const TILE: u32 = 128u;
const DEPTH: u32 = 16u;
const LANES: u32 = 128u;
const DEEP: u32 = 6u;   // vec4s of a row of 16 depths, and 2 against bank conflicts
const WIDE: u32 = 34u;  // vec4s of 128 elements of one depth, and 2
@group(0) @binding(0) var<storage, read>       a:         array<vec4<f32>>;  // [matrices, M, K] or [matrices, K, M]
@group(0) @binding(1) var<storage, read>       b:         array<vec4<f32>>;  // [matrices, N, K] or [matrices, K, N]
@group(0) @binding(2) var<storage, read>       largest_a: array<vec4<f32>>;  // [LANES]: of |a|, a share each number
@group(0) @binding(3) var<storage, read>       largest_b: array<vec4<f32>>;  // [LANES]: of |b|
@group(0) @binding(4) var<storage, read_write> y:         array<f32>;        // [matrices, PARTS, M, N]

var<workgroup> high_a: array<vec4<f16>, 768>;  // [TILE, DEEP] or [DEPTH, WIDE]
var<workgroup> low_a: array<vec4<f16>, 768>;
var<workgroup> high_b: array<vec4<f16>, 768>;
var<workgroup> low_b: array<vec4<f16>, 768>;
var<workgroup> largest: array<vec2<f32>, LANES>;
var<private> next_a: array<vec4<f32>, 4>;  // this lane's share of the tiles that come next
var<private> next_b: array<vec4<f32>, 4>;

// Workgroups: [tiles across, tiles down, matrices * PARTS].
@compute @workgroup_size(LANES)
fn matmul_units(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let matrix = group.z / PARTS;
    let begin = group.z % PARTS * K_PART;
    let end = min(begin + K_PART, K);
    let exponents = exponents_of_largest(lane);
    let scale_a = power_of_two(14 - exponents.x);  // the largest number becomes 2^14 to 2^15
    let scale_b = power_of_two(14 - exponents.y);
    // Back again in two halves, neither of which leaves f32's range.
    let back = exponents.x + exponents.y - 28;
    let back_1 = power_of_two(back / 2);
    let back_2 = power_of_two(back - back / 2);
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
        stage(scale_a, scale_b, lane);
        workgroupBarrier();
        fetch(matrix, group.y * TILE, group.x * TILE, k + DEPTH, end, lane);
        var bh0 = coop_mat16x16<f16, B>();
        var bl0 = coop_mat16x16<f16, B>();
        var bh1 = coop_mat16x16<f16, B>();
        var bl1 = coop_mat16x16<f16, B>();
        var bh2 = coop_mat16x16<f16, B>();
        var bl2 = coop_mat16x16<f16, B>();
        var bh3 = coop_mat16x16<f16, B>();
        var bl3 = coop_mat16x16<f16, B>();
        if (B_BY_DEPTH) {
            let first = sub_col * DEEP;
            bh0 = coopLoad<coop_mat16x16<f16, B>>(&high_b[first], DEEP);
            bl0 = coopLoad<coop_mat16x16<f16, B>>(&low_b[first], DEEP);
            bh1 = coopLoad<coop_mat16x16<f16, B>>(&high_b[first + 16u * DEEP], DEEP);
            bl1 = coopLoad<coop_mat16x16<f16, B>>(&low_b[first + 16u * DEEP], DEEP);
            bh2 = coopLoad<coop_mat16x16<f16, B>>(&high_b[first + 32u * DEEP], DEEP);
            bl2 = coopLoad<coop_mat16x16<f16, B>>(&low_b[first + 32u * DEEP], DEEP);
            bh3 = coopLoad<coop_mat16x16<f16, B>>(&high_b[first + 48u * DEEP], DEEP);
            bl3 = coopLoad<coop_mat16x16<f16, B>>(&low_b[first + 48u * DEEP], DEEP);
        } else {
            let first = sub_col / 4u;
            bh0 = coopLoadT<coop_mat16x16<f16, B>>(&high_b[first], WIDE);
            bl0 = coopLoadT<coop_mat16x16<f16, B>>(&low_b[first], WIDE);
            bh1 = coopLoadT<coop_mat16x16<f16, B>>(&high_b[first + 4u], WIDE);
            bl1 = coopLoadT<coop_mat16x16<f16, B>>(&low_b[first + 4u], WIDE);
            bh2 = coopLoadT<coop_mat16x16<f16, B>>(&high_b[first + 8u], WIDE);
            bl2 = coopLoadT<coop_mat16x16<f16, B>>(&low_b[first + 8u], WIDE);
            bh3 = coopLoadT<coop_mat16x16<f16, B>>(&high_b[first + 12u], WIDE);
            bl3 = coopLoadT<coop_mat16x16<f16, B>>(&low_b[first + 12u], WIDE);
        }
        var ah = coop_mat16x16<f16, A>();
        var al = coop_mat16x16<f16, A>();
        if (A_BY_DEPTH) {
            ah = coopLoadT<coop_mat16x16<f16, A>>(&high_a[sub_row * DEEP], DEEP);
            al = coopLoadT<coop_mat16x16<f16, A>>(&low_a[sub_row * DEEP], DEEP);
        } else {
            ah = coopLoad<coop_mat16x16<f16, A>>(&high_a[sub_row / 4u], WIDE);
            al = coopLoad<coop_mat16x16<f16, A>>(&low_a[sub_row / 4u], WIDE);
        }
        y00 = coopMultiplyAdd(ah, bh0, coopMultiplyAdd(ah, bl0, coopMultiplyAdd(al, bh0, y00)));
        y01 = coopMultiplyAdd(ah, bh1, coopMultiplyAdd(ah, bl1, coopMultiplyAdd(al, bh1, y01)));
        y02 = coopMultiplyAdd(ah, bh2, coopMultiplyAdd(ah, bl2, coopMultiplyAdd(al, bh2, y02)));
        y03 = coopMultiplyAdd(ah, bh3, coopMultiplyAdd(ah, bl3, coopMultiplyAdd(al, bh3, y03)));
        if (A_BY_DEPTH) {
            ah = coopLoadT<coop_mat16x16<f16, A>>(&high_a[(sub_row + 16u) * DEEP], DEEP);
            al = coopLoadT<coop_mat16x16<f16, A>>(&low_a[(sub_row + 16u) * DEEP], DEEP);
        } else {
            ah = coopLoad<coop_mat16x16<f16, A>>(&high_a[(sub_row + 16u) / 4u], WIDE);
            al = coopLoad<coop_mat16x16<f16, A>>(&low_a[(sub_row + 16u) / 4u], WIDE);
        }
        y10 = coopMultiplyAdd(ah, bh0, coopMultiplyAdd(ah, bl0, coopMultiplyAdd(al, bh0, y10)));
        y11 = coopMultiplyAdd(ah, bh1, coopMultiplyAdd(ah, bl1, coopMultiplyAdd(al, bh1, y11)));
        y12 = coopMultiplyAdd(ah, bh2, coopMultiplyAdd(ah, bl2, coopMultiplyAdd(al, bh2, y12)));
        y13 = coopMultiplyAdd(ah, bh3, coopMultiplyAdd(ah, bl3, coopMultiplyAdd(al, bh3, y13)));
        if (A_BY_DEPTH) {
            ah = coopLoadT<coop_mat16x16<f16, A>>(&high_a[(sub_row + 32u) * DEEP], DEEP);
            al = coopLoadT<coop_mat16x16<f16, A>>(&low_a[(sub_row + 32u) * DEEP], DEEP);
        } else {
            ah = coopLoad<coop_mat16x16<f16, A>>(&high_a[(sub_row + 32u) / 4u], WIDE);
            al = coopLoad<coop_mat16x16<f16, A>>(&low_a[(sub_row + 32u) / 4u], WIDE);
        }
        y20 = coopMultiplyAdd(ah, bh0, coopMultiplyAdd(ah, bl0, coopMultiplyAdd(al, bh0, y20)));
        y21 = coopMultiplyAdd(ah, bh1, coopMultiplyAdd(ah, bl1, coopMultiplyAdd(al, bh1, y21)));
        y22 = coopMultiplyAdd(ah, bh2, coopMultiplyAdd(ah, bl2, coopMultiplyAdd(al, bh2, y22)));
        y23 = coopMultiplyAdd(ah, bh3, coopMultiplyAdd(ah, bl3, coopMultiplyAdd(al, bh3, y23)));
        if (A_BY_DEPTH) {
            ah = coopLoadT<coop_mat16x16<f16, A>>(&high_a[(sub_row + 48u) * DEEP], DEEP);
            al = coopLoadT<coop_mat16x16<f16, A>>(&low_a[(sub_row + 48u) * DEEP], DEEP);
        } else {
            ah = coopLoad<coop_mat16x16<f16, A>>(&high_a[(sub_row + 48u) / 4u], WIDE);
            al = coopLoad<coop_mat16x16<f16, A>>(&low_a[(sub_row + 48u) / 4u], WIDE);
        }
        y30 = coopMultiplyAdd(ah, bh0, coopMultiplyAdd(ah, bl0, coopMultiplyAdd(al, bh0, y30)));
        y31 = coopMultiplyAdd(ah, bh1, coopMultiplyAdd(ah, bl1, coopMultiplyAdd(al, bh1, y31)));
        y32 = coopMultiplyAdd(ah, bh2, coopMultiplyAdd(ah, bl2, coopMultiplyAdd(al, bh2, y32)));
        y33 = coopMultiplyAdd(ah, bh3, coopMultiplyAdd(ah, bl3, coopMultiplyAdd(al, bh3, y33)));
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

// floor(log2 |x|) of the largest of a and of b; what is too small or no number counts as something near.
fn exponents_of_largest(lane: u32) -> vec2<i32> {
    let most_a = largest_a[lane];
    let most_b = largest_b[lane];
    largest[lane] = vec2(max(max(most_a.x, most_a.y), max(most_a.z, most_a.w)), max(max(most_b.x, most_b.y), max(most_b.z, most_b.w)));
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

fn fetch(matrix: u32, row: u32, col: u32, k: u32, end: u32, lane: u32) {
    for (var i = 0u; i < 4u; i++) {
        let share = lane + i * LANES;
        next_a[i] = vec4<f32>();
        next_b[i] = vec4<f32>();
        let deep = k + share % 4u * 4u;  // where K is contiguous, four lanes read 64 bytes of a row
        let depth = k + share / 32u;     // else 32 lanes read one depth
        if (A_BY_DEPTH) {
            if (deep < end) { next_a[i] = a[(matrix * M + min(row + share / 4u, M - 1u)) * (K / 4u) + deep / 4u]; }
        } else if (depth < end) {
            next_a[i] = a[(matrix * K + depth) * (M / 4u) + min(row / 4u + share % 32u, M / 4u - 1u)];
        }
        if (B_BY_DEPTH) {
            if (deep < end) { next_b[i] = b[(matrix * N + min(col + share / 4u, N - 1u)) * (K / 4u) + deep / 4u]; }
        } else if (depth < end) {
            next_b[i] = b[(matrix * K + depth) * (N / 4u) + min(col / 4u + share % 32u, N / 4u - 1u)];
        }
    }
}

fn stage(scale_a: f32, scale_b: f32, lane: u32) {
    for (var i = 0u; i < 4u; i++) {
        let share = lane + i * LANES;
        let deep = share / 4u * DEEP + share % 4u;
        let wide = share / 32u * WIDE + share % 32u;
        let at_a = select(wide, deep, A_BY_DEPTH);
        let at_b = select(wide, deep, B_BY_DEPTH);
        let value_a = next_a[i] * scale_a;
        let value_b = next_b[i] * scale_b;
        let leading_a = leading_bits(value_a);
        let leading_b = leading_bits(value_b);
        high_a[at_a] = vec4<f16>(leading_a);
        low_a[at_a] = vec4<f16>(value_a - leading_a);
        high_b[at_b] = vec4<f16>(leading_b);
        low_b[at_b] = vec4<f16>(value_b - leading_b);
    }
}

// What f16 can hold: sign, exponent and ten bits.
fn leading_bits(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) & vec4(0xffffe000u));
}
