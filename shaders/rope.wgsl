// Rotary position embedding in place, half-split layout: (a, b) -> (a cos - b sin, b cos + a sin) for a = x[d], b = x[d
// + D/2], for the heads x of queries and of keys.
// The angle is that of position row % SEQ + start; the backward pass rotates the other way (SIGN = -1).
override ROWS: u32;
override HEADS: u32;     // of q
override KV_HEADS: u32;  // of k
override HALF: u32;      // D / 2, in Reals
override SEQ: u32;
override SIGN: f32 = 1.0;
@group(0) @binding(0) var<storage, read_write> q:         array<Stored>;  // [ROWS, HEADS * D]
@group(0) @binding(1) var<storage, read_write> k:         array<Stored>;  // [ROWS, KV_HEADS * D]
@group(0) @binding(2) var<storage, read>       cos_table: array<Real>;    // [positions, D / 2]
@group(0) @binding(3) var<storage, read>       sin_table: array<Real>;    // [positions, D / 2]
@group(0) @binding(4) var<storage, read>       start:     array<u32>;     // [1] position of the first row

@compute @workgroup_size(256)
fn rope(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pair = (group.y * count.x + group.x) * 256u + lane;
    if (pair >= ROWS * (HEADS + KV_HEADS) * HALF) { return; }
    let d = pair % HALF;
    let head = pair / HALF % (HEADS + KV_HEADS);
    let row = pair / (HALF * (HEADS + KV_HEADS));
    let angle = (row % SEQ + start[0]) * HALF + d;
    let cosine = cos_table[angle];
    let sine = SIGN * sin_table[angle];
    if (head < HEADS) {
        let at = (row * HEADS + head) * 2u * HALF + d;
        let a = Real(q[at]);
        let b = Real(q[at + HALF]);
        q[at] = stored(a * cosine - b * sine);
        q[at + HALF] = stored(b * cosine + a * sine);
    } else {
        let at = (row * KV_HEADS + head - HEADS) * 2u * HALF + d;
        let a = Real(k[at]);
        let b = Real(k[at + HALF]);
        k[at] = stored(a * cosine - b * sine);
        k[at + HALF] = stored(b * cosine + a * sine);
    }
}
