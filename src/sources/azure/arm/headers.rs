//! What response headers say: when to come again, what is left.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::metrics::azure::AzureQuota;

/// The headers that tell what is left of a limit.
const QUOTAS: [(&str, AzureQuota); 6] = [
    ("x-ms-ratelimit-remaining-subscription-reads", AzureQuota::SubscriptionReads),
    ("x-ms-ratelimit-remaining-subscription-global-reads", AzureQuota::SubscriptionGlobalReads),
    ("x-ms-ratelimit-remaining-tenant-reads", AzureQuota::TenantReads),
    ("x-ms-ratelimit-remaining-subscription-resource-requests", AzureQuota::ResourceRequests),
    ("x-ms-ratelimit-remaining-subscription-resource-entities-read", AzureQuota::ResourceEntities),
    (GRAPH_LEFT, AzureQuota::GraphQueries),
];

const GRAPH_LEFT: &str = "x-ms-user-quota-remaining";

/// When Resource Graph's quota is whole again: `00:00:05`.
const GRAPH_RESET: &str = "x-ms-user-quota-resets-after";

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Every quota that the response tells.
pub(super) fn quotas(headers: &HeaderMap) -> impl Iterator<Item = (AzureQuota, u64)> + '_ {
    QUOTAS.iter().filter_map(|(name, quota)| Some((*quota, text(headers, name)?.parse().ok()?)))
}

/// How long to wait before the next request, if Azure says so: `Retry-After`
/// in seconds or as a date (RFC 9110 section 10.2.3), or in milliseconds.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    for name in ["x-ms-retry-after-ms", "retry-after-ms"] {
        if let Some(milliseconds) = text(headers, name).and_then(|text| text.parse().ok()) {
            return Some(Duration::from_millis(milliseconds));
        }
    }
    let value = text(headers, RETRY_AFTER.as_str())?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    // A date that has passed says: now.
    Some(date.duration_since(now).unwrap_or_default())
}

/// How long Resource Graph takes no more queries: until its quota is reset,
/// once nothing of it is left.
pub(super) fn graph_pause(headers: &HeaderMap) -> Option<Duration> {
    let left: u64 = text(headers, GRAPH_LEFT)?.parse().ok()?;
    let mut seconds = 0_u64;
    for part in text(headers, GRAPH_RESET)?.split('.').next()?.splitn(3, ':') {
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    (left == 0).then_some(Duration::from_secs(seconds))
}

/// Whether Resource Manager itself refused the request, not a resource provider.
pub(super) fn is_from_gateway(headers: &HeaderMap) -> bool {
    text(headers, "x-ms-failure-cause").is_some_and(|cause| cause.eq_ignore_ascii_case("gateway"))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        for (pairs, expected) in [
            (&[("retry-after", "10")][..], Some(10_000)),
            (&[("retry-after", " 0 ")], Some(0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")], Some(3000)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], Some(0)),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "10"), ("x-ms-retry-after-ms", "250")], Some(250)),
            (&[], None),
        ] {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(retry_after(&headers(pairs), now), expected, "{pairs:?}");
        }
    }

    #[test]
    fn quotas_are_read_from_every_known_header() {
        let all = headers(&[
            ("x-ms-ratelimit-remaining-subscription-reads", "249"),
            ("x-ms-ratelimit-remaining-subscription-global-reads", "16499"),
            ("x-ms-ratelimit-remaining-subscription-resource-entities-read", "many"),
            ("x-ms-user-quota-remaining", "0"),
            ("x-ms-user-quota-resets-after", "00:00:05"),
        ]);
        let read: Vec<_> = quotas(&all).collect();
        let expected = [
            (AzureQuota::SubscriptionReads, 249),
            (AzureQuota::SubscriptionGlobalReads, 16_499),
            (AzureQuota::GraphQueries, 0),
        ];
        assert_eq!(read, expected);
        assert_eq!(graph_pause(&all), Some(Duration::from_secs(5)));
        let left =
            headers(&[("x-ms-user-quota-remaining", "3"), ("x-ms-user-quota-resets-after", "00:01:05")]);
        assert_eq!(graph_pause(&left), None);
    }
}
