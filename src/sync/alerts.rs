//! What the sync itself has to say to an operator: what is held back, what is
//! not saved, what could not be read.

use super::guard::Waits;
use super::persist::Pin;
use super::status::SourceStatus;
use crate::findings::{Code, Finding};

/// Removals that an operator must decide on; those that one has rejected are silent.
pub(super) fn held_back(waits: &Waits, findings: &mut Vec<Finding>) {
    for ((name, rtype), wait) in &waits.removals {
        let Some(why) = wait.held.filter(|_| !wait.rejected) else { continue };
        let lost = if wait.downgrade {
            "No endpoint vouches for the record any more, and a zone has other data"
        } else {
            "The record is in no source any more"
        };
        let text = format!(
            "{lost}; the {rtype} record is served as it was, because {why}. \
             Accept it with `hubdns sync accept {name}`, or keep it with `hubdns sync reject {name}`."
        );
        findings
            .push(Finding { first_seen: wait.first_seen, ..Finding::new(Code::HeldBack, name, "", text) });
    }
}

/// A rollback that is in force.
pub(super) fn pinned(pin: Pin, generation: u64, findings: &mut Vec<Finding>) {
    let text = format!(
        "An operator rolled back to generation {}; nothing new is published. \
         See `hubdns sync diff`, and go on with `hubdns sync accept`.",
        pin.to
    );
    let name = format!("generation {generation}");
    findings.push(Finding { first_seen: pin.at, ..Finding::new(Code::SyncPinned, name, "", text) });
}

/// Sources, and parts of them, that could not be read.
pub(super) fn failed(source: &SourceStatus, findings: &mut Vec<Finding>) {
    for failure in &source.failures {
        let Some(permission) = &failure.missing_permission else {
            let text = format!(
                "{} could not be read; its last good listing counts: {}",
                failure.scope, failure.error
            );
            findings.push(Finding::new(Code::SourceFailed, &source.name, failure.scope.as_str(), text));
            continue;
        };
        let text = format!(
            "The identity of {} may not do {permission} on {}. The role {} grants it; \
             `hubdns auth test` prints the role assignment that is missing.",
            source.name,
            failure.scope,
            role(permission)
        );
        let name = permission.as_str();
        findings.push(Finding::new(Code::IdentityMissingPermission, name, failure.scope.as_str(), text));
    }
    if source.failures.is_empty()
        && let Some(error) = &source.last_error
    {
        findings.push(Finding::new(Code::SourceFailed, &source.name, "", error.as_str()));
    }
}

/// The smallest built-in role that grants reading what hubdns reads.
fn role(permission: &str) -> &'static str {
    if permission.to_ascii_lowercase().starts_with("microsoft.management/") {
        "Management Group Reader"
    } else {
        "Reader"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::facts::SourceKind;
    use crate::sync::status::FailureStatus;

    #[test]
    fn a_missing_permission_is_told_with_its_role() {
        let failure = |scope: &str, permission: Option<&str>| FailureStatus {
            scope: scope.to_owned(),
            error: "403".to_owned(),
            missing_permission: permission.map(str::to_owned),
        };
        let source = SourceStatus {
            name: "azure".to_owned(),
            kind: SourceKind::Azure,
            last_success: None,
            last_error: Some("several".to_owned()),
            facts: 0,
            is_pending: false,
            listings: Vec::new(),
            failures: vec![
                failure("/subscriptions/a", Some("Microsoft.Network/networkInterfaces/read")),
                failure("/groups", Some("Microsoft.Management/managementGroups/read")),
                failure("/subscriptions/b", None),
            ],
        };
        let mut findings = Vec::new();
        failed(&source, &mut findings);
        let codes: Vec<Code> = findings.iter().map(|finding| finding.code).collect();
        let permission = Code::IdentityMissingPermission;
        assert_eq!(codes, [permission, permission, Code::SourceFailed]);
        assert!(findings[0].text.contains("The role Reader grants it"), "{}", findings[0].text);
        assert!(findings[1].text.contains("Management Group Reader"), "{}", findings[1].text);
        assert_eq!(findings[2].resource_id, "/subscriptions/b");
    }
}
