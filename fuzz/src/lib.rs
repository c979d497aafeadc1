//! What multinorm does with files that somebody else wrote; `cargo xtask fuzz` gives it millions that nobody would.

pub mod targets;
