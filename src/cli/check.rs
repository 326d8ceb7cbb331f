//! `hubdns check`: validates without binding anything.

use clap::Args;

use super::options::ConfigArgs;
use super::{CliError, text};
use crate::config;
use crate::findings::Ignored;
use crate::serve::encrypted::check_certificates;

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Check {
    pub(super) fn run(self) -> Result<(), CliError> {
        let config = self.config.origin().load()?;
        let mut lines: Vec<String> = config::summary(&config).lines().map(text::plain).collect();
        // Nothing of it keeps the daemon from starting.
        lines.extend(config::advice(&config).iter().map(|remark| format!("remark: {}", text::plain(remark))));
        // Nor does this keep a reload from what it is for; a start needs the files.
        lines.extend(check_certificates(&config).iter().map(|(address, error)| {
            format!("remark: the listener {address} cannot start now: {}", text::plain(&error.to_string()))
        }));
        let ignored = Ignored::new(&config.ignored_findings);
        let unknown = ignored.unknown().iter();
        lines.extend(
            unknown.map(|code| format!("remark: findings.ignore: {} is no finding", text::plain(code))),
        );
        text::print(&(lines.join("\n") + "\n"))
    }
}
