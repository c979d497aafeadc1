// A lane's sum of exponentials, in blocks of KEPT Reals, so that as many loads are in flight at once.
override KEPT: u32 = 16u;  // at most MOST_KEPT
const MOST_KEPT: u32 = 16u;
const LOWEST: f32 = -1e30;                  // below every logit; its exponential is 0
var<private> block: array<Real, MOST_KEPT>; // numbers, later replaced by exp(x - top)
var<private> top: f32 = LOWEST;             // the largest number so far
var<private> sum: f32 = 0.0;                // of exp(x - top)

fn take_block() {
    var highest = Real(top);
    for (var i = 0u; i < KEPT; i++) { highest = max(highest, block[i]); }
    let before = top;
    top = greatest(highest);
    var sums = Real(0.0);
    for (var i = 0u; i < KEPT; i++) {
        block[i] = exp(block[i] - top);
        sums += block[i];
    }
    sum = sum * exp(before - top) + total(sums);
}
