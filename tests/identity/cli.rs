//! `hubdns auth test` as a user sees it.

use std::process::{Output, Stdio};

use crate::daemon::hubdns;
use crate::stand_in::{CLIENT, Proxy, Reply, StandIn, TENANT, file};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const SECRET: &str = "hush-hush-8Q~";
const ID: &str = "11111111-1111-1111-1111-111111111111";

fn token() -> String {
    let claims = json!({"tid": TENANT, "appid": CLIENT, "oid": "44444444-4444-4444-4444-444444444444",
        "app_displayname": "hub\u{1b}[31mdns", "aud": "https://management.azure.com"});
    format!("eyJhbGciOiJub25lIn0.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// Entra and Resource Manager in one.
fn azure(actions: &'static [&'static str]) -> StandIn {
    StandIn::https(move |seen| {
        if seen.method == "POST" && seen.path().ends_with("/oauth2/v2.0/token") {
            return Reply::token(&token(), 3599);
        }
        if seen.headers.get("authorization").is_none_or(|said| *said != format!("Bearer {}", token())) {
            return Reply::new(401, "");
        }
        let body = match seen.path() {
            "/subscriptions" => {
                json!({"value": [{"subscriptionId": ID, "displayName": "hub", "state": "Enabled"}]})
            }
            path if path.ends_with("/permissions") => {
                json!({"value": [{"actions": actions, "notActions": []}]})
            }
            _ => return Reply::new(404, r#"{"error":{"code":"ResourceNotFound","message":"none"}}"#),
        };
        Reply::new(200, body.to_string()).header("content-type", "application/json")
    })
}

fn config(azure: &StandIn, more: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let url = format!("https://{}", azure.address);
    file(format!(
        "[[sources.azure]]\nname = \"hub\"\ncloud = \"custom\"\nauthority = \"{url}\"\nresource_manager = \"{url}\"\n\
         ca_file = \"{}\"\nbootstrap = [\"127.0.0.1:9\"]\n{more}\n\
         [sources.azure.identity]\ncredentials = [\"workload-identity\", \"client-secret\", \"az-cli\"]\n",
        azure.ca.display()
    ))
}

fn run(config: &std::path::Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = hubdns();
    for name in [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AZURE_") {
            command.env_remove(name);
        }
    }
    command.args(["auth", "test", "--config"]).arg(config).args(arguments);
    command.envs(variables.iter().copied()).stdin(Stdio::null()).output().expect("it runs")
}

fn secret() -> Vec<(&'static str, &'static str)> {
    vec![("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT), ("AZURE_CLIENT_SECRET", SECRET)]
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8(text).expect("text");
    for hidden in [SECRET, "eyJ", "c2lnbmF0dXJl", "\u{1b}"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    text
}

#[test]
fn an_identity_with_everything_exits_0() {
    let azure = azure(&["*/read"]);
    let (_guard, path) = config(&azure, "");
    let output = run(&path, &[], &secret());
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for line in [
        "credential      workload-identity passed over: no token file",
        "credential      client-secret worked",
        "credential      az-cli not tried",
        TENANT,
        CLIENT,
        "44444444-4444-4444-4444-444444444444",
        "name            hub\\u{1b}[31mdns",
        "expires         20",
        "subscription 11111111-1111-1111-1111-111111111111 (hub)",
        "Microsoft.Network/networkInterfaces/read                       permitted",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(!text.contains("MISSING") && !text.contains("assignableScopes"), "{text}");
}

#[test]
fn a_missing_permission_exits_1_with_the_role_that_grants_it() {
    let azure = azure(&["Microsoft.Network/*", "Microsoft.Resources/*", "Microsoft.ResourceGraph/*"]);
    let (_guard, path) = config(&azure, "");
    let output = run(&path, &[], &secret());
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = "Microsoft.ContainerRegistry/registries/read                    MISSING (registries): the role Reader grants it";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("permissions are missing"), "{text}");
    let output = run(&path, &["--json"], &secret());
    assert_eq!(output.status.code(), Some(1));
    said(&output);
    let tested: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let tested = &tested[0];
    assert_eq!(tested["credential"], "client-secret");
    assert_eq!(tested["claims"]["tenant"], TENANT);
    assert_eq!(tested["ok"], false);
    assert_eq!(tested["role"]["assignableScopes"], json!([format!("/subscriptions/{ID}")]));
    let actions = tested["subscriptions"][0]["actions"].as_array().expect("a list");
    let of =
        |action: &str| actions.iter().find(|one| one["action"] == action).expect("there")["state"].clone();
    assert_eq!(of("Microsoft.ContainerRegistry/registries/read"), "missing");
    assert_eq!(of("Microsoft.Network/privateDnsZones/ALL/read"), "permitted");
}

#[test]
fn no_token_exits_1_and_says_why_of_each() {
    let azure = StandIn::https(|seen| {
        let echo = json!({"error": "invalid_client", "error_description": format!("AADSTS7000222: expired {}", seen.body)});
        Reply::new(401, echo.to_string())
    });
    let (_guard, path) = config(&azure, "");
    let output = run(&path, &[], &secret());
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("client-secret refused: status 401: AADSTS7000222: expired"), "{text}");
    assert!(text.contains("az-cli not tried"), "{text}");
    assert!(text.contains("there is no token"), "{text}");
}

#[test]
fn the_az_command_line_is_run_for_people() {
    let azure = azure(&["*/read"]);
    let (guard, path) = config(&azure, "");
    let az = guard.path().join("az");
    let shown = guard.path().join("arguments");
    let script = |answer: &str| {
        let text = format!("#!/bin/sh\necho \"$@\" > {}\n{answer}\n", shown.display());
        // Written beside and renamed: a file that is open for writing cannot be run.
        let new = guard.path().join("az.new");
        std::fs::write(&new, text).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&new, mode).expect("set");
        std::fs::rename(&new, &az).expect("renamed");
    };
    let path_variable = format!("{}:/usr/bin:/bin", guard.path().display());
    let variables = [("PATH", path_variable.as_str())];
    let expires = 4_000_000_000_u64;
    let answer = json!({"accessToken": token(), "expiresOn": "2096-10-02 07:06:40.000000", "expires_on": expires,
        "subscription": ID, "tenant": TENANT, "tokenType": "Bearer"});
    script(&format!("echo '{answer}'"));
    let output = run(&path, &[], &variables);
    let text = said(&output);
    assert!(text.contains("credential      az-cli worked"), "{text}");
    assert!(text.contains("expires         2096-10-02T07:06:40Z"), "{text}");
    let arguments = std::fs::read_to_string(&shown).expect("run");
    assert_eq!(
        arguments.trim(),
        format!("account get-access-token -o json --scope https://{}/.default", azure.address)
    );
    script(&format!("echo \"Please run 'az login' ({})\" >&2; exit 1", token()));
    let output = run(&path, &[], &variables);
    let text = said(&output);
    assert!(text.contains("az-cli passed over:") && text.contains("az login"), "{text}");
}

#[test]
fn the_proxy_of_the_environment_counts() {
    let azure = azure(&["*/read"]);
    let proxy = Proxy::start(azure.address);
    let (_guard, path) = config(&azure, "");
    let url = format!("http://{}", proxy.address);
    let mut variables = secret();
    variables.push(("HTTPS_PROXY", &url));
    run(&path, &[], &variables);
    let asked = proxy.asked();
    assert!(asked.iter().all(|line| *line == format!("CONNECT {} HTTP/1.1", azure.address)), "{asked:?}");
    assert!(!asked.is_empty());
    variables.push(("NO_PROXY", "127.0.0.1"));
    run(&path, &[], &variables);
    assert_eq!(proxy.asked().len(), asked.len());
}

#[test]
fn no_proxy_of_the_environment_takes_what_goes_to_the_metadata_service() {
    let azure = azure(&["*/read"]);
    let metadata = StandIn::http(|_| Reply::metadata(&token(), 3600));
    let proxy = Proxy::start(metadata.address);
    let (_guard, path) = config(&azure, "");
    let text =
        std::fs::read_to_string(&path).expect("read").replace("\"client-secret\"", "\"managed-identity\"");
    std::fs::write(&path, text).expect("written");
    let (host, url) = (format!("http://{}", metadata.address), format!("http://{}", proxy.address));
    let variables = [
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", host.as_str()),
        ("HTTP_PROXY", url.as_str()),
        ("http_proxy", url.as_str()),
        ("NO_PROXY", "nothing.example"),
    ];
    let text = said(&run(&path, &[], &variables));
    assert!(text.contains("managed-identity worked"), "{text}");
    assert_eq!(metadata.seen().len(), 1);
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
}

#[test]
fn configurations_that_cannot_be_tested_say_so() {
    let (_guard, path) = file("[[sources.azure]]\ncloud = \"mars\"\n");
    assert_eq!(run(&path, &[], &[]).status.code(), Some(78));
    let (_guard, path) = file("");
    let output = run(&path, &[], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no source azure"));
    let azure = azure(&["*/read"]);
    let (_guard, path) = config(&azure, "");
    let output = run(&path, &["--source", "other"], &secret());
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("with the name other"));
    assert!(azure.seen().is_empty());
}
