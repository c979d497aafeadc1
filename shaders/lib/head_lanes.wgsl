// One head of 8 rows of two matrices in the registers of 8 lanes, which share them by subgroupShuffle: of k and v, or of q
// and the output gradient. On llvmpipe a load takes its time for each lane, so each lane loads one row for all.
// The kernel defines how to read: scoring_at and weighed_at return the vec4 at an index of either matrix.
override HEAD_VEC4: u32;  // vec4s per head: at most 8
override PARTS: u32;      // 1 or 2: with 2, even and odd vec4s of a head are summed apart, as by a team of two lanes
const UNSEEN: f32 = -3.4e38;
var<private> scoring: array<vec4<f32>, 8>;  // this lane's row of k or q: computes scores
var<private> weighed: array<vec4<f32>, 8>;  // and of v or dout: multiplied by softmax weights
// The four rows that this lane computes, by column: q, scaled, and dout; or k, scaled, and v.
var<private> own_scoring: array<mat4x4<f32>, 8>;
var<private> own_weighed: array<mat4x4<f32>, 8>;

// Loads the row that this lane shares; its first vec4 is at `at`.
fn load_row(at: u32) {
    for (var d = 0u; d < 8u; d++) {
        if (d < HEAD_VEC4) {
            scoring[d] = scoring_at(at + d);
            weighed[d] = weighed_at(at + d);
        }
    }
}

fn scoring_of(source: u32, d: u32) -> vec4<f32> { return subgroupShuffle(scoring[d], source); }

fn weighed_of(source: u32, d: u32) -> vec4<f32> { return subgroupShuffle(weighed[d], source); }

// Scores of this lane's four rows with the row of lane `source`.
fn scores_of(source: u32) -> vec4<f32> {
    var even = vec4<f32>();
    var odd = vec4<f32>();
    for (var d = 0u; d < 8u; d++) {
        if (d < HEAD_VEC4) {
            if (is_odd_part(d)) {
                odd = add_dots(odd, own_scoring[d], scoring_of(source, d));
            } else {
                even = add_dots(even, own_scoring[d], scoring_of(source, d));
            }
        }
    }
    return even + odd;
}

// Gradients of the softmax weights of the same pairs.
fn dweights_of(source: u32) -> vec4<f32> {
    var even = vec4<f32>();
    var odd = vec4<f32>();
    for (var d = 0u; d < 8u; d++) {
        if (d < HEAD_VEC4) {
            if (is_odd_part(d)) {
                odd = add_dots(odd, own_weighed[d], weighed_of(source, d));
            } else {
                even = add_dots(even, own_weighed[d], weighed_of(source, d));
            }
        }
    }
    return even + odd;
}

fn is_odd_part(d: u32) -> bool { return PARTS == 2u && d % 2u == 1u; }

// Four rows of a matrix, by column.
fn four_rows(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> mat4x4<f32> {
    return transpose(mat4x4(a, b, c, d));
}

// sums + x of each row times y.
fn add_dots(sums: vec4<f32>, x: mat4x4<f32>, y: vec4<f32>) -> vec4<f32> {
    return fma(x[3], vec4(y.w), fma(x[2], vec4(y.z), fma(x[1], vec4(y.y), fma(x[0], vec4(y.x), sums))));
}

// sums + weights y, with each row's own weight.
fn add_outer(sums: mat4x4<f32>, weights: vec4<f32>, y: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(
        fma(weights, vec4(y.x), sums[0]), fma(weights, vec4(y.y), sums[1]),
        fma(weights, vec4(y.z), sums[2]), fma(weights, vec4(y.w), sums[3]),
    );
}
