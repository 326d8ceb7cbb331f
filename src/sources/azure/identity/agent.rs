//! Azure Arc: the agent of a machine elsewhere than in Azure (HIMDS).
//!
//! The agent answers 401 with the path of a file that only root and members
//! of the group `himds` can read; whoever can tell its content gets a token.
//! Whatever listens on the agent's port could name any file, so only files
//! like the agent's own, in the agent's own directory, are read. Our own code:
//! `azure_identity` does not know Arc.
//! (<https://learn.microsoft.com/azure/azure-arc/servers/managed-identity-authentication>)

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use reqwest::RequestBuilder;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use zeroize::Zeroizing;

use super::credential::{Obtained, Setup, Trouble};
use super::managed::{Silence, local, read};
use super::scrub::Scrubber;
use super::transport::{Said, refused_or_not};
use crate::sources::azure::http::Answer;

const API_VERSION: &str = "2020-06-01";

/// Largest secret file.
const MAX_KEY: u64 = 4096;

/// A token of the machine's identity, by its agent.
pub(super) async fn obtain(setup: &Setup) -> Result<Obtained, Trouble> {
    let endpoint = endpoint(setup)?;
    let challenge = sent(request(setup, &endpoint)?).await?;
    let scrubber = Scrubber::default();
    if challenge.status != 401 {
        let said = Said::of(&challenge.body);
        let retry_after = challenge.retry_after();
        return Err(match refused_or_not(challenge.status, retry_after, said.as_ref(), &scrubber) {
            // Only the challenge proves that it is the agent.
            Trouble::Unreachable { message, .. } if challenge.status < 400 => {
                Trouble::Refused(format!("the agent asks for no secret: {message}"))
            }
            trouble => trouble,
        });
    }
    let path = realm(&challenge.headers)
        .ok_or_else(|| Trouble::Refused("the agent names no secret file".to_owned()))?;
    let key = key(Path::new(&path), &setup.surroundings.arc.tokens).map_err(Trouble::Refused)?;
    let scrubber = Scrubber::new([key.as_str()]);
    let mut credentials = HeaderValue::from_str(&Zeroizing::new(format!("Basic {}", key.as_str())))
        .map_err(|_| Trouble::Refused("the agent's secret file holds no header's text".to_owned()))?;
    credentials.set_sensitive(true);
    let answer = sent(request(setup, &endpoint)?.header(AUTHORIZATION, credentials)).await?;
    if answer.status == 200 {
        return read(&answer.body);
    }
    let said = Said::of(&answer.body);
    Err(match refused_or_not(answer.status, answer.retry_after(), said.as_ref(), &scrubber) {
        Trouble::Unreachable { message, .. } if answer.status == 401 => Trouble::Refused(message),
        trouble => trouble,
    })
}

/// Where the agent listens, if there is one.
fn endpoint(setup: &Setup) -> Result<String, Trouble> {
    let variables = &setup.surroundings.variables;
    if variables.get("IDENTITY_HEADER").is_none()
        && let (Some(endpoint), Some(_)) =
            (variables.get("IDENTITY_ENDPOINT"), variables.get("IMDS_ENDPOINT"))
    {
        return Ok(endpoint.to_owned());
    }
    let agent = &setup.surroundings.arc;
    if agent.program.exists() {
        return Ok(agent.endpoint.clone());
    }
    Err(Trouble::Unavailable(format!(
        "no agent of Azure Arc: neither IDENTITY_ENDPOINT and IMDS_ENDPOINT nor {}",
        agent.program.display()
    )))
}

fn request(setup: &Setup, endpoint: &str) -> Result<RequestBuilder, Trouble> {
    let mut url = url::Url::parse(endpoint)
        .map_err(|_| Trouble::Refused("the URL of Arc's agent cannot be read".to_owned()))?;
    url.query_pairs_mut()
        .append_pair("api-version", API_VERSION)
        .append_pair("resource", &setup.endpoints.audience);
    Ok(setup.http.local.get(url).header("Metadata", "true"))
}

async fn sent(request: RequestBuilder) -> Result<Answer, Trouble> {
    local(request).await.map_err(|silence| match silence {
        Silence::Absent(error) => Trouble::Unavailable(format!("Arc's agent does not listen: {error}")),
        Silence::Failed(error) => Trouble::unreachable(error.to_string()),
    })
}

/// The path in `WWW-Authenticate: Basic realm=PATH`.
fn realm(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(WWW_AUTHENTICATE)?.to_str().ok()?.trim();
    let (scheme, parameters) = value.split_once(char::is_whitespace)?;
    let (name, path) = parameters.trim().split_once('=')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic") && name.trim().eq_ignore_ascii_case("realm");
    let path = path.trim().trim_matches('"');
    (is_basic && !path.is_empty()).then(|| path.to_owned())
}

/// The content of the secret file at `path`, which must be one of the agent's.
fn key(path: &Path, tokens: &Path) -> Result<Zeroizing<String>, String> {
    let shown = path.display();
    if path.parent() != Some(tokens) || path.extension().is_none_or(|extension| extension != "key") {
        return Err(format!("the agent names {shown}, which is no *.key file in {}", tokens.display()));
    }
    let hint = |error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::PermissionDenied {
            "; the service's user must be a member of the group himds"
        } else {
            ""
        };
        format!("cannot read {shown}: {error}{hint}")
    };
    // A link would lead out of the directory, and a pipe would never end.
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(hint)?;
    if !opened.metadata().map_err(hint)?.is_file() {
        return Err(format!("{shown} is no regular file"));
    }
    let mut content = Zeroizing::new(String::new());
    opened.take(MAX_KEY + 1).read_to_string(&mut content).map_err(hint)?;
    if content.len() as u64 > MAX_KEY {
        return Err(format!("{shown} has more than {MAX_KEY} bytes"));
    }
    let key = content.trim();
    if key.is_empty() {
        return Err(format!("{shown} is empty"));
    }
    Ok(Zeroizing::new(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm_of(value: &str) -> Option<String> {
        realm(&HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap())]))
    }

    #[test]
    fn the_challenge_names_a_path() {
        assert_eq!(realm_of("Basic realm=/a/b.key").as_deref(), Some("/a/b.key"));
        assert_eq!(realm_of("basic  Realm=\"/a/b c.key\"").as_deref(), Some("/a/b c.key"));
        for other in ["Bearer realm=/a", "Basic", "Basic realm=", "Basic charset=utf-8", ""] {
            assert_eq!(realm_of(other), None, "{other}");
        }
    }

    #[test]
    fn only_the_agents_own_files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let tokens = directory.path().join("tokens");
        std::fs::create_dir(&tokens).unwrap();
        let write = |path: &Path, content: &str| std::fs::write(path, content).unwrap();
        write(&tokens.join("good.key"), " c2VjcmV0\n");
        write(&tokens.join("largest.key"), &"k".repeat(4096));
        write(&tokens.join("large.key"), &"k".repeat(4097));
        write(&tokens.join("empty.key"), "\n");
        write(&tokens.join("other.txt"), "x");
        write(&directory.path().join("outside.key"), "x");
        std::os::unix::fs::symlink(directory.path().join("outside.key"), tokens.join("link.key")).unwrap();
        std::fs::create_dir(tokens.join("directory.key")).unwrap();
        assert_eq!(*key(&tokens.join("good.key"), &tokens).unwrap(), "c2VjcmV0");
        assert_eq!(key(&tokens.join("largest.key"), &tokens).unwrap().len(), 4096);
        for bad in
            ["large.key", "empty.key", "other.txt", "link.key", "directory.key", "none.key", "../outside.key"]
        {
            assert!(key(&tokens.join(bad), &tokens).is_err(), "{bad}");
        }
        assert!(key(&directory.path().join("outside.key"), &tokens).is_err());
        assert!(key(Path::new("good.key"), &tokens).is_err());
    }
}
