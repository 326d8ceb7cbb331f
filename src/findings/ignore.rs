//! Findings that the configuration does not want to hear of.

use std::collections::BTreeSet;

use super::{Code, Finding};

/// The findings that are not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    codes: BTreeSet<Code>,
    /// With the name, lower case.
    names: BTreeSet<(Code, String)>,
    unknown: Vec<String>,
}

impl Ignored {
    /// Reads the entries of `findings.ignore`: `CODE` or `CODE NAME`.
    pub fn new(entries: &[String]) -> Self {
        let mut ignored = Self::default();
        for entry in entries {
            let (code, name) = entry.split_once(' ').map_or((entry.as_str(), None), |(c, n)| (c, Some(n)));
            match (code.parse(), name) {
                (Ok(code), None) => drop(ignored.codes.insert(code)),
                (Ok(code), Some(name)) => {
                    // Names of findings are written without the final dot.
                    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                    ignored.names.insert((code, name));
                }
                (Err(_), _) => ignored.unknown.push(code.to_owned()),
            }
        }
        ignored
    }

    /// Words that stand where a code should and are none.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Whether `finding` is not told.
    pub fn covers(&self, finding: &Finding) -> bool {
        self.codes.contains(&finding.code)
            || !self.names.is_empty()
                && self.names.contains(&(finding.code, finding.name.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_ignored_and_the_rest_is_not() {
        let entries = ["manual-record build.Privatelink.azurecr.io.", "files-polled", "no-such-code x"];
        let ignored = Ignored::new(&entries.map(str::to_owned));
        let covers = |code, name| ignored.covers(&Finding::new(code, name, "", ""));
        assert!(covers(Code::ManualRecord, "build.privatelink.azurecr.io"));
        assert!(!covers(Code::ManualRecord, "other.privatelink.azurecr.io"));
        assert!(!covers(Code::StaleRecord, "build.privatelink.azurecr.io"));
        assert!(covers(Code::FilesPolled, "anything"));
        assert_eq!(ignored.unknown(), ["no-such-code"]);
    }
}
