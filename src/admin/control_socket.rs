//! The control socket: a Unix socket that only its owner may open, at every
//! moment of its life.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why the control socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ControlSocketError {
    /// Another daemon answers there.
    #[error("control socket {0} is in use by a running daemon")]
    InUse(PathBuf),
    /// There is a file that is no socket.
    #[error("control socket {0}: a file that is no socket is in the way")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("control socket {path}")]
    Io {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A bound control socket. Dropping it removes the file, if it is still ours.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: whose file it is.
    identity: (u64, u64),
}

impl ControlSocket {
    /// Binds `path` with mode 0600, in place of the socket of a dead daemon.
    ///
    /// # Errors
    /// See [`ControlSocketError`]; a live daemon's socket is left alone.
    pub fn bind(path: &Path) -> Result<Self, ControlSocketError> {
        let failed = |source| ControlSocketError::Io { path: path.to_owned(), source };
        check_free(path)?;
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.exists() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        // The socket is born in a directory that only we may enter, gets its
        // mode there and is then moved: between bind and chmod nobody else
        // could have opened it. (umask would do too, but is one per process.)
        let nursery = tempfile::Builder::new().prefix(".c").rand_bytes(4).tempdir_in(directory);
        let nursery = nursery.map_err(failed)?;
        let born = nursery.path().join("s");
        let listener = UnixListener::bind(&born).map_err(failed)?;
        std::fs::set_permissions(&born, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let metadata = std::fs::symlink_metadata(&born).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        std::fs::rename(&born, path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A listener for the current runtime.
    pub(super) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity);
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether nothing, or only a dead daemon's socket, is at `path`.
fn check_free(path: &Path) -> Result<(), ControlSocketError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(ControlSocketError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ControlSocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A full backlog is a sign of life too.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(ControlSocketError::InUse(path.to_owned()))
        }
        Err(source) => Err(ControlSocketError::Io { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let first = ControlSocket::bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        let second = ControlSocket::bind(&path);
        assert!(matches!(second, Err(ControlSocketError::InUse(_))), "{second:?}");
        UnixStream::connect(&path).unwrap();
        drop(first);
        assert!(!path.exists());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing left behind");
    }

    #[test]
    fn a_plain_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(ControlSocketError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_successor_keeps_its_socket_when_we_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let ours = ControlSocket::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let theirs = ControlSocket::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
        drop(theirs);
    }
}
