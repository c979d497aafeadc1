// dx (+)= weight dy / rms - x mean(x weight dy) / rms^3, and partial[b, :] = sum over the rows of block b of dy x /
// rms:
// both from one read of x and dy, one workgroup per block of rows. dx is copied if products read it in half precision.
override ROWS: u32;
override COLS: u32;   // in Reals
override BLOCK: u32;  // rows per block
override EPS: f32;
override ACCUMULATE: bool = false;  // adds to the residual stream's gradient
override COPY: bool = false;
// Reals of a row that a lane keeps, with their partial sums, at most MOST_KEPT; later ones are read again, and their
// sums are kept in memory.
override KEPT: u32 = 4u;
const MOST_KEPT: u32 = 4u;
@group(0) @binding(0) var<storage, read>       x:       array<Real>;    // [ROWS, COLS]
@group(0) @binding(1) var<storage, read>       weight:  array<Real>;    // [COLS]
@group(0) @binding(2) var<storage, read>       dy:      array<Stored>;  // [ROWS, COLS]
@group(0) @binding(3) var<storage, read_write> dx:      array<Real>;    // [ROWS, COLS]
@group(0) @binding(4) var<storage, read_write> partial: array<Real>;    // [blocks, COLS]
@group(0) @binding(5) var<storage, read_write> copy:    array<Stored>;  // [ROWS, COLS]

@compute @workgroup_size(WG)
fn rms_norm_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let block = group.x;
    var weights: array<Real, MOST_KEPT>;
    var sums: array<Real, MOST_KEPT>;
    for (var i = 0u; i < KEPT; i++) {
        let col = lane + i * WG;
        sums[i] = Real(0.0);
        if (col < COLS) { weights[i] = weight[col]; }
    }
    for (var col = lane + KEPT * WG; col < COLS; col += WG) { partial[block * COLS + col] = Real(0.0); }
    for (var row = block * BLOCK; row < min(ROWS, (block + 1u) * BLOCK); row++) {
        let first = row * COLS;
        var kept_x: array<Real, MOST_KEPT>;
        var kept_dy: array<Real, MOST_KEPT>;
        var before: array<Real, MOST_KEPT>;
        // Read everything from the row before waiting for anything.
        for (var i = 0u; i < KEPT; i++) {
            let col = lane + i * WG;
            before[i] = Real(0.0);
            if (col < COLS) {
                kept_x[i] = x[first + col];
                kept_dy[i] = Real(dy[first + col]);
                if (ACCUMULATE) { before[i] = dx[first + col]; }
            }
        }
        var squares = Real(0.0);
        var product = Real(0.0);
        for (var i = 0u; i < KEPT; i++) {
            if (lane + i * WG < COLS) {
                squares = fma(kept_x[i], kept_x[i], squares);
                product = fma(kept_x[i], weights[i] * kept_dy[i], product);
            }
        }
        for (var col = lane + KEPT * WG; col < COLS; col += WG) {
            let value = x[first + col];
            squares = fma(value, value, squares);
            product = fma(value, weight[col] * Real(dy[first + col]), product);
        }
        let both = workgroup_sums(vec2(total(squares), total(product)), lane) / f32(COLS * WIDTH);
        let inverse = 1.0 / sqrt(both.x + EPS);
        let mean = both.y * inverse * inverse;
        for (var i = 0u; i < KEPT; i++) {
            let col = lane + i * WG;
            if (col < COLS) {
                let sum = before[i] + inverse * (weights[i] * kept_dy[i] - kept_x[i] * mean);
                dx[first + col] = sum;
                if (COPY) { copy[first + col] = stored(sum); }
                sums[i] = fma(kept_dy[i], kept_x[i] * inverse, sums[i]);
            }
        }
        for (var col = lane + KEPT * WG; col < COLS; col += WG) {
            let value = x[first + col];
            let d = Real(dy[first + col]);
            var old = Real(0.0);
            if (ACCUMULATE) { old = dx[first + col]; }
            let sum = old + inverse * (weight[col] * d - value * mean);
            dx[first + col] = sum;
            if (COPY) { copy[first + col] = stored(sum); }
            partial[block * COLS + col] = fma(d, value * inverse, partial[block * COLS + col]);
        }
    }
    for (var i = 0u; i < KEPT; i++) {
        let col = lane + i * WG;
        if (col < COLS) { partial[block * COLS + col] = sums[i]; }
    }
}
