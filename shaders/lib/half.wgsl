// Activations stored in half precision: `Stored` is the f16 form of Real. Values out of range become infinite,
// regardless of the adapter's rounding, so that an overflow is detected.
fn stored(x: Real) -> Stored {
    return Stored(select(x, x * 1e38, abs(x) > Real(65504.0)));
}
