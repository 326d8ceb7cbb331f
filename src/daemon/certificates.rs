//! Certificates of listeners as findings.

use std::sync::mpsc::Sender;

use crate::findings::{Code, Finding, Notices};
use crate::serve::Running;
use crate::serve::encrypted::{CertificateState, Life};
use crate::sync::watch::Command;

/// Has `notices` tell what is wrong with the certificates from now on; `sync`
/// looks again when that changes.
pub(super) fn watch(running: &Running, notices: Notices, sync: Sender<Command>) {
    running.on_certificates(Box::new(move |states| {
        let findings: Vec<Finding> = states.iter().flat_map(findings).collect();
        if findings != notices.get() {
            notices.set(findings);
            // A sync that has ended needs no news.
            let _ = sync.send(Command::News);
        }
    }));
}

/// What is wrong with one certificate.
fn findings(state: &CertificateState) -> impl Iterator<Item = Finding> + use<> {
    let file = state.file.display().to_string();
    let finding = |code, text: String| Finding::new(code, state.address, &file, text);
    let end = match state.life {
        Life::Good => None,
        Life::Ending => Some((Code::CertificateEnding, "ends soon")),
        Life::Over => Some((Code::CertificateEnded, "has ended")),
    };
    let end = end.map(|(code, what)| {
        let when =
            httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(state.not_after));
        finding(code, format!("The certificate of the listener {} {what}: {when}.", state.address))
    });
    let refused = state.problem.as_ref().map(|problem| {
        let text = format!(
            "The files of the certificate of the listener {} cannot be used; the certificate before stays \
             in use: {problem}.",
            state.address
        );
        finding(Code::CertificateRefused, text)
    });
    end.into_iter().chain(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_and_what_is_refused_are_two_things() {
        let state = |life, problem: Option<&str>| CertificateState {
            address: "192.0.2.1:853".parse().unwrap(),
            file: "/etc/cert.pem".into(),
            not_after: 86_400,
            life,
            problem: problem.map(str::to_owned),
        };
        let codes = |state: &CertificateState| findings(state).map(|f| f.code).collect::<Vec<_>>();
        assert_eq!(codes(&state(Life::Good, None)), []);
        assert_eq!(codes(&state(Life::Ending, None)), [Code::CertificateEnding]);
        let both = codes(&state(Life::Over, Some("it is empty")));
        assert_eq!(both, [Code::CertificateEnded, Code::CertificateRefused]);
        let told: Vec<Finding> = findings(&state(Life::Over, None)).collect();
        assert!(told[0].text.contains("Fri, 02 Jan 1970 00:00:00 GMT"), "{}", told[0].text);
    }
}
