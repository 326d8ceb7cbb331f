//! The model over made-up bytes, and over the fuzzer's seeds.

use std::path::Path;

use proptest::prelude::*;

use crate::model::run;

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaves_unconfirmed(bytes in prop::collection::vec(prop_oneof![0u8..9, any::<u8>()], 7..160)) {
        run(&bytes);
    }
}

#[test]
fn seeds_of_the_fuzzer_hold() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz/guard");
    let mut count = 0;
    for entry in seeds.read_dir().expect("seeds") {
        run(&std::fs::read(entry.expect("an entry").path()).expect("a seed"));
        count += 1;
    }
    assert!(count >= 4, "{count} seeds");
}
