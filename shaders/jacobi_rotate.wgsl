// Applies a round of rotations, in place, to both sides of the gram matrix and to the rows of the rotation: one
// invocation for the four elements where two pairs cross, and for as many of the rotation.
override ROWS: u32;
@group(0) @binding(0) var<storage, read>       turns:    array<vec4<f32>>;  // [pairs]: two rows, cosine and sine
@group(0) @binding(1) var<storage, read_write> gram:     array<f32>;        // [ROWS, ROWS]
@group(0) @binding(2) var<storage, read_write> rotation: array<f32>;        // [ROWS, ROWS]

override PAIRS: u32 = (ROWS + 1u) / 2u;

// x and y become these.
fn turned(turn: vec4<f32>, x: f32, y: f32) -> vec2<f32> {
    return vec2(turn.z * x - turn.w * y, turn.w * x + turn.z * y);
}

@compute @workgroup_size(64)
fn jacobi_rotate(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.x * 64u + lane;
    if (at >= PAIRS) { return; }
    let of_rows = turns[group.y];
    let of_cols = turns[at];
    let rows = vec2<u32>(of_rows.xy) * ROWS;
    let cols = vec2<u32>(of_cols.xy);
    // With an odd number of rows, one has no partner.
    let partner = vec2(max(rows.x, rows.y) < ROWS * ROWS, max(cols.x, cols.y) < ROWS);
    if (all(partner)) {
        if (of_rows.w == 0.0 && of_cols.w == 0.0) { return; }
        let left = turned(of_rows, gram[rows.x + cols.x], gram[rows.y + cols.x]);
        let right = turned(of_rows, gram[rows.x + cols.y], gram[rows.y + cols.y]);
        let upper = turned(of_cols, left.x, right.x);
        let lower = turned(of_cols, left.y, right.y);
        gram[rows.x + cols.x] = upper.x;
        gram[rows.x + cols.y] = upper.y;
        gram[rows.y + cols.x] = lower.x;
        gram[rows.y + cols.y] = lower.y;
    } else if (partner.x) {
        let col = min(cols.x, cols.y);
        let y = turned(of_rows, gram[rows.x + col], gram[rows.y + col]);
        gram[rows.x + col] = y.x;
        gram[rows.y + col] = y.y;
    } else if (partner.y) {
        let row = min(rows.x, rows.y);
        let y = turned(of_cols, gram[row + cols.x], gram[row + cols.y]);
        gram[row + cols.x] = y.x;
        gram[row + cols.y] = y.y;
    }
    if (!partner.x || of_rows.w == 0.0) { return; }
    for (var col = at; col < ROWS; col += PAIRS) {
        let y = turned(of_rows, rotation[rows.x + col], rotation[rows.y + col]);
        rotation[rows.x + col] = y.x;
        rotation[rows.y + col] = y.y;
    }
}
