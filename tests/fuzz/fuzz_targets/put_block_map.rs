#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| whit_tests::fuzz::run("put_block_map", input));
