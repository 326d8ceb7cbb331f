//! What systemd is told: readiness, reloads, the end, and signs of life.
//! Without systemd every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// Started, or done reloading; `status` is shown by `systemctl status`.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload began; systemd waits for [`ready`].
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "no monotonic time for systemd"),
    }
}

/// The drain began.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// A sign of life.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is due: half of what the unit's `WatchdogSec` allows.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|interval| !interval.is_zero())
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "systemd was not told");
    }
}
