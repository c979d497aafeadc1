// Depths of a tile on matrix units: with the sums on their way out 24 KiB of workgroup memory.
const DEPTH: u32 = 32u;
