//! Any bytes as a body of Azure Resource Manager: no panic, messages and
//! actions are plain and bounded, the token's host cannot be left.
#![no_main]

#[path = "../../tests/common/arm_body.rs"]
mod arm_body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| arm_body::check(bytes));
