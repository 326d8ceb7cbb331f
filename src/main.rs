//! The `hubdns` command.

fn main() {}
