//! What multinorm does with files that somebody else wrote; `cargo xtask fuzz` gives it millions that nobody would.

pub mod targets;

/// The fuzzer's own hook ends the process at every panic, those included that multinorm catches and turns into an error.
/// What nobody catches still ends it.
pub fn keep_caught_panics() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}
