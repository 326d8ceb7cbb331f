//! What the build and the process say about themselves.

use std::time::{SystemTime, UNIX_EPOCH};

use super::exporter::float;
use super::{Export, Exporter};

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit of this build; `unknown` outside a repository.
pub const COMMIT: &str = env!("HUBDNS_BUILD_COMMIT");

/// The build and the process. Made once, early: its birth is the start time.
#[derive(Debug)]
pub struct Process {
    started: f64,
}

impl Process {
    /// Notes the time of the start.
    pub fn new() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
        Self { started }
    }

    /// When the process started, Unix seconds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds since 1970")]
    pub fn started_at(&self) -> u64 {
        self.started as u64
    }
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

impl Export for Process {
    fn export(&self, out: &mut Exporter) {
        out.gauge("build_info", "The build: always 1.", &[("version", VERSION), ("commit", COMMIT)], 1.0);
        out.gauge(
            "process_start_time_seconds",
            "Start of the process, Unix time in seconds.",
            &[],
            self.started,
        );
        if let Some(bytes) = resident_bytes() {
            out.gauge("process_resident_memory_bytes", "Resident memory in bytes.", &[], float(bytes));
        }
        if let Some(count) = open_files() {
            out.gauge("process_open_fds", "Open file descriptors.", &[], float(count));
        }
        if let Some(limit) = max_files() {
            out.gauge("process_max_fds", "Most file descriptors that may be open.", &[], float(limit));
        }
    }
}

/// `VmRSS` of `/proc/self/status`, which tells kilobytes whatever the page size is.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

fn open_files() -> Option<u64> {
    // The directory itself is open while it is read.
    std::fs::read_dir("/proc/self/fd").ok().map(|entries| (entries.count() as u64).saturating_sub(1))
}

fn max_files() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_memory_and_files() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
        assert!(open_files().is_some_and(|count| count > 0));
    }
}
