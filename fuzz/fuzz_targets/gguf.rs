#![no_main]

libfuzzer_sys::fuzz_target!(
    init: multinorm_fuzz::keep_caught_panics(),
    |bytes: &[u8]| multinorm_fuzz::targets::gguf(bytes)
);
