//! How multinorm handles untrusted files; `cargo xtask fuzz` tries millions of malformed ones.

pub mod targets;

/// Replaces the fuzzer's panic hook, which ends the process at every panic, including those that multinorm catches and
/// turns into errors. Uncaught panics still end it.
pub fn keep_caught_panics() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}
