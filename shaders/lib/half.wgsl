// Activations in memory in half precision: `Stored` is Real's f16. What it cannot hold becomes infinite, however an adapter
// rounds, so that an overflow is seen.
fn stored(x: Real) -> Stored {
    return Stored(select(x, x * 1e38, abs(x) > Real(65504.0)));
}
