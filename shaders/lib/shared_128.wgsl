// Depths that eight subgroups share, of a long sum: 24 KiB of workgroup memory.
const DEPTH: u32 = 128u;
