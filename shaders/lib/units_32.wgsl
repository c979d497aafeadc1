// Depths of a tile on matrix units: takes, with staged sums, 24 KiB of workgroup memory.
const DEPTH: u32 = 32u;
