// cache[start, :] = x: appends one token's keys or values.
override COLS: u32;
@group(0) @binding(0) var<storage, read>       x:     array<f32>;  // [COLS]
@group(0) @binding(1) var<storage, read>       start: array<u32>;  // [1]
@group(0) @binding(2) var<storage, read_write> cache: array<f32>;  // [positions, COLS]

@compute @workgroup_size(64)
fn cache_append(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let col = group.x * 64u + lane;
    if (col < COLS) { cache[start[0] * COLS + col] = x[col]; }
}
