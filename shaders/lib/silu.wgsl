fn silu(x: Real) -> Real {
    return x / (1.0 + exp(-x));
}
