//! When a token is used, refreshed, or not to be had: decisions alone, over
//! the times that the caller tells.
//!
//! Times are monotonic: a clock that jumps neither ends a token nor keeps one
//! that is over. (One that ends early, after a suspended machine, is refused
//! by Resource Manager and then dropped.)

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{IdentityError, Token};

/// A token is not sent in its last moments, or it expires on its way.
const MARGIN: Duration = Duration::from_secs(30);

/// The least time between two refreshes while the old token is valid.
const REFRESH_PAUSE: Duration = Duration::from_secs(30);

/// A token younger than this is not dropped.
const YOUNG: Duration = Duration::from_secs(30);

/// A token whose end seems to lie in the past, by a clock that is wrong here,
/// is taken to live this long: Resource Manager decides.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(300);

/// No token of Azure's lives longer; what claims to is refreshed as if it did not.
const MAX_LIFETIME: Duration = Duration::from_secs(2 * 86_400);

/// The pause after the first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// The pause after the first refusal: only a change by an operator helps.
const FIRST_PAUSE_REFUSED: Duration = Duration::from_secs(60);

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// What is to be done now.
#[derive(Debug)]
pub(super) enum Now {
    /// Use this token.
    Use(Arc<Token>),
    /// Ask for a new one; until then this old one is valid.
    Refresh(Option<Arc<Token>>),
    /// The last try failed and the next is not due.
    Fail(IdentityError),
}

/// The token in use and the failure in force.
#[derive(Debug, Default)]
pub(super) struct Cache {
    held: Option<Held>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Held {
    token: Arc<Token>,
    obtained: Instant,
    refresh: Instant,
    end: Instant,
}

#[derive(Debug)]
struct Failure {
    error: IdentityError,
    count: u32,
    until: Instant,
}

impl Cache {
    /// What is to be done at `now`.
    pub(super) fn look(&self, now: Instant) -> Now {
        let held = self.held.as_ref().filter(|held| now < held.end);
        if let Some(held) = held
            && now < held.refresh
        {
            return Now::Use(Arc::clone(&held.token));
        }
        let valid = held.map(|held| Arc::clone(&held.token));
        match (&self.failure, valid) {
            (Some(failure), Some(token)) if now < failure.until => Now::Use(token),
            (Some(failure), None) if now < failure.until => Now::Fail(failure.error.clone()),
            (_, valid) => Now::Refresh(valid),
        }
    }

    /// The token, if it is valid.
    pub(super) fn valid(&self, now: Instant) -> Option<Arc<Token>> {
        let held = self.held.as_ref().filter(|held| now < held.end)?;
        Some(Arc::clone(&held.token))
    }

    /// Keeps `token`, refreshed at its half-life. Whether failures went before.
    pub(super) fn store(&mut self, now: Instant, token: Arc<Token>, lifetime: Duration) -> bool {
        let lifetime = if lifetime.is_zero() { UNKNOWN_LIFETIME } else { lifetime.min(MAX_LIFETIME) };
        let end = now + lifetime.saturating_sub(MARGIN.min(lifetime / 10));
        let refresh = (now + (lifetime / 2).max(REFRESH_PAUSE)).min(end);
        self.held = Some(Held { token, obtained: now, refresh, end });
        self.failure.take().is_some()
    }

    /// Notes a failure; the next try waits. Whether it is the first in a row.
    pub(super) fn fail(&mut self, now: Instant, error: IdentityError, retry_after: Option<Duration>) -> bool {
        let count = self.failure.as_ref().map_or(0, |failure| failure.count).saturating_add(1);
        let (first, longest) = match error {
            IdentityError::Refused { .. } => (FIRST_PAUSE_REFUSED, MAX_PAUSE),
            IdentityError::Unreachable { .. } => (FIRST_PAUSE, MAX_PAUSE),
            // Looking for files and variables troubles nobody.
            IdentityError::NoCredential { .. } => (FIRST_PAUSE, FIRST_PAUSE_REFUSED),
        };
        let pause = first.saturating_mul(1 << (count - 1).min(16)).min(longest);
        // Many instances that failed together do not come back together.
        let pause = pause.mul_f64(rand::random_range(0.75..1.0)).max(retry_after.unwrap_or_default());
        self.failure = Some(Failure { error, count, until: now + pause.min(MAX_PAUSE) });
        count == 1
    }

    /// Drops the token unless it is young.
    pub(super) fn invalidate(&mut self, now: Instant) {
        self.held.take_if(|held| now.saturating_duration_since(held.obtained) >= YOUNG);
    }

    /// When the token expires, Unix seconds.
    pub(super) fn expires_at(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.token.expires_at)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::config::CredentialKind;

    const HOUR: Duration = Duration::from_secs(3600);

    fn token(text: &str) -> Arc<Token> {
        let kind = CredentialKind::ManagedIdentity;
        Arc::new(Token { secret: Zeroizing::new(text.to_owned()), expires_at: 0, kind })
    }

    fn unreachable() -> IdentityError {
        let kind = CredentialKind::ManagedIdentity;
        IdentityError::Unreachable { kind, message: "gone".to_owned() }
    }

    fn shown(now: Now) -> String {
        match now {
            Now::Use(token) => format!("use {}", *token.secret),
            Now::Refresh(Some(token)) => format!("refresh {}", *token.secret),
            Now::Refresh(None) => "refresh".to_owned(),
            Now::Fail(error) => error.to_string(),
        }
    }

    #[test]
    fn a_token_is_refreshed_at_half_life_and_used_until_its_end() {
        let start = Instant::now();
        let mut cache = Cache::default();
        assert_eq!(shown(cache.look(start)), "refresh");
        assert!(!cache.store(start, token("a"), HOUR));
        for (seconds, expected) in
            [(0, "use a"), (1799, "use a"), (1800, "refresh a"), (3569, "refresh a"), (3570, "refresh")]
        {
            assert_eq!(shown(cache.look(start + Duration::from_secs(seconds))), expected, "{seconds}");
        }
    }

    #[test]
    fn a_failure_waits_longer_each_time_and_spares_the_valid_token() {
        let start = Instant::now();
        let mut cache = Cache::default();
        cache.store(start, token("a"), HOUR);
        let half = start + HOUR / 2;
        assert!(cache.fail(half, unreachable(), None));
        assert_eq!(shown(cache.look(half + Duration::from_secs(3))), "use a");
        assert_eq!(shown(cache.look(half + Duration::from_secs(5))), "refresh a");
        assert!(!cache.fail(half, unreachable(), None));
        assert_eq!(shown(cache.look(half + Duration::from_secs(7))), "use a");
        assert_eq!(shown(cache.look(half + Duration::from_secs(10))), "refresh a");
        for _ in 0..100 {
            cache.fail(half, unreachable(), None);
        }
        assert_eq!(shown(cache.look(half + Duration::from_secs(200))), "use a");
        assert_eq!(shown(cache.look(half + MAX_PAUSE)), "refresh a");
        let end = start + HOUR;
        cache.fail(end, unreachable(), None);
        assert_eq!(shown(cache.look(end)), "managed-identity got no answer: gone");
        assert!(cache.store(end, token("b"), HOUR));
        assert_eq!(shown(cache.look(end)), "use b");
    }

    #[test]
    fn a_refusal_waits_a_minute_and_retry_after_counts() {
        let start = Instant::now();
        let mut cache = Cache::default();
        let kind = CredentialKind::ClientSecret;
        cache.fail(start, IdentityError::Refused { kind, message: "expired".to_owned() }, None);
        assert!(matches!(cache.look(start + Duration::from_secs(44)), Now::Fail(_)));
        assert_eq!(shown(cache.look(start + Duration::from_secs(60))), "refresh");
        let mut cache = Cache::default();
        cache.fail(start, unreachable(), Some(Duration::from_secs(90)));
        assert!(matches!(cache.look(start + Duration::from_secs(89)), Now::Fail(_)));
        cache.fail(start, unreachable(), Some(Duration::from_secs(1_000_000)));
        assert_eq!(shown(cache.look(start + MAX_PAUSE)), "refresh");
    }

    #[test]
    fn only_a_token_with_some_age_is_dropped() {
        let start = Instant::now();
        let mut cache = Cache::default();
        cache.store(start, token("a"), HOUR);
        cache.invalidate(start + Duration::from_secs(29));
        assert_eq!(shown(cache.look(start + Duration::from_secs(29))), "use a");
        cache.invalidate(start + YOUNG);
        assert_eq!(shown(cache.look(start + YOUNG)), "refresh");
    }

    #[test]
    fn a_lifetime_of_nothing_is_a_wrong_clock() {
        let start = Instant::now();
        let mut cache = Cache::default();
        cache.store(start, token("a"), Duration::ZERO);
        assert_eq!(shown(cache.look(start + Duration::from_secs(100))), "use a");
        assert_eq!(shown(cache.look(start + UNKNOWN_LIFETIME)), "refresh");
        cache.store(start, token("a"), Duration::MAX);
        assert_eq!(shown(cache.look(start + Duration::from_secs(86_400))), "refresh a");
        // A token that dies soon is not asked for more often than is due.
        cache.store(start, token("b"), Duration::from_secs(40));
        assert_eq!(shown(cache.look(start + Duration::from_secs(25))), "use b");
    }
}
