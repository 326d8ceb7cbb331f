//! The `hubdns` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    hubdns::cli::run()
}
