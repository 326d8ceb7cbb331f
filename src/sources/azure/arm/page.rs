//! Bodies of Resource Manager and Resource Graph: pure, bounded by their
//! length, strict about what a listing must have and indifferent to what
//! later versions add.

use std::collections::HashSet;

use serde_json::Value;
use url::Url;

use super::ArmError;
use super::problem::scrub;

/// A page of a listing.
#[derive(Debug, PartialEq)]
pub struct Page {
    /// `value`.
    pub items: Vec<Value>,
    /// `nextLink`, as it is.
    pub next: Option<String>,
}

/// A page of Resource Graph.
#[derive(Debug, PartialEq)]
pub struct GraphPage {
    /// `data`.
    pub rows: Vec<Value>,
    /// `$skipToken`.
    pub skip_token: Option<String>,
    /// `totalRecords`: rows of all pages.
    pub total: Option<u64>,
}

/// The JSON of a body.
///
/// # Errors
/// [`ArmError::Body`]; with `true` where the text ended too early: it was cut.
pub fn parse(bytes: &[u8]) -> Result<Value, (ArmError, bool)> {
    serde_json::from_slice(bytes).map_err(|error| {
        // serde_json's message is of its own making but for what it quotes of unknown fields, which a `Value` has not.
        let text = format!("no JSON at line {} column {}", error.line(), error.column());
        (ArmError::Body(text), error.is_eof())
    })
}

fn body(text: &str) -> ArmError {
    ArmError::Body(text.to_owned())
}

/// Takes a list's envelope off.
///
/// # Errors
/// [`ArmError::Body`]: no `value`, items that are no objects, a `nextLink` that is no text.
pub fn list(body_value: Value) -> Result<Page, ArmError> {
    let Value::Object(mut object) = body_value else { return Err(body("a list is no object")) };
    let Some(Value::Array(items)) = object.remove("value") else {
        return Err(body("a list has no value"));
    };
    if !items.iter().all(Value::is_object) {
        return Err(body("an item of a list is no object"));
    }
    let next = link(object.remove("nextLink"), "nextLink")?;
    Ok(Page { items, next })
}

/// Takes Resource Graph's envelope off.
///
/// # Errors
/// [`ArmError::Body`]: no rows as objects, or rows that Azure left out and
/// that no skip token leads to.
pub fn graph(body_value: Value) -> Result<GraphPage, ArmError> {
    let Value::Object(mut object) = body_value else { return Err(body("an answer is no object")) };
    let Some(Value::Array(rows)) = object.remove("data") else {
        return Err(body("an answer has no data as objects"));
    };
    if !rows.iter().all(Value::is_object) {
        return Err(body("a row is no object"));
    }
    let skip_token = link(object.remove("$skipToken"), "$skipToken")?;
    let truncated = match object.get("resultTruncated") {
        Some(Value::Bool(truncated)) => *truncated,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    if truncated && skip_token.is_none() {
        return Err(body("rows are left out and no skip token leads to them"));
    }
    let total = object.get("totalRecords").and_then(Value::as_u64);
    Ok(GraphPage { rows, skip_token, total })
}

/// Where the next page is; absent, null and empty all say that there is none.
fn link(value: Option<Value>, key: &str) -> Result<Option<String>, ArmError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(_) => Err(ArmError::Body(format!("{key} is no text"))),
    }
}

/// Whether a token for `manager` may go to `url`: scheme, host and port are the same.
pub fn is_same_origin(manager: &Url, url: &Url) -> bool {
    url.scheme() == manager.scheme()
        && url.host().is_some()
        && url.host() == manager.host()
        && url.port_or_known_default() == manager.port_or_known_default()
        && url.username().is_empty()
        && url.password().is_none()
}

/// The address of the next page, if the token may go there.
///
/// # Errors
/// [`ArmError::ForeignNextLink`], [`ArmError::Body`] for what is no absolute URL.
pub fn next_url(manager: &Url, link: &str) -> Result<Url, ArmError> {
    let url = Url::parse(link).map_err(|_| body("nextLink is no URL"))?;
    if is_same_origin(manager, &url) {
        return Ok(url);
    }
    // Without its query, which has a skip token.
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let origin = format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default());
    Err(ArmError::ForeignNextLink(scrub(&origin)))
}

/// The ids on the pages of one listing.
#[derive(Debug, Default)]
pub struct Items(HashSet<String>);

impl Items {
    /// Notes the ids of a page; whether it has items, all of them with ids that
    /// pages before it had. Single items may move from page to page while
    /// others are deleted; a whole page that comes again has no end.
    pub fn repeats(&mut self, items: &[Value]) -> bool {
        let mut is_known = !items.is_empty();
        for item in items {
            let id = item.get("id").and_then(Value::as_str).map(str::to_ascii_lowercase);
            is_known &= id.is_some_and(|id| !self.0.insert(id));
        }
        is_known
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_strict_about_what_they_must_have() {
        let page = list(json!({"value": [{"id": 1}], "nextLink": "x", "new": {}})).expect("a page");
        assert_eq!((page.items.len(), page.next.as_deref()), (1, Some("x")));
        for end in [
            json!({"value": []}),
            json!({"value": [], "nextLink": null}),
            json!({"value": [], "nextLink": ""}),
        ] {
            assert_eq!(list(end).expect("a page").next, None);
        }
        for bad in [
            json!([]),
            json!({}),
            json!({"value": null}),
            json!({"value": {}}),
            json!({"value": [1]}),
            json!({"value": [], "nextLink": 7}),
            json!({"error": {"code": "X"}}),
        ] {
            assert!(matches!(list(bad.clone()), Err(ArmError::Body(_))), "{bad}");
        }
    }

    #[test]
    fn left_out_rows_without_a_way_to_them_are_an_error() {
        for truncated in [json!("true"), json!(true), json!("True")] {
            let cut = json!({"data": [], "resultTruncated": truncated});
            assert!(matches!(graph(cut), Err(ArmError::Body(_))));
        }
        let page =
            graph(json!({"data": [{}], "resultTruncated": "true", "$skipToken": "t", "totalRecords": 2}));
        assert_eq!(page.expect("a page").skip_token.as_deref(), Some("t"));
        let table = json!({"data": {"columns": [], "rows": []}, "resultTruncated": "false"});
        assert!(matches!(graph(table), Err(ArmError::Body(_))));
    }

    #[test]
    fn tokens_go_to_the_same_origin_alone() {
        let manager = Url::parse("https://management.azure.com").expect("a URL");
        for good in [
            "https://management.azure.com/a?b",
            "https://management.azure.com:443/a?$skipToken=x%3D",
            "https://MANAGEMENT.azure.com/a",
        ] {
            assert!(next_url(&manager, good).is_ok(), "{good}");
        }
        for bad in [
            "http://management.azure.com/a",
            "https://management.azure.com:444/a",
            "https://management.azure.com.example.org/a",
            "https://example.org/?https://management.azure.com",
            "https://management.azure.com@example.org/a",
            "https://user@management.azure.com/a",
            "https://management.azure.com\\@example.org/a/../..//",
            "ftp://management.azure.com/a",
            "data:text/plain,x",
        ] {
            let result = next_url(&manager, bad);
            let same = Url::parse(bad).is_ok_and(|url| {
                url.host_str() == Some("management.azure.com")
                    && url.scheme() == "https"
                    && url.port().is_none()
                    && url.username().is_empty()
            });
            assert!(same || matches!(result, Err(ArmError::ForeignNextLink(_))), "{bad}: {result:?}");
        }
        assert!(matches!(next_url(&manager, "/subscriptions"), Err(ArmError::Body(_))));
    }

    #[test]
    fn early_ends_are_told_from_other_nonsense() {
        assert!(parse(b"{\"value\": [").is_err_and(|(_, cut)| cut));
        assert!(parse(b"").is_err_and(|(_, cut)| cut));
        assert!(parse(b"<html>").is_err_and(|(_, cut)| !cut));
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_page_that_comes_again_is_seen() {
        let page = |ids: &[&str]| -> Vec<Value> { ids.iter().map(|id| json!({"id": id})).collect() };
        let mut items = Items::default();
        assert!(!items.repeats(&page(&["/a", "/b"])));
        assert!(!items.repeats(&[]));
        // One item has moved.
        assert!(!items.repeats(&page(&["/b", "/c"])));
        assert!(items.repeats(&page(&["/A", "/c"])));
        // Items without an id tell nothing.
        assert!(!items.repeats(&[json!({}), json!({"id": "/a"})]));
    }
}
