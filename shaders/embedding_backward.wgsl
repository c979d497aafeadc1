// dtable[id - FIRST, :] += factor times the sum of dy over the positions of id, one workgroup per distinct id in the
// table.
// The host sorts the positions by id, so that no two workgroups write one row and no float atomics are needed.
// ACROSS adjacent lanes cover a row; WG / ACROSS of them share the positions of a frequent id with a stride.
override COLS: u32;  // in Reals
override ACROSS: u32;
override WG: u32;
override FIRST: u32 = 0u;                // id of the table's first row
override TABLE_ROWS: u32 = 0xffffffffu;  // if the table is a part of one
@group(0) @binding(0) var<storage, read>       ids:    array<u32>;   // [ROWS]
@group(0) @binding(1) var<storage, read>       order:  array<u32>;   // [ROWS] positions, sorted by id
@group(0) @binding(2) var<storage, read>       starts: array<u32>;   // [ROWS + 1] starts of equal ids; then ROWS
@group(0) @binding(3) var<storage, read>       dy:     array<Real>;  // [ROWS, COLS]
@group(0) @binding(4) var<storage, read_write> dtable: array<Real>;  // [TABLE_ROWS, COLS]
@group(0) @binding(5) var<storage, read>       factor: array<f32>;   // [1]

var<workgroup> shares: array<Real, WG>;

@compute @workgroup_size(WG)
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
    let row = ids[order[first]] - FIRST;  // an id below FIRST wraps around to beyond every table
    if (row >= TABLE_ROWS) { return; }
    let down = lane / ACROSS;
    for (var begin = 0u; begin < COLS; begin += ACROSS) {
        let col = begin + lane % ACROSS;
        var sum = Real(0.0);
        if (col < COLS) {
            for (var place = first + down; place < end; place += WG / ACROSS) { sum += dy[order[place] * COLS + col]; }
        }
        if (WG > ACROSS) {
            shares[lane] = sum;
            workgroupBarrier();
            if (down == 0u) {
                for (var other = lane + ACROSS; other < WG; other += ACROSS) { sum += shares[other]; }
            }
            workgroupBarrier();
        }
        if (down == 0u && col < COLS) { dtable[row * COLS + col] += factor[0] * sum; }
    }
}
