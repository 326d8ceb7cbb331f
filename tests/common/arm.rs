//! A client of Resource Manager with a token of the test's own, and a runtime
//! to wait in.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses its part of this")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hubdns::config::CredentialKind;
use hubdns::metrics::azure::AzureMetrics;
use hubdns::sources::azure::arm::{Arm, ArmError, Family, Limits, List, Rate, YieldTokens};
use hubdns::sources::azure::cloud::Endpoints;
use hubdns::sources::azure::http::Http;
use hubdns::sources::azure::identity::{IdentityError, Token};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::azure::{AUDIENCE, Azure, FIXED_TOKEN};

/// The api-version of private DNS.
pub const DNS: &str = "api-version=2024-06-01";

/// The path of a subscription's zones.
pub fn zones(subscription: &str) -> String {
    format!("/subscriptions/{subscription}/providers/Microsoft.Network/privateDnsZones?{DNS}")
}

/// Limits that make no test wait without need.
pub fn fast() -> Limits {
    let backoff = Duration::from_millis(2);
    let rate = Rate { burst: 1000, interval: Duration::from_millis(1) };
    let rates = Limits { reads: rate, record_sets: rate, graph: rate, ..Limits::default() };
    Limits { backoff, max_backoff: backoff, ..rates }
}

/// Tokens from the test.
#[derive(Debug)]
pub struct Tokens(Mutex<State>);

#[derive(Debug)]
struct State {
    now: String,
    next: String,
    invalidated: u32,
}

impl Tokens {
    /// The token, and the one that takes its place when it is refused.
    pub fn set(&self, now: &str, next: &str) {
        *self.0.lock().expect("no panic") =
            State { now: now.to_owned(), next: next.to_owned(), invalidated: 0 };
    }

    pub fn invalidated(&self) -> u32 {
        self.0.lock().expect("no panic").invalidated
    }
}

#[async_trait]
impl YieldTokens for Tokens {
    async fn token(&self) -> Result<Arc<Token>, IdentityError> {
        let secret = self.0.lock().expect("no panic").now.clone().into();
        Ok(Arc::new(Token { secret, expires_at: u64::MAX, kind: CredentialKind::ClientSecret }))
    }

    fn invalidate(&self) {
        let mut state = self.0.lock().expect("no panic");
        let next = state.next.clone();
        state.now = next;
        state.invalidated += 1;
    }
}

/// The client.
pub struct Rig {
    pub arm: Arm,
    pub tokens: Arc<Tokens>,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    /// A client of `azure` with the fixed token.
    pub fn new(azure: &Azure, limits: Limits) -> Self {
        Self::with_metrics(azure, limits, Arc::default())
    }

    pub fn with_metrics(azure: &Azure, limits: Limits, metrics: Arc<AzureMetrics>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = std::fs::read(azure.ca_file()).expect("a CA");
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only([reqwest::Certificate::from_pem(&ca).expect("PEM")])
            .build()
            .expect("a client");
        let http = Http { azure: client.clone(), local: client };
        let state = State { now: FIXED_TOKEN.to_owned(), next: FIXED_TOKEN.to_owned(), invalidated: 0 };
        let tokens = Arc::new(Tokens(Mutex::new(state)));
        let endpoints = Endpoints {
            authority: azure.url(),
            resource_manager: azure.url(),
            audience: AUDIENCE.to_owned(),
        };
        let yields: Arc<dyn YieldTokens> = tokens.clone();
        let arm = Arm::with(http, yields, endpoints, limits, metrics);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { arm, tokens, runtime: runtime.expect("a runtime") }
    }

    pub fn metrics(&self) -> &AzureMetrics {
        self.arm.metrics()
    }

    pub fn list(&self, family: &Family, path: &str) -> Result<List, ArmError> {
        self.runtime.block_on(self.arm.list(family, path))
    }

    pub fn get(&self, family: &Family, path: &str) -> Result<Value, ArmError> {
        self.runtime.block_on(self.arm.get(family, path))
    }

    pub fn graph(&self, subscriptions: &[&str], query: &str) -> Result<List, ArmError> {
        let subscriptions: Vec<String> = subscriptions.iter().map(|id| (*id).to_owned()).collect();
        self.runtime.block_on(self.arm.graph(&subscriptions, query))
    }

    /// Begins a listing on a clone of the client.
    pub fn list_later(&self, family: Family, path: String) -> JoinHandle<Result<List, ArmError>> {
        let arm = self.arm.clone();
        self.runtime.spawn(async move { arm.list(&family, &path).await })
    }

    pub fn wait(&self, list: JoinHandle<Result<List, ArmError>>) -> Result<List, ArmError> {
        self.runtime.block_on(list).expect("no panic")
    }
}
