// Register space for the vectors of one attention head, in vec4s: HEAD_DIM is at most 32.
const MAX_HEAD_VEC4: u32 = 8u;
