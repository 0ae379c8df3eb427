//! See `bms_agent::inspect::fuzz`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| bms_agent::inspect::fuzz::run("audit_log", data));
