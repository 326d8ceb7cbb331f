//! `hubdns auth test`: as whom Azure is read, and what is missing for it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use super::{CliError, text};
use crate::config::{AzureSource, Config, Overrides, Source};
use crate::daemon::ConfigOrigin;
use crate::sources::azure::arm::Arm;
use crate::sources::azure::cloud::Endpoints;
use crate::sources::azure::http::Http;
use crate::sources::azure::identity::{Attempt, Claims, Identity};
use crate::sources::azure::permissions::{self, BUILT_IN_ROLE, Grant, Method, Review};

#[derive(Debug, Args)]
pub(super) struct Auth {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Get a token, and say what the identity may read and which permissions it lacks
    ///
    /// Exit codes: 0 all permissions are there, 1 one is missing or there is no token.
    Test(Test),
}

#[derive(Debug, Args)]
struct Test {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", env = "HUBDNS_CONFIG")]
    config: Option<PathBuf>,
    /// Only the source of this name
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Auth {
    pub(super) fn run(self) -> Result<(), CliError> {
        let Command::Test(test) = self.command;
        test.run()
    }
}

/// What was found out about one source.
#[derive(Debug, Serialize)]
struct Tested {
    source: String,
    authority: String,
    resource_manager: String,
    /// The credential that works.
    credential: Option<&'static str>,
    credentials: Vec<Tried>,
    /// `None` for an opaque token too.
    claims: Option<Claims>,
    /// Unix seconds.
    expires_at: Option<u64>,
    error: Option<String>,
    #[serde(flatten)]
    review: Review,
    /// The custom role that grants what is needed, where something is missing.
    role: Option<Value>,
    ok: bool,
}

/// What became of one credential.
#[derive(Debug, Serialize)]
struct Tried {
    credential: &'static str,
    outcome: &'static str,
    reason: Option<String>,
}

impl From<&Attempt> for Tried {
    fn from(attempt: &Attempt) -> Self {
        Self {
            credential: attempt.kind.label(),
            outcome: attempt.outcome.label(),
            reason: attempt.outcome.reason().map(str::to_owned),
        }
    }
}

impl Test {
    fn run(self) -> Result<(), CliError> {
        let config = ConfigOrigin { file: self.config, overrides: Overrides::default() }.load()?;
        let sources: Vec<&AzureSource> = config
            .sources
            .iter()
            .filter_map(|source| match source {
                Source::Azure(source) => Some(source.as_ref()),
                _ => None,
            })
            .filter(|source| self.source.as_ref().is_none_or(|name| *name == source.name))
            .collect();
        if sources.is_empty() {
            let what = self.source.map_or_else(
                || "the configuration has no source azure ([[sources.azure]])".to_owned(),
                |name| format!("the configuration has no source azure with the name {name}"),
            );
            return Err(CliError::Refused(what));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::failed("cannot start", error))?;
        let tested: Vec<Tested> = runtime.block_on(async {
            futures::future::join_all(sources.iter().map(|source| test(source, &config))).await
        });
        if self.json {
            text::print(&text::json(&tested)?)?;
        } else {
            let shown: Vec<String> = tested.iter().map(show).collect();
            text::print(&shown.join("\n"))?;
        }
        if tested.iter().all(|tested| tested.ok) {
            return Ok(());
        }
        let lacks =
            |tested: &Tested| tested.review.subscriptions.iter().any(|one| one.missing().next().is_some());
        let what = if tested.iter().any(|tested| tested.credential.is_none()) {
            "there is no token"
        } else if tested.iter().any(lacks) {
            "permissions are missing"
        } else {
            "not all permissions could be found out"
        };
        Err(CliError::Refused(what.to_owned()))
    }
}

async fn test(source: &AzureSource, config: &Config) -> Tested {
    let endpoints = Endpoints::new(&source.cloud);
    let mut tested = Tested {
        source: source.name.clone(),
        authority: endpoints.authority.clone(),
        resource_manager: endpoints.resource_manager.clone(),
        credential: None,
        credentials: Vec::new(),
        claims: None,
        expires_at: None,
        error: None,
        review: Review::default(),
        role: None,
        ok: false,
    };
    let http = match Http::of(source, config) {
        Ok(http) => http,
        Err(error) => {
            tested.error = Some(error.to_string());
            return tested;
        }
    };
    let identity = Arc::new(Identity::new(source.identity.clone(), endpoints.clone(), http.clone(), true));
    let token = identity.token().await;
    tested.authority = identity.authority().to_owned();
    tested.credentials = identity.attempts().iter().map(Tried::from).collect();
    match token {
        Ok(token) => {
            tested.credential = Some(token.kind.label());
            tested.claims = token.claims();
            tested.expires_at = Some(token.expires_at);
        }
        Err(error) => {
            tested.error = Some(error.to_string());
            return tested;
        }
    }
    let arm = Arm::new(http, identity, endpoints);
    tested.review = permissions::review(&arm, source).await;
    tested.role = tested.review.role(source);
    tested.ok = tested.review.is_complete();
    tested
}

/// What is printed for people. Every text from outside is escaped.
fn show(tested: &Tested) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<15} {}", text::plain(value));
    };
    line("source", &tested.source);
    line("cloud", &format!("{} by {}", tested.resource_manager, tested.authority));
    for credential in &tested.credentials {
        let reason = credential.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        line(
            "credential",
            &format!("{} {}{reason}", credential.credential, credential.outcome.replace('-', " ")),
        );
    }
    if let Some(error) = &tested.error {
        line("error", error);
        return out;
    }
    match &tested.claims {
        Some(claims) => {
            let rows = [
                ("tenant", &claims.tenant),
                ("application id", &claims.application_id),
                ("object id", &claims.object_id),
                ("name", &claims.name),
                ("identity", &claims.managed_identity),
                ("audience", &claims.audience),
            ];
            for (name, value) in rows {
                if let Some(value) = value {
                    line(name, value);
                }
            }
        }
        None => line("token", "opaque: it does not say for whom it is"),
    }
    if let Some(expires_at) = tested.expires_at {
        line("expires", &utc(expires_at));
    }
    show_review(tested, &mut out);
    out
}

fn show_review(tested: &Tested, out: &mut String) {
    for problem in &tested.review.problems {
        let _ = writeln!(out, "{:<15} {}", "problem", text::plain(problem));
    }
    for subscription in &tested.review.subscriptions {
        let name = subscription.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
        let _ = writeln!(out, "\nsubscription {}{}", text::plain(&subscription.id), text::plain(&name));
        if subscription.method == Method::Trying {
            out.push_str("  the list of permissions is not readable, so each was tried\n");
        }
        for checked in &subscription.actions {
            let state = match &checked.grant {
                Grant::Permitted => "permitted".to_owned(),
                Grant::Missing => {
                    format!("MISSING ({}): the role {BUILT_IN_ROLE} grants it", checked.purpose)
                }
                Grant::Unknown(reason) => format!("unknown: {reason}"),
            };
            let _ = writeln!(out, "  {:<62} {}", checked.action, text::plain(&state));
        }
    }
    if let Some(role) = &tested.role {
        let object = tested.claims.as_ref().and_then(|claims| claims.object_id.as_deref());
        let _ = writeln!(
            out,
            "\nAssign the built-in role {BUILT_IN_ROLE}{}, or save this custom role and run\n\
             `az role definition create --role-definition FILE`:",
            object.map_or_else(String::new, |id| format!(" to object {}", text::plain(id))),
        );
        if let Ok(json) = text::json(role) {
            out.push_str(&json);
        }
    }
}

/// A Unix time as RFC 3339 has it, in UTC.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days from 0000-03-01, so that the leap day ends a year of this count.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_893_456_000, "2030-01-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
    }
}
