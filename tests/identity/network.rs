//! The network beneath: trust, names, proxies, limits.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubdns::answer::Transport;
use hubdns::config::{AzureSource, CredentialKind, ProxyUrl};
use hubdns::sources::azure::bootstrap::Bootstrap;
use hubdns::sources::azure::http::{Http, HttpError, exchange};
use hubdns::sources::{Budgets, Permit};
use hubdns::wire::Rtype;

use crate::stand_in::{NAME, Proxy, Reply, StandIn, identity};
use crate::upstream::{Act, Upstream, closed};

const SECRET: &[(&str, &str)] = &[("AZURE_CLIENT_SECRET", "hush-hush")];
const LIMIT: usize = 1 << 20;

fn http(source: &AzureSource) -> Http {
    Http::new(source, &[], &[]).unwrap()
}

/// Knows [`NAME`] alone.
fn resolver() -> Upstream {
    Upstream::start(|asked| {
        Act::send(match (asked.qname.trim_end_matches('.'), asked.qtype) {
            (NAME, Rtype::A) => asked.reply(0, &format!("{NAME} 300 A 127.0.0.1"), ""),
            (NAME, _) => asked.reply(0, "", "contoso.example 300 SOA a b 1 2 3 4 5"),
            _ => asked.reply(3, "", "example 300 SOA a b 1 2 3 4 5"),
        })
    })
}

#[tokio::test]
async fn a_custom_cloud_works_by_its_ca_and_by_no_other() {
    let azure = StandIn::https(|_| Reply::token("the-token", 3599));
    let other = StandIn::https(|_| Reply::token("the-token", 3599));
    let mut source = azure.source(&[CredentialKind::ClientSecret]);
    identity(&source, SECRET).token().await.unwrap();
    source.ca_file = Some(other.ca.clone());
    let error = identity(&source, SECRET).token().await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(azure.seen().len(), 1);
}

#[tokio::test]
async fn files_of_certificates_that_cannot_be_used_are_named() {
    let azure = StandIn::https(|_| Reply::new(200, ""));
    let directory = tempfile::tempdir().unwrap();
    for content in [None, Some(""), Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")] {
        let path = directory.path().join("ca.pem");
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let mut source = azure.source(&[]);
        source.ca_file = Some(path);
        let error = Http::new(&source, &[], &[]).unwrap_err();
        assert!(matches!(&error, HttpError::Setup(said) if said.contains("ca.pem")), "{error}");
    }
    let mut source = azure.source(&[]);
    source.proxy = Some(ProxyUrl("http://user:hush@[".to_owned()));
    assert!(!format!("{source:?}").contains("hush"));
    let error = Http::new(&source, &[], &[]).unwrap_err();
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[tokio::test]
async fn names_are_looked_up_by_the_bootstrap_servers_without_a_search_list() {
    let servers = resolver();
    let azure = StandIn::https(|_| Reply::token("the-token", 3599));
    let url = format!("https://{NAME}:{}", azure.address.port());
    let mut source = azure.source_as(&url, &[CredentialKind::ClientSecret]);
    source.bootstrap = vec![servers.address];
    identity(&source, SECRET).token().await.unwrap();
    let asked = servers.seen();
    assert!(
        !asked.is_empty() && asked.iter().all(|asked| asked.qname.trim_end_matches('.') == NAME),
        "{asked:?}"
    );
    source = azure.source_as(&url.replace(NAME, "unknown"), &[CredentialKind::ClientSecret]);
    source.bootstrap = vec![servers.address];
    identity(&source, SECRET).token().await.unwrap_err();
    let asked = servers.seen();
    assert!(
        asked.iter().all(|asked| ["unknown", NAME].contains(&asked.qname.trim_end_matches('.'))),
        "{asked:?}"
    );
    assert_eq!(azure.seen().len(), 1);
}

#[tokio::test]
async fn addresses_that_were_good_outlive_their_resolver() {
    let servers = Upstream::start(|asked| match (asked.qtype, asked.nth) {
        (Rtype::A, 0) => Act::send(asked.reply(0, &format!("{NAME} 0 A 127.0.0.1"), "")),
        (_, 0) => Act::send(asked.reply(0, "", "contoso.example 0 SOA a b 1 2 3 4 0")),
        _ => Act::send(asked.reply(2, "", "")),
    });
    let resolver = Bootstrap::new(vec![servers.address]).unwrap();
    let first = resolver.lookup(NAME).await.unwrap();
    assert_eq!(first, ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    let before = servers.seen().len();
    assert_eq!(resolver.lookup(NAME).await.unwrap(), first);
    assert!(servers.seen().len() > before, "the resolver was asked again");
    assert!(resolver.lookup("never.contoso.example").await.is_err());
}

#[tokio::test]
async fn the_second_server_is_asked_where_the_first_is_silent() {
    let servers = resolver();
    let resolver = Bootstrap::new(vec![closed(), servers.address]).unwrap();
    assert_eq!(resolver.servers().len(), 2);
    assert_eq!(resolver.lookup(NAME).await.unwrap().len(), 1);
}

/// Budgets that allow a number of messages.
#[derive(Default)]
struct Counted {
    left: AtomicUsize,
    drawn: Mutex<Vec<SocketAddr>>,
    out: Arc<AtomicUsize>,
}

/// The right to one of them.
struct One(Arc<AtomicUsize>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Budgets for Counted {
    fn draw(&self, server: SocketAddr) -> Option<Permit> {
        let less = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).ok()?;
        self.drawn.lock().unwrap().push(server);
        self.out.fetch_add(1, Ordering::SeqCst);
        Some(Box::new(One(Arc::clone(&self.out))))
    }
}

fn within(server: SocketAddr, left: usize) -> (Bootstrap, Arc<Counted>) {
    let budgets = Arc::new(Counted { left: AtomicUsize::new(left), ..Counted::default() });
    (Bootstrap::within(vec![server], Some(budgets.clone())).unwrap(), budgets)
}

#[tokio::test]
async fn all_that_a_look_up_sends_draws_on_the_budget_of_its_server() {
    let cut = resolver();
    let truncating = Upstream::start(move |asked| match asked.transport {
        Transport::Udp => Act::send(asked.reply(0x0200, "", "")),
        Transport::Tcp if asked.qtype == Rtype::A => {
            Act::send(asked.reply(0, &format!("{NAME} 300 A 127.0.0.1"), ""))
        }
        Transport::Tcp => Act::send(asked.reply(0, "", "contoso.example 300 SOA a b 1 2 3 4 5")),
        other => unreachable!("an upstream is not asked by {}", other.label()),
    });
    for (server, at_least) in [(&cut, 2), (&truncating, 4)] {
        let (resolver, budgets) = within(server.address, 1000);
        assert_eq!(resolver.lookup(NAME).await.unwrap().len(), 1);
        let drawn = budgets.drawn.lock().unwrap().clone();
        assert_eq!(drawn, vec![server.address; server.seen().len()]);
        assert!(drawn.len() >= at_least, "{drawn:?}");
        assert_eq!(budgets.out.load(Ordering::SeqCst), 0, "all of it was given back");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_looked_up_over_budget() {
    let server = resolver();
    let (resolver, budgets) = within(server.address, 0);
    assert!(resolver.lookup(NAME).await.is_err());
    assert!(server.seen().is_empty() && budgets.drawn.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_proxy_takes_what_goes_to_azure_and_nothing_else() {
    let azure = StandIn::https(|_| Reply::token("the-token", 3599));
    let metadata = StandIn::http(|_| Reply::metadata("of-the-machine", 3600));
    let proxy = Proxy::start(azure.address);
    // Nobody but the proxy knows this name: it is not looked up here.
    let mut source = azure.source_as(&format!("https://{NAME}"), &[CredentialKind::ClientSecret]);
    source.proxy = Some(ProxyUrl(format!("http://{}", proxy.address)));
    identity(&source, SECRET).token().await.unwrap();
    assert_eq!(proxy.asked(), [format!("CONNECT {NAME}:443 HTTP/1.1")]);
    let clients = http(&source);
    let answer = exchange(clients.azure.get(format!("https://{NAME}/subscriptions")), LIMIT).await.unwrap();
    assert_eq!(answer.status, 200);
    let before = proxy.asked().len();
    source.identity.credentials = vec![CredentialKind::ManagedIdentity];
    let host = format!("http://{}", metadata.address);
    let token = identity(&source, &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &host)]).token().await.unwrap();
    assert_eq!(*token.secret, "of-the-machine");
    assert_eq!(proxy.asked().len(), before, "{:?}", proxy.asked());
}

#[tokio::test]
async fn a_token_never_goes_in_the_clear() {
    let plain = StandIn::http(|_| Reply::new(200, ""));
    let azure = StandIn::https(|_| Reply::new(200, ""));
    let clients = http(&azure.source(&[]));
    exchange(clients.azure.get(format!("http://{}/", plain.address)), LIMIT).await.unwrap_err();
    assert!(plain.seen().is_empty());
    let elsewhere = format!("http://{}/elsewhere", plain.address);
    let moved = StandIn::http(move |_| Reply::new(307, "").header("location", elsewhere.clone()));
    let answer = exchange(clients.local.get(format!("http://{}/", moved.address)), LIMIT).await.unwrap();
    assert_eq!(answer.status, 307);
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn bodies_are_bounded() {
    let azure = StandIn::https(|_| Reply::new(200, "x".repeat(1001)).header("retry-after", "7"));
    let clients = http(&azure.source(&[]));
    let ask = |limit| exchange(clients.azure.get(format!("https://{}/", azure.address)), limit);
    let error = ask(1000).await.unwrap_err();
    assert!(matches!(error, HttpError::Failed(_)), "{error}");
    let answer = ask(1001).await.unwrap();
    assert_eq!((answer.body.len(), answer.retry_after()), (1001, Some(Duration::from_secs(7))));
}

#[tokio::test]
async fn a_request_ends_with_its_time() {
    let never = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let azure = StandIn::https(move |_| Reply::new(200, "").held(&never));
    let mut source = azure.source(&[]);
    source.request_timeout = Duration::from_millis(200);
    let error =
        exchange(http(&source).azure.get(format!("https://{}/", azure.address)), LIMIT).await.unwrap_err();
    assert!(matches!(error, HttpError::TimedOut), "{error}");
    let nobody: SocketAddr = closed();
    let error = exchange(http(&source).azure.get(format!("https://{nobody}/")), LIMIT).await.unwrap_err();
    assert!(matches!(error, HttpError::Failed(_)), "{error}");
    assert!(!error.to_string().contains("https://"), "{error}");
}

#[tokio::test]
async fn the_authority_of_the_environment_is_for_named_clouds() {
    let azure = StandIn::https(|_| Reply::token("the-token", 3599));
    let url = format!("https://{}/", azure.address);
    let nobody = format!("https://{}", closed());
    let mut source = azure.source(&[CredentialKind::ClientSecret]);
    let custom = identity(&source, &[SECRET[0], ("AZURE_AUTHORITY_HOST", &nobody)]);
    custom.token().await.unwrap();
    source.cloud = hubdns::config::AzureCloud::UsGovernment;
    let named = identity(&source, &[SECRET[0], ("AZURE_AUTHORITY_HOST", &url)]);
    assert_eq!(named.authority(), url.trim_end_matches('/'));
    named.token().await.unwrap();
    let seen = azure.seen();
    assert_eq!(seen[1].fields()["scope"], "https://management.usgovcloudapi.net/.default");
    assert_eq!(seen.len(), 2);
    // Secrets do not go in the clear, whatever the variable says.
    let plain = identity(&source, &[("AZURE_AUTHORITY_HOST", "http://127.0.0.1")]);
    assert_eq!(plain.authority(), "https://login.microsoftonline.us");
}
