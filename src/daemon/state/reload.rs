//! A reload: the configuration is validated whole before anything changes.

use std::sync::mpsc::channel;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::State;
use crate::config::{Config, ConfigError};
use crate::daemon::{logging, systemd};
use crate::forward::Settings;
use crate::sync::watch::Command;

/// A cycle that takes longer goes on by itself; the reload does not wait for it.
const CYCLE_TIMEOUT: Duration = Duration::from_secs(15);

impl State {
    /// Reads the configuration again and applies it; says what only a restart
    /// could apply and which sources failed.
    ///
    /// # Errors
    /// All problems of the new configuration; the one before stays in force.
    pub(super) fn reload_now(&self) -> Result<Vec<String>, Vec<String>> {
        // A reload that panicked has changed nothing halfway that the next could not finish.
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        systemd::reloading();
        let outcome = self.load_and_apply();
        systemd::ready(&self.one_line());
        outcome
    }

    fn load_and_apply(&self) -> Result<Vec<String>, Vec<String>> {
        let name = self.origin.name();
        let fresh = self.origin.load().map_err(|error| problems(&error)).and_then(|fresh| {
            logging::set_level(&fresh.log.level).map_err(|error| vec![format!("log.level: {error}")])?;
            Ok(fresh)
        });
        let mut fresh = fresh.inspect_err(|problems| self.events.configuration_refused(&name, problems))?;
        let kept = keep_fixed(&self.config(), &mut fresh);
        for key in &kept {
            self.events.restart_needed(key);
        }
        self.resolver.reload(&Settings::new(&fresh, self.listen.clone()));
        let mut certificates = Vec::new();
        if let Some(running) = self.running() {
            running.reload_access(&fresh.server);
            running.reload_certificates();
            certificates = running.certificates();
        }
        self.reload_route_checks(&fresh);
        let fresh = Arc::new(fresh);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        self.events.configuration_applied(&name, false);
        let mut notes: Vec<String> =
            kept.iter().map(|key| format!("{key}: the change needs a restart")).collect();
        notes.extend(certificates.into_iter().filter_map(|state| {
            Some(format!(
                "listener {}: the certificate before stays in use: {}",
                state.address, state.problem?
            ))
        }));
        notes.extend(self.sync_under(&fresh));
        Ok(notes)
    }

    /// Lets the sync take the configuration and read its sources; what went wrong.
    fn sync_under(&self, config: &Config) -> Vec<String> {
        let Some(commands) = self.sync.get() else {
            return Vec::new();
        };
        let (done, report) = channel();
        let command = Command::Reload { config: Box::new(config.clone()), done: Some(done) };
        if commands.send(command).is_err() {
            return vec!["the sync has ended; sources are not read any more".to_owned()];
        }
        match report.recv_timeout(CYCLE_TIMEOUT) {
            Ok(report) => {
                let failed = report.failed.iter().map(|(source, error)| format!("source {source}: {error}"));
                let mut notes: Vec<String> = failed.collect();
                if report.held_back > 0 {
                    notes.push(format!("{} removals are held back", report.held_back));
                }
                if report.pending > 0 {
                    notes.push(format!("{} removals wait for their grace time", report.pending));
                }
                notes
            }
            Err(_) => vec!["sources are still being read".to_owned()],
        }
    }
}

/// Every problem, a line each.
fn problems(error: &ConfigError) -> Vec<String> {
    let listed: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    if !listed.is_empty() {
        return listed;
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    vec![text]
}

/// Puts back what a running process cannot change; the keys that would have changed.
fn keep_fixed(current: &Config, fresh: &mut Config) -> Vec<&'static str> {
    let mut kept = Vec::new();
    let mut keep = |changed: bool, key: &'static str| {
        if changed {
            kept.push(key);
        }
    };
    keep(current.server.listen != fresh.server.listen, "server.listen");
    keep(current.server.workers != fresh.server.workers, "server.workers");
    keep(current.server.control_socket != fresh.server.control_socket, "server.control_socket");
    keep(current.server.control_group != fresh.server.control_group, "server.control_group");
    keep(current.admin.listen != fresh.admin.listen, "admin.listen");
    keep(current.worker != fresh.worker, "worker");
    keep(current.udp != fresh.udp, "udp.receive_buffer_bytes or udp.send_buffer_bytes");
    keep(current.tcp != fresh.tcp, "tcp");
    keep(current.listeners != fresh.listeners, "listeners");
    keep(current.log.format != fresh.log.format, "log.format");
    fresh.server.listen.clone_from(&current.server.listen);
    fresh.server.workers = current.server.workers;
    fresh.server.control_socket.clone_from(&current.server.control_socket);
    fresh.server.control_group.clone_from(&current.server.control_group);
    fresh.admin.listen.clone_from(&current.admin.listen);
    fresh.worker = current.worker.clone();
    fresh.udp = current.udp.clone();
    fresh.tcp = current.tcp.clone();
    fresh.listeners.clone_from(&current.listeners);
    fresh.log.format = current.log.format;
    kept
}
