// dtable[id, :] += sum of dy over the places of id, one workgroup per distinct id, places in ascending order.
// The host sorts the places by id, so that no two workgroups write one row and no float atomics are needed.
override COLS: u32;
@group(0) @binding(0) var<storage, read>       ids:    array<u32>;  // [ROWS]
@group(0) @binding(1) var<storage, read>       order:  array<u32>;  // [ROWS] places, sorted by id
@group(0) @binding(2) var<storage, read>       starts: array<u32>;  // [ROWS + 1] of each run of equal ids; then ROWS
@group(0) @binding(3) var<storage, read>       dy:     array<f32>;  // [ROWS, COLS]
@group(0) @binding(4) var<storage, read_write> dtable: array<f32>;  // [vocabulary, COLS]

@compute @workgroup_size(64)
fn embedding_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let run = group.y * count.x + group.x;
    if (run + 1u >= arrayLength(&starts)) { return; }
    let first = starts[run];
    let end = starts[run + 1u];
    if (first >= end) { return; }
    let id = ids[order[first]];
    for (var col = lane; col < COLS; col += 64u) {
        var sum = 0.0;
        for (var place = first; place < end; place++) { sum += dy[order[place] * COLS + col]; }
        dtable[id * COLS + col] += sum;
    }
}
