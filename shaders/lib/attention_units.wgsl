// What attention on matrix units is made of. A workgroup has ROWS rows of a head of its own, 16 a subgroup, whose operands stay
// in registers; of the other side TILE rows at a time pass through workgroup memory.
// Scores lie there as f32, for a matrix can neither be read by lane nor scaled by row: two lanes have a row, of which one takes
// the even vec4s and the other the odd.
// Pitches are odd multiples of 16 bytes, or 32 bytes from a multiple of 128: eight rows begin in different banks.
// The kernel says how to read and write: element(source, at) and put(target, row, at, sum).
override ROWS: u32;    // 32 or 64
override TILE: u32;    // 32 or 64
override DEPTHS: u32;  // 16 components each of a head: at most 8
override LANES: u32 = 2u * ROWS;
override HEAD_VEC4: u32 = 4u * DEPTHS;
override PITCH: u32 = HEAD_VEC4 + 2u;   // vec4s from one row of a tile to the next
override STRIP: u32 = TILE / 4u + 2u;   // vec4s from one row of scores to the next
// Lengths of arrays are names, for naga 30 panics at an expression of overrides there.
override TILES_LEN: u32 = 2u * TILE * PITCH;
override STRIP_LEN: u32 = ROWS * STRIP;
override LOADS: u32 = TILE * HEAD_VEC4 / LANES;  // vec4s of a tile that a lane loads: at most 16
const UNSEEN: f32 = -3.4e38;
var<workgroup> tiles: array<vec4<f16>, TILES_LEN>;   // [2, TILE, PITCH]; at first [ROWS, PITCH]
var<workgroup> scores: array<vec4<f32>, STRIP_LEN>;  // [ROWS, STRIP]
var<workgroup> shares: array<vec4<f16>, STRIP_LEN>;  // [ROWS, STRIP] what becomes of scores, as an operand
var<workgroup> halves: array<f32, LANES>;            // what a lane found of its half of a row
var<private> next: array<vec4<f16>, 32>;             // [2, LOADS] this lane's share of the tiles that come next

// Rows first, first + 1, ... below `end` of the sequence whose first row is `base`, and of so many heads this one. Zeros beyond.
fn fetch(source: u32, slot: u32, base: u32, first: u32, end: u32, heads: u32, head: u32, lane: u32) {
    for (var i = 0u; i < LOADS; i++) {
        let place = lane + i * LANES;
        let row = first + place / HEAD_VEC4;
        next[16u * slot + i] = vec4<f16>();
        if (row < end) {
            next[16u * slot + i] = element(source, ((base + row) * heads + head) * HEAD_VEC4 + place % HEAD_VEC4);
        }
    }
}

// Barriers are the caller's, here as well as below.
fn stage(slot: u32, lane: u32) {
    for (var i = 0u; i < LOADS; i++) {
        let place = lane + i * LANES;
        tiles[(slot * TILE + place / HEAD_VEC4) * PITCH + place % HEAD_VEC4] = next[16u * slot + i];
    }
}

// The workgroup's own rows, in the place of both tiles.
fn stage_own(source: u32, base: u32, first: u32, heads: u32, head: u32, lane: u32) {
    for (var i = 0u; i < HEAD_VEC4 / 2u; i++) {
        let place = lane + i * LANES;
        let row = first + place / HEAD_VEC4;
        var own = vec4<f16>();
        if (row < params.seq) {
            own = element(source, ((base + row) * heads + head) * HEAD_VEC4 + place % HEAD_VEC4);
        }
        tiles[place / HEAD_VEC4 * PITCH + place % HEAD_VEC4] = own;
    }
}

// Columns of sums, which were stored as scores are, to memory; the first is vec4 `column` of the head.
fn leave(target_matrix: u32, column: u32, base: u32, first: u32, heads: u32, head: u32, lane: u32) {
    for (var i = 0u; i < TILE / 8u; i++) {
        let place = lane + i * LANES;
        let row = place / (TILE / 4u);
        let across = place % (TILE / 4u);
        if (first + row < params.seq && column + across < HEAD_VEC4) {
            let at = ((base + first + row) * heads + head) * HEAD_VEC4 + column + across;
            put(target_matrix, row, at, scores[row * STRIP + across]);
        }
    }
}

// What the other lane of this row found.
fn other_half(found: f32, lane: u32) -> f32 {
    halves[lane] = found;
    workgroupBarrier();
    return halves[lane ^ 1u];
}

fn four_from(first: u32) -> vec4<u32> { return first + vec4(0u, 1u, 2u, 3u); }
