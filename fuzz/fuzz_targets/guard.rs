//! Any sequence of readings and configurations: nothing is published that the
//! guard forbids. The model is that of the tests, and so are its checks.
#![no_main]

#[path = "../../tests/guard/estate.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod estate;
#[path = "../../tests/guard/model.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::run(bytes));
