//! Names as text, their limits, comparison and hashes.

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn rfc4343_names_compare_without_case() {
    assert_eq!(name("Contoso.AzureCR.io."), name("contoso.azurecr.io"));
    assert_eq!(name("\\065.example"), name("a.example"));
}

#[test]
fn rfc1035_escapes_round_trip() {
    for text in ["a\\.b.example", "\\000\\255.example", "a\\ b.example".replace(' ', "032").as_str(), "."] {
        let parsed = name(text);
        assert_eq!(name(&parsed.to_string()), parsed, "{text}");
    }
    assert_eq!(name("a\\.b.example").label_count(), 2);
}

#[test]
fn rfc1035_limits_are_checked() {
    assert_eq!("a..b".parse::<Name>(), Err(NameError::EmptyLabel));
    assert_eq!("".parse::<Name>(), Err(NameError::EmptyLabel));
    assert_eq!(".a".parse::<Name>(), Err(NameError::EmptyLabel));
    assert_eq!("x".repeat(64).parse::<Name>(), Err(NameError::LabelTooLong));
    assert_eq!("a\\25".parse::<Name>(), Err(NameError::BadEscape));
    assert_eq!("a\\256".parse::<Name>(), Err(NameError::BadEscape));
    let long = vec!["x".repeat(62); 4].join(".") + ".y";
    assert_eq!(long.parse::<Name>().map(|n| n.as_wire().len()), Ok(255));
    assert_eq!((long + "z").parse::<Name>(), Err(NameError::NameTooLong));
}

#[test]
fn suffixes_are_compared_by_label() {
    assert!(name("a.b.example").is_at_or_below(&name("b.example")));
    assert!(name("b.example").is_at_or_below(&name("b.example")));
    assert!(!name("ab.example").is_at_or_below(&name("b.example")));
    // "\x01b..." inside a longer label's bytes is no label boundary.
    assert!(!name("\\001b.example").is_at_or_below(&name("b.example")));
    assert!(name("x").is_at_or_below(&Name::root()));
}

#[test]
fn the_same_is_what_is_equal() {
    for len in 0..40 {
        let bytes: Vec<u8> = (0..len).collect();
        assert!(same(&bytes, &bytes));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x20;
            assert!(!same(&bytes, &other) && !same(&bytes, &bytes[..at]), "{len} {at}");
        }
    }
}

#[test]
fn hashes_spread_and_depend_on_the_seed() {
    let names: Vec<Name> = (0..40_000)
        .map(|n| name(&format!("reg{}.{}azurecr.io", n / 2, ["", "westeurope.data."][n % 2])))
        .chain((0..4_000).map(|n| name(&format!("registry.example.a{n}"))))
        .collect();
    for seed in (1..=8u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).chain([secret()]) {
        // As the table uses it: the lowest bits for the place, the highest to compare.
        let mut places = vec![0u32; 1 << 16];
        let mut tops = std::collections::HashSet::new();
        for name in &names {
            let hash = hash(name.as_wire(), seed);
            places[hash as usize & 0xffff] += 1;
            tops.insert(hash >> 33);
        }
        let taken = places.iter().filter(|count| **count > 0).count();
        // 44,000 balls in 65,536 bins fill about 32,000, eight in one bin at most.
        assert!((31_000..33_000).contains(&taken), "{seed:x}: {taken}");
        assert!(places.iter().all(|count| *count <= 10), "{seed:x}");
        assert!(tops.len() > names.len() - 20, "{seed:x}: {}", tops.len());
    }
    assert_ne!(hash(names[0].as_wire(), 1), hash(names[0].as_wire(), 2));
}
