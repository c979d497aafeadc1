//! Guards against libraries that panic on malformed files.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local!(static IS_GUARDED: Cell<bool> = const { Cell::new(false) });

/// Returns the result of `call`, or `None` if it panics. Suppresses the panic message: the caller has a better one.
pub(super) fn catch_panic<T>(call: impl FnOnce() -> T) -> Option<T> {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                usual(panic);
            }
        }));
    });
    let outer = IS_GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    IS_GUARDED.set(outer);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_nothing() {
        assert_eq!(catch_panic(|| 1), Some(1));
        assert_eq!(catch_panic(|| catch_panic(|| panic!("inside")).unwrap_or(2)), Some(2));
        assert!(!IS_GUARDED.get());
    }
}
