//! The forms that record sets take.

use super::*;

#[test]
fn record_names_relative_apex_and_absolute() {
    let a = |name: &str, fqdn: Value| {
        record_set("A", name, json!({"ttl": 5, "fqdn": fqdn, "aRecords": [{"ipv4Address": "10.0.0.1"}]}))
    };
    for (name, fqdn, expected) in [
        ("@", Value::Null, "corp.example"),
        ("a.b", Value::Null, "a.b.corp.example"),
        ("A.corp.example.", Value::Null, "a.corp.example"),
        ("*", Value::Null, "*.corp.example"),
        ("x", json!("Y.corp.example."), "y.corp.example"),
    ] {
        let facts = facts_of_body("x", &a(name, fqdn)).unwrap();
        assert_eq!(rrsets(&facts)[0].owner, expected.parse().unwrap(), "{name}");
    }
    assert_eq!(facts_of_body("x", &a("x.other.example.", Value::Null)).unwrap_err().label(), "shape");
}

#[test]
fn keys_of_every_version_of_the_command_line() {
    check_set(
        "A",
        "x",
        json!({"TTL": "7", "ARecords": [{"ipv4Address": "10.0.0.1"}]}),
        &["x.corp.example 7 A 10.0.0.1"],
    );
    let flat = json!({
        "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/privateDnsZones/corp.example/A/x",
        "arecords": [{"ipv4Address": "10.0.0.1"}], "aaaaRecords": null, "ttl": 7,
    });
    assert_eq!(lines(&facts_of_body("x", &flat).unwrap()), ["x.corp.example 7 A 10.0.0.1"]);
}

#[test]
fn long_txt_is_split_and_empty_strings_stay() {
    let long = "x".repeat(300);
    let body = record_set("TXT", "t", json!({"ttl": 1, "txtRecords": [{"value": [long, ""]}]}));
    let facts = facts_of_body("x", &body).unwrap();
    let data = &rrsets(&facts)[0].rdatas[0];
    assert_eq!((data.len(), data[0], data[256], data[302]), (303, 255, 45, 0));
}

#[test]
fn malformed_records_are_errors_that_name_the_resource() {
    let body = record_set("A", "x", json!({"ttl": 1, "aRecords": [{"ipv4Address": "10.0.0"}]}));
    let error = facts_of_body("sets.json", &body).unwrap_err().to_string();
    assert!(error.starts_with("sets.json: /subscriptions/s/"), "{error}");
    assert!(error.ends_with("ipv4address holds \"10.0.0\", which is no address"), "{error}");
}
