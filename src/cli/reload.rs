//! `hubdns reload`: what SIGHUP does, with an answer.

use std::fmt::Write as _;

use clap::Args;
use hyper::Method;

use super::source::ControlArgs;
use super::{CliError, client, text};
use crate::admin::view::Reloaded;

#[derive(Debug, Args)]
pub(super) struct Reload {
    #[command(flatten)]
    control: ControlArgs,
}

impl Reload {
    pub(super) fn run(self) -> Result<(), CliError> {
        let reloaded: Reloaded = client::ask(&self.control.socket(), Method::POST, "/v1/reload")?;
        let mut page = String::from("configuration applied\n");
        for note in &reloaded.notes {
            let _ = writeln!(page, "note: {}", text::plain(note));
        }
        text::print(&page)
    }
}
