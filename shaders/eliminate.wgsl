// One round of elimination on the gram matrix of unit rows (Gauss; Cholesky without roots): subtracts this round's row
// from those below it, and likewise the rows of a matrix that started as the identity. The latter become combinations
// of the original rows, each orthogonal to all before it. A pivot row whose square, initially 1, has shrunk so far that
// rounding may dominate is not subtracted: its remainder will be longer next time.
override ROWS: u32;
const LEAST = 1e-4;
@group(0) @binding(0) var<storage, read>       round: array<u32>;  // [1]: the index of this one, from 1
@group(0) @binding(1) var<storage, read_write> gram:  array<f32>;  // [ROWS, ROWS]; unchanged above the diagonal
@group(0) @binding(2) var<storage, read_write> lower: array<f32>;  // [ROWS, ROWS]

@compute @workgroup_size(64)
fn eliminate(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let pivot = round[0] - 1u;
    let row = group.x;
    let left = gram[pivot * ROWS + pivot];
    if (row <= pivot || left < LEAST) { return; }
    // The matrix is symmetric, and no lane writes the pivot row.
    let share = gram[pivot * ROWS + row] / left;
    for (var col = lane; col < ROWS; col += 64u) {
        if (col > pivot) {
            gram[row * ROWS + col] -= share * gram[pivot * ROWS + col];
        } else {
            lower[row * ROWS + col] -= share * lower[pivot * ROWS + col];
        }
    }
}
