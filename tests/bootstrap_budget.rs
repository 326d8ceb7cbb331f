//! What the daemon looks up for itself draws on the budget of the server that it
//! asks, as what it forwards does.

mod common;
#[path = "common/daemon.rs"]
mod daemon;

use common::upstream::{Act, Upstream, closed};
use daemon::Daemon;

const LOGIN: &str = "login.stack.example";

/// The queries that the budget of `address` has admitted.
fn admitted(daemon: &Daemon, address: &str) -> usize {
    let text = daemon.http("/metrics").expect("metrics").body;
    let start = format!("hubdns_budget_admitted_total{{upstream=\"{address}\",class=\"query\"}} ");
    text.lines()
        .find_map(|line| line.strip_prefix(&start))
        .map_or(0, |count| count.parse().expect("a number"))
}

#[test]
fn look_ups_of_the_sync_count_in_the_budget_of_their_server() {
    let server = Upstream::start(|asked| Act::send(asked.reply(3, "", "example 60 SOA a b 1 2 3 4 60")));
    let (address, upstream) = (server.address.to_string(), closed());
    let toml = format!(
        r#"
        [[upstreams]]
        name = "nobody"
        addresses = ["{upstream}"]

        [forward]
        default = "nobody"

        [[forward.budget.upstreams]]
        address = "{address}"
        queries_per_second = 1000
        max_in_flight = 100

        [[sources.static]]
        name = "contoso.azurecr.io"
        type = "A"
        values = ["10.1.2.3"]

        [[sources.azure]]
        cloud = "custom"
        authority = "https://{LOGIN}"
        resource_manager = "https://management.stack.example"
        audience = "https://management.stack.example"
        bootstrap = ["{address}"]

        [sources.azure.identity]
        credentials = ["client-secret"]
        tenant = "99999999-9999-9999-9999-999999999999"
        client_id = "33333333-3333-3333-3333-333333333333"
        client_secret_file = "DIR/secret"
        "#
    );
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("secret"), "hush-hush").expect("written");
    // A proxy would look the name up.
    let none = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].map(|variable| (variable, ""));
    let mut daemon = Daemon::start_in(directory, &toml, &none);
    daemon.wait_until("the name is looked up", |_| server.times_asked(LOGIN) > 0);
    daemon.wait_until("all of it is counted", |daemon| admitted(daemon, &address) >= server.seen().len());
}
