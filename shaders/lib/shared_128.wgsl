// Depths that eight subgroups share, for a long sum: 24 KiB of workgroup memory.
const DEPTH: u32 = 128u;
