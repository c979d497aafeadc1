// Rotary positions in place, the half-split layout: (a, b) -> (a cos - b sin, b cos + a sin) for a = x[d], b = x[d + D/2].
// The angle belongs to position row % SEQ + start; the backward pass turns the other way (SIGN = -1).
override ROWS: u32;
override HEADS: u32;
override HEAD_DIM: u32;
override SEQ: u32;
override SIGN: f32 = 1.0;
@group(0) @binding(0) var<storage, read_write> x:     array<f32>;  // [ROWS, HEADS * HEAD_DIM]
@group(0) @binding(1) var<storage, read>       cos_table: array<f32>;  // [positions, HEAD_DIM / 2]
@group(0) @binding(2) var<storage, read>       sin_table: array<f32>;  // [positions, HEAD_DIM / 2]
@group(0) @binding(3) var<storage, read>       start: array<u32>;  // [1] position of the first row

@compute @workgroup_size(64)
fn rope(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let half = HEAD_DIM / 2u;
    let pair = (group.y * count.x + group.x) * 64u + lane;
    if (pair >= ROWS * HEADS * half) { return; }
    let d = pair % half;
    let row = pair / (half * HEADS);
    let first = pair / half * HEAD_DIM + d;
    let angle = (row % SEQ + start[0]) * half + d;
    let cosine = cos_table[angle];
    let sine = SIGN * sin_table[angle];
    let a = x[first];
    let b = x[first + half];
    x[first] = a * cosine - b * sine;
    x[first + half] = b * cosine + a * sine;
}
