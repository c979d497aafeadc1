// Power iteration on P = G*G (RACS), the column half: s = P^T q / |q|^2 from the blocks' sums.
override ROWS: u32;
override COLS: u32;
override BLOCKS: u32;
@group(0) @binding(0) var<storage, read>       partial: array<f32>;  // [BLOCKS, COLS]
@group(0) @binding(1) var<storage, read>       q:       array<f32>;  // [ROWS], about 1
@group(0) @binding(2) var<storage, read_write> s:       array<f32>;  // [COLS]

@compute @workgroup_size(WG)
fn racs_columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var squares = 0.0;
    for (var at = lane; at < ROWS; at += WG) { squares = fma(q[at], q[at], squares); }
    squares = workgroup_sum(squares, lane);
    let col = group.x * WG + lane;
    if (col >= COLS) { return; }
    var sum = 0.0;
    for (var block = 0u; block < BLOCKS; block++) { sum += partial[block * COLS + col]; }
    s[col] = select(0.0, sum / squares, squares > 0.0);
}
