//! What is refused of budgets, health and policies.

use std::net::SocketAddr;

use super::problems::check;
use super::{good, parse};
use hubdns::config::{Governor, Policy, UpstreamBudget};
use hubdns::wire::Rcode;

fn governor(text: &str) -> Governor {
    good(text).forward.governor
}

#[test]
fn an_empty_file_says_what_the_default_is() {
    assert_eq!(governor(""), Governor::default());
    let azure: SocketAddr = "168.63.129.16:53".parse().unwrap();
    let budget = UpstreamBudget { address: azure, rate: Some(800), in_flight: Some(150) };
    assert_eq!(governor("").budgets, [budget]);
    assert_eq!(governor("").failure_rcodes, [Rcode::SERVFAIL, Rcode::REFUSED, Rcode::FORMERR, Rcode::NOTIMP]);
}

#[test]
fn azure_dns_keeps_its_budget_until_it_is_listed_itself() {
    let listed = |address: &str| {
        governor(&format!("[[forward.budget.upstreams]]\naddress = \"{address}\"\nmax_in_flight = 7"))
    };
    let other = listed("192.0.2.1");
    assert_eq!(other.budgets.len(), 2);
    assert_eq!((other.budgets[0].rate, other.budgets[0].in_flight), (None, Some(7)));
    let azure = listed("168.63.129.16");
    assert_eq!(azure.budgets.len(), 1);
    assert_eq!((azure.budgets[0].rate, azure.budgets[0].in_flight), (None, Some(7)));
}

#[test]
fn policies_and_weights_are_read() {
    let text = "[[upstreams]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n\
                [[forward.policies]]\nupstream = \"a\"\npolicy = \"round-robin\"\n\
                [[forward.policies]]\nupstream = \"system\"\npolicy = \"fastest\"\n\
                [[forward.budget.weights]]\nclients = [\"10.0.0.0/8\", \"fd00::/8\"]\nweight = 3\n";
    let read = governor(text);
    assert_eq!(read.policies, [("a".to_owned(), Policy::RoundRobin), ("system".to_owned(), Policy::Fastest)]);
    assert_eq!(read.weights.len(), 2);
    assert_eq!(good(text).forward.groups.len(), 2, "a policy brings no group");
}

#[test]
fn addresses_must_be_those_of_upstreams_and_listed_once() {
    let list = |address: &str| format!("[[forward.budget.upstreams]]\naddress = \"{address}\"\n");
    check(&list("here"), &[":2: forward.budget.upstreams[0].address: found \"here\"; expected an address"]);
    check(
        &list("0.0.0.0"),
        &[":2: forward.budget.upstreams[0].address: found 0.0.0.0:53; expected the address of"],
    );
    check(&list("::ffff:192.0.2.1"), &[":2: forward.budget.upstreams[0].address:"]);
    let twice = list("192.0.2.1") + &list("192.0.2.1:53");
    check(
        &twice,
        &[":4: forward.budget.upstreams[1].address: found 192.0.2.1:53; expected an address that no"],
    );
    check(&(list("192.0.2.1") + &list("192.0.2.1:5353")), &[]);
    check(
        "[[forward.budget.upstreams]]\nmax_in_flight = 1",
        &[":1: forward.budget.upstreams[0].address: found no such"],
    );
}

#[test]
fn weights_name_each_prefix_once() {
    let weight = |clients: &str| format!("[[forward.budget.weights]]\nclients = {clients}\nweight = 2\n");
    check(&weight("[]"), &[":2: forward.budget.weights[0].clients: found an empty list"]);
    check(&weight("[\"10.0.0.1/8\"]"), &[":2: forward.budget.weights[0].clients[0]:"]);
    let twice = weight("[\"10.0.0.0/8\"]") + &weight("[\"fd00::/8\", \"10.0.0.0/8\"]");
    check(
        &twice,
        &[":5: forward.budget.weights[1].clients[1]: found 10.0.0.0/8; expected a prefix that forward"],
    );
    let none = "[[forward.budget.weights]]\nclients = [\"10.0.0.0/8\"]\nweight = 0";
    check(none, &[":3: forward.budget.weights[0].weight: found 0; expected a whole number from 1 to 100"]);
}

#[test]
fn policies_name_groups_that_exist_once() {
    let policy = |group: &str, policy: &str| {
        format!("[[forward.policies]]\nupstream = \"{group}\"\npolicy = \"{policy}\"\n")
    };
    check(
        &policy("corporate", "fastest"),
        &[
            ":2: forward.policies[0].upstream: found \"corporate\"; expected the name of a group: azure, system",
        ],
    );
    check(
        &policy("azure", "random"),
        &[
            ":3: forward.policies[0].policy: found \"random\"; expected \"sequential\", \"fastest\" or \"round-robin\"",
        ],
    );
    check(
        &(policy("azure", "fastest") + &policy("azure", "fastest")),
        &[
            ":5: forward.policies[1].upstream: found \"azure\"; expected a group other than that of forward.policies[0]",
        ],
    );
}

#[test]
fn nxdomain_is_no_failure() {
    check(
        "[forward.health]\nfailure_rcodes = [\"NXDOMAIN\"]",
        &[":2: forward.health.failure_rcodes[0]: found \"NXDOMAIN\"; expected \"SERVFAIL\","],
    );
    check(
        "[forward.health]\nfailure_rcodes = [\"REFUSED\", \"REFUSED\"]",
        &[":2: forward.health.failure_rcodes[1]: found REFUSED; expected a value other than that of"],
    );
    assert!(parse("[forward.health]\nfailure_rcodes = []").is_ok());
    check("[forward.health]\nprobe_milliseconds = 10", &[":2: forward.health.probe_milliseconds: found 10;"]);
}
