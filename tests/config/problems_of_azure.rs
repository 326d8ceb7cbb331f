//! What is wrong with the source `azure`, the guard, views, route checks and findings.

use super::problems::check;

fn azure(lines: &str) -> String {
    format!("[[sources.azure]]\n{lines}\n")
}

const GUID: &str = "11111111-1111-1111-1111-111111111111";

#[test]
fn an_azure_source_needs_no_key() {
    check("[[sources.azure]]\n", &[]);
    check(&azure(&format!("subscriptions = [\"{GUID}\"]\nmanagement_groups = [\"mg-corp\"]")), &[]);
}

#[test]
fn azure_sources() {
    check(&azure("name = \"A b\""), &[":2: sources.azure[0].name: found \"A b\"; expected 1 to 63"]);
    check(
        "[[sources.azure]]\n[[sources.azure]]\n",
        &[":2: sources.azure[1].name: found \"azure\"; expected a name other than that of sources.azure[0]"],
    );
    check(
        &azure("subscriptions = [\"contoso\"]"),
        &[":2: sources.azure[0].subscriptions[0]: found \"contoso\"; expected a subscription id"],
    );
    check(
        &azure(&format!("subscriptions = [\"{GUID}\", \"{GUID}\"]")),
        &[":2: sources.azure[0].subscriptions[1]: found 11111111"],
    );
    check(
        &azure("management_groups = [\"a/b\"]"),
        &[":2: sources.azure[0].management_groups[0]: found \"a/b\"; expected a management group's name"],
    );
    check(
        &azure("proxy = \"10.0.0.8:3128\""),
        &[":2: sources.azure[0].proxy: found \"10.0.0.8:3128\"; expected the URL of a proxy"],
    );
    check(
        &azure("interval_seconds = 1"),
        &[":2: sources.azure[0].interval_seconds: found 1; expected a whole number from 10 to 86400"],
    );
}

#[test]
fn clouds() {
    check(&azure("cloud = \"china\""), &[]);
    check(
        &azure("cloud = \"germany\""),
        &[":2: sources.azure[0].cloud: found \"germany\"; expected \"public\""],
    );
    check(
        &azure("authority = \"https://login.example\""),
        &[
            ":2: sources.azure[0].authority: found \"https://login.example\"; expected no such key unless cloud",
        ],
    );
    check(
        &azure("cloud = \"custom\"\nauthority = \"http://login.example\""),
        &[
            ":1: sources.azure[0].resource_manager: found \"\"; expected a URL that starts with https://",
            ":3: sources.azure[0].authority: found \"http://login.example\"; expected a URL that starts with",
        ],
    );
}

#[test]
fn identities() {
    let identity = |lines: &str| azure(&format!("[sources.azure.identity]\n{lines}"));
    check(&identity("credentials = [\"managed-identity\"]"), &[]);
    check(
        &identity("credentials = []"),
        &[":3: sources.azure[0].identity.credentials: found an empty list; expected at least one item"],
    );
    check(
        &identity("credentials = [\"password\"]"),
        &[":3: sources.azure[0].identity.credentials[0]: found \"password\"; expected \"workload-identity\""],
    );
    check(
        &identity("managed_identity_client_id = \"a\"\nmanaged_identity_resource_id = \"b\""),
        &[":4: sources.azure[0].identity.managed_identity_resource_id: found \"b\"; expected one of the two"],
    );
    check(
        &identity("client_secret = \"x\""),
        &[
            ":3: sources.azure[0].identity.client_secret: found an unknown key; expected the nearest known key, client_secret_file",
        ],
    );
}

#[test]
fn views() {
    let view = |name: &str, clients: &str, rest: &str| {
        format!("[[views]]\nname = \"{name}\"\nclients = {clients}\n{rest}\n")
    };
    check(&view("emea", "[\"10.0.0.0/9\"]", "regions = [\"westeurope\"]"), &[]);
    check(
        &view("emea", "[]", "regions = [\"westeurope\"]"),
        &[":3: views[0].clients: found an empty list; expected at least one item"],
    );
    check(
        &view("emea", "[\"10.0.0.0/9\"]", ""),
        &[
            ":1: views[0]: found neither regions nor vnets; expected a preference that tells the view from others",
        ],
    );
    check(
        &view("emea", "[\"10.0.0.0/9\"]", "regions = [\"West Europe\"]"),
        &[":4: views[0].regions[0]: found \"West Europe\"; expected a region as Azure writes it"],
    );
    check(
        &view("emea", "[\"10.0.0.0/9\"]", "vnets = [\"vnet-hub\"]"),
        &[":4: views[0].vnets[0]: found \"vnet-hub\"; expected a virtual network's resource id"],
    );
    let one = view("emea", "[\"10.0.0.0/9\"]", "regions = [\"westeurope\"]");
    check(
        &format!("{one}{one}"),
        &[
            ":6: views[1].name: found \"emea\"; expected a name other than that of views[0]",
            ":7: views[1].clients[0]: found 10.0.0.0/9; expected a prefix that views[0] does not have",
        ],
    );
}

#[test]
fn guard_routes_and_findings() {
    check("[guard]\ngrace_seconds = 0\nmax_removed_percent = 100\nasked_within_seconds = 0\n", &[]);
    check(
        "[guard]\nmax_removed_percent = 101\n",
        &[":2: guard.max_removed_percent: found 101; expected a whole number from 0 to 100"],
    );
    check(
        "[routes]\ninterval_seconds = 60\n",
        &[":2: routes.interval_seconds: found 60; expected 0 while routes.connect_prefixes is empty"],
    );
    check("[routes]\ninterval_seconds = 60\nconnect_prefixes = [\"10.0.0.0/8\"]\n", &[]);
    check(
        "[findings]\nignore = [\"manual-record  x\"]\n",
        &[":2: findings.ignore[0]: found \"manual-record  x\"; expected a code, or a code and a name"],
    );
    check(
        "[scope]\nregions = [\"\"]\n",
        &[":2: scope.regions[0]: found \"\"; expected a region as Azure writes it"],
    );
    check(
        "[server]\nkeep_generations = 1\n",
        &[":2: server.keep_generations: found 1; expected a whole number from 2 to 1000"],
    );
}
