// Shared parts of attention on matrix units. A workgroup has its own ROWS rows of a head, 16 per subgroup, whose
// operands stay in registers; rows of the other side pass through workgroup memory, TILE at a time.
// Scores are stored there as f32, because a cooperative matrix can neither be read by lane nor scaled by row. Two lanes
// share a row: one takes the even vec4s, the other the odd.
// Arrays in registers are unrolled element by element: indexed in a loop they may be spilled.
// Pitches are odd multiples of 16 bytes, so that eight rows start in different banks.
// An H100 runs two workgroups at once if each uses up to 24 KiB, otherwise one; heads of 64 fit in that.
// The kernel defines how to read and write: element(source, at) and put(target, row, at, sum).
const ROWS: u32 = 64u;
const TILE: u32 = 32u;
const LANES: u32 = 2u * ROWS;
const STRIP: u32 = TILE / 4u + 1u;  // vec4s from one row of scores to the next
const SHARE: u32 = TILE / 4u + 2u;  // and of shares
override DEPTHS: u32;               // blocks of 16 components per head: at most 8; also vec4s of a tile per lane
override HEAD_VEC4: u32 = 4u * DEPTHS;
override PITCH: u32 = HEAD_VEC4 + 2u;  // vec4s from one row of a tile to the next
// Array lengths are named constants, because naga 30 panics on expressions of overrides there.
override TILES_LEN: u32 = 2u * TILE * PITCH;
const UNSEEN: f32 = -3.4e38;
var<workgroup> tiles: array<vec4<f16>, TILES_LEN>;      // [2, TILE, PITCH]; at first [ROWS, PITCH]
var<workgroup> scores: array<vec4<f32>, ROWS * STRIP>;  // [ROWS, STRIP]
var<workgroup> shares: array<vec4<f16>, ROWS * SHARE>;  // [ROWS, SHARE] derived from scores, as an operand
var<workgroup> halves: array<f32, LANES>;               // each lane's result for its half of a row
var<private> next: array<vec4<f16>, 16>;                // [2, DEPTHS] this lane's share of the next tiles
var<private> own: array<coop_mat16x16<f16, A>, 8>;      // [DEPTHS] the subgroup's rows
var<private> sums: array<coop_mat16x16<f32, C>, 8>;     // [DEPTHS] their results

// Rows first, first + 1, ... below `end` of the sequence whose first row is `base`, for this one of `heads` heads.
// Zeros beyond.
fn fetch(source: u32, slot: u32, base: u32, first: u32, end: u32, heads: u32, head: u32, lane: u32) {
    let at = 8u * slot;
    next[at] = vec_of_row(source, base, first, end, heads, head, lane);
    if (DEPTHS > 1u) { next[at + 1u] = vec_of_row(source, base, first, end, heads, head, lane + LANES); }
    if (DEPTHS > 2u) { next[at + 2u] = vec_of_row(source, base, first, end, heads, head, lane + 2u * LANES); }
    if (DEPTHS > 3u) { next[at + 3u] = vec_of_row(source, base, first, end, heads, head, lane + 3u * LANES); }
    if (DEPTHS > 4u) { next[at + 4u] = vec_of_row(source, base, first, end, heads, head, lane + 4u * LANES); }
    if (DEPTHS > 5u) { next[at + 5u] = vec_of_row(source, base, first, end, heads, head, lane + 5u * LANES); }
    if (DEPTHS > 6u) { next[at + 6u] = vec_of_row(source, base, first, end, heads, head, lane + 6u * LANES); }
    if (DEPTHS > 7u) { next[at + 7u] = vec_of_row(source, base, first, end, heads, head, lane + 7u * LANES); }
}

fn vec_of_row(source: u32, base: u32, first: u32, end: u32, heads: u32, head: u32, place: u32) -> vec4<f16> {
    let row = first + place / HEAD_VEC4;
    var found = vec4<f16>();
    if (row < end) { found = element(source, ((base + row) * heads + head) * HEAD_VEC4 + place % HEAD_VEC4); }
    return found;
}

// The caller places the barriers, here and below.
fn stage(slot: u32, lane: u32) {
    let at = 8u * slot;
    tiles[in_tile(slot, lane)] = next[at];
    if (DEPTHS > 1u) { tiles[in_tile(slot, lane + LANES)] = next[at + 1u]; }
    if (DEPTHS > 2u) { tiles[in_tile(slot, lane + 2u * LANES)] = next[at + 2u]; }
    if (DEPTHS > 3u) { tiles[in_tile(slot, lane + 3u * LANES)] = next[at + 3u]; }
    if (DEPTHS > 4u) { tiles[in_tile(slot, lane + 4u * LANES)] = next[at + 4u]; }
    if (DEPTHS > 5u) { tiles[in_tile(slot, lane + 5u * LANES)] = next[at + 5u]; }
    if (DEPTHS > 6u) { tiles[in_tile(slot, lane + 6u * LANES)] = next[at + 6u]; }
    if (DEPTHS > 7u) { tiles[in_tile(slot, lane + 7u * LANES)] = next[at + 7u]; }
}

fn in_tile(slot: u32, place: u32) -> u32 {
    return (slot * TILE + place / HEAD_VEC4) * PITCH + place % HEAD_VEC4;
}

// The workgroup's own rows, staged in the space of both tiles.
fn stage_own(source: u32, base: u32, first: u32, heads: u32, head: u32, lane: u32) {
    for (var i = 0u; i < HEAD_VEC4 / 2u; i++) {
        let place = lane + i * LANES;
        tiles[in_tile(0u, place)] = vec_of_row(source, base, first, params.seq, heads, head, place);
    }
}

// Loads the subgroup's 16 rows, starting at `own_row`, into registers.
fn keep_own(own_row: u32) {
    let at = own_row * PITCH;
    own[0] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at], PITCH);
    if (DEPTHS > 1u) { own[1] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 4u], PITCH); }
    if (DEPTHS > 2u) { own[2] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 8u], PITCH); }
    if (DEPTHS > 3u) { own[3] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 12u], PITCH); }
    if (DEPTHS > 4u) { own[4] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 16u], PITCH); }
    if (DEPTHS > 5u) { own[5] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 20u], PITCH); }
    if (DEPTHS > 6u) { own[6] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 24u], PITCH); }
    if (DEPTHS > 7u) { own[7] = coopLoadT<coop_mat16x16<f16, A>>(&tiles[at + 28u], PITCH); }
}

// Scores of the subgroup's rows with 16 rows of the first tile, starting at its row j.
fn score(own_row: u32, j: u32) {
    let at = j * PITCH;
    var sum = coop_mat16x16<f32, C>();
    sum = coopMultiplyAdd(own[0], coopLoad<coop_mat16x16<f16, B>>(&tiles[at], PITCH), sum);
    if (DEPTHS > 1u) { sum = coopMultiplyAdd(own[1], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 4u], PITCH), sum); }
    if (DEPTHS > 2u) { sum = coopMultiplyAdd(own[2], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 8u], PITCH), sum); }
    if (DEPTHS > 3u) { sum = coopMultiplyAdd(own[3], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 12u], PITCH), sum); }
    if (DEPTHS > 4u) { sum = coopMultiplyAdd(own[4], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 16u], PITCH), sum); }
    if (DEPTHS > 5u) { sum = coopMultiplyAdd(own[5], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 20u], PITCH), sum); }
    if (DEPTHS > 6u) { sum = coopMultiplyAdd(own[6], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 24u], PITCH), sum); }
    if (DEPTHS > 7u) { sum = coopMultiplyAdd(own[7], coopLoad<coop_mat16x16<f16, B>>(&tiles[at + 28u], PITCH), sum); }
    let found = sum;
    let place = own_row * STRIP + j / 4u;
    coopStoreT(found, &scores[place], STRIP);
}

// sums += shares of 16 rows of a tile, starting at its row j, times those rows.
fn add_rows(own_row: u32, slot: u32, j: u32) {
    let share = coopLoadT<coop_mat16x16<f16, A>>(&shares[own_row * SHARE + j / 4u], SHARE);
    let at = (slot * TILE + j) * PITCH;
    sums[0] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at], PITCH), sums[0]);
    if (DEPTHS > 1u) { sums[1] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 4u], PITCH), sums[1]); }
    if (DEPTHS > 2u) { sums[2] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 8u], PITCH), sums[2]); }
    if (DEPTHS > 3u) { sums[3] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 12u], PITCH), sums[3]); }
    if (DEPTHS > 4u) { sums[4] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 16u], PITCH), sums[4]); }
    if (DEPTHS > 5u) { sums[5] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 20u], PITCH), sums[5]); }
    if (DEPTHS > 6u) { sums[6] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 24u], PITCH), sums[6]); }
    if (DEPTHS > 7u) { sums[7] = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&tiles[at + 28u], PITCH), sums[7]); }
}

// Where sums go: the sequence's first row, the workgroup's first row, and this one of `heads` heads.
struct Place {
    base: u32,
    block: u32,
    heads: u32,
    head: u32,
}

fn leave_sums(target_matrix: u32, place: Place, own_row: u32, lane: u32) {
    leave(sums[0], 0u, target_matrix, place, own_row, lane);
    if (DEPTHS > 1u) { leave(sums[1], 1u, target_matrix, place, own_row, lane); }
    if (DEPTHS > 2u) { leave(sums[2], 2u, target_matrix, place, own_row, lane); }
    if (DEPTHS > 3u) { leave(sums[3], 3u, target_matrix, place, own_row, lane); }
    if (DEPTHS > 4u) { leave(sums[4], 4u, target_matrix, place, own_row, lane); }
    if (DEPTHS > 5u) { leave(sums[5], 5u, target_matrix, place, own_row, lane); }
    if (DEPTHS > 6u) { leave(sums[6], 6u, target_matrix, place, own_row, lane); }
    if (DEPTHS > 7u) { leave(sums[7], 7u, target_matrix, place, own_row, lane); }
}

// Writes sums of component block d, 16 per block, through the memory of scores, as many at a time as fit.
fn leave(found: coop_mat16x16<f32, C>, d: u32, target_matrix: u32, place: Place, own_row: u32, lane: u32) {
    let of_strip = d % (TILE / 16u);
    let at = own_row * STRIP + 4u * of_strip;
    coopStoreT(found, &scores[at], STRIP);
    if (of_strip + 1u < TILE / 16u && d + 1u < DEPTHS) { return; }
    workgroupBarrier();
    let column = 4u * (d - of_strip);
    for (var i = 0u; i < TILE / 8u; i++) {
        let of_lane = lane + i * LANES;
        let row = of_lane / (TILE / 4u);
        let across = of_lane % (TILE / 4u);
        if (place.block + row < params.seq && column + across < HEAD_VEC4) {
            let at = ((place.base + place.block + row) * place.heads + place.head) * HEAD_VEC4 + column + across;
            put(target_matrix, row, at, scores[row * STRIP + across]);
        }
    }
    workgroupBarrier();
}

// The result of the other lane of this row.
fn other_half(found: f32, lane: u32) -> f32 {
    halves[lane] = found;
    workgroupBarrier();
    return halves[lane ^ 1u];
}

fn four_from(first: u32) -> vec4<u32> { return first + vec4(0u, 1u, 2u, 3u); }
