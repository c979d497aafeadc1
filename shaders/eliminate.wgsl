// A round of the elimination of a gram matrix of unit rows (Gauss; Cholesky without roots): the row of this round is
// subtracted from those below it, and so are the rows of what began as the identity. Those become the combinations of
// the rows whose gram matrix it was that are orthogonal to all before them. A row of whose square, 1, so little is left that
// much of it may be rounding is not subtracted: what is left of it will be longer next time.
override ROWS: u32;
const LEAST = 1e-4;
@group(0) @binding(0) var<storage, read>       round: array<u32>;  // [1]: the number of this one, from 1
@group(0) @binding(1) var<storage, read_write> gram:  array<f32>;  // [ROWS, ROWS], of which the part above the diagonal stays
@group(0) @binding(2) var<storage, read_write> lower: array<f32>;  // [ROWS, ROWS]

@compute @workgroup_size(64)
fn eliminate(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let pivot = round[0] - 1u;
    let row = group.x;
    let left = gram[pivot * ROWS + pivot];
    if (row <= pivot || left < LEAST) { return; }
    // The matrix is symmetric, and nobody writes the row of the pivot.
    let share = gram[pivot * ROWS + row] / left;
    for (var col = lane; col < ROWS; col += 64u) {
        if (col > pivot) {
            gram[row * ROWS + col] -= share * gram[pivot * ROWS + col];
        } else {
            lower[row * ROWS + col] -= share * lower[pivot * ROWS + col];
        }
    }
}
