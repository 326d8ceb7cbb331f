//! What the process finds around it: variables, Arc's agent, a clock. All of
//! it can be another in a test, where no variable of the process can be set
//! and no agent runs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

/// The variables that are looked at; Azure's SDKs give them their meaning.
const NAMES: [&str; 14] = [
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IDENTITY_SERVER_THUMBPRINT",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
];

/// Environment variables. `Debug` tells names, no values: some are secrets.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, Zeroizing<String>>);

impl Variables {
    /// Those of this process.
    pub fn of_process() -> Self {
        NAMES.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))).collect()
    }

    /// The value of `name`; an empty one counts as none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Variables {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), Zeroizing::new(value.into()))).collect())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Where Azure Arc's agent is.
#[derive(Clone, Debug)]
pub struct ArcAgent {
    /// Its token endpoint where no variable tells it.
    pub endpoint: String,
    /// The directory of its secret files; none elsewhere is read.
    pub tokens: PathBuf,
    /// Its program: where that is not, no agent is asked.
    pub program: PathBuf,
}

impl Default for ArcAgent {
    fn default() -> Self {
        Self {
            endpoint: "http://localhost:40342/metadata/identity/oauth2/token".to_owned(),
            tokens: PathBuf::from("/var/opt/azcmagent/tokens"),
            program: PathBuf::from("/opt/azcmagent/bin/himds"),
        }
    }
}

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Clock {
    /// A clock that shows what `tell` says.
    pub fn new(tell: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(super) fn now(&self) -> Instant {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Instant::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// What an identity finds around it.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Environment variables.
    pub variables: Variables,
    /// Whether the az command line may be used.
    pub interactive: bool,
    /// Azure Arc's agent.
    pub arc: ArcAgent,
    /// The time.
    pub clock: Clock,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process(interactive: bool) -> Self {
        Self { variables: Variables::of_process(), interactive, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_show_no_values() {
        let variables: Variables =
            [("AZURE_CLIENT_SECRET", "hush"), ("AZURE_TENANT_ID", "")].into_iter().collect();
        assert_eq!(variables.get("AZURE_CLIENT_SECRET"), Some("hush"));
        assert_eq!(variables.get("AZURE_TENANT_ID"), None);
        let surroundings = Surroundings { variables, ..Surroundings::default() };
        let shown = format!("{surroundings:?}");
        assert!(shown.contains("AZURE_CLIENT_SECRET") && !shown.contains("hush"), "{shown}");
    }
}
