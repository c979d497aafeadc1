#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| multinorm_fuzz::targets::npy(bytes));
