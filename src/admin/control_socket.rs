//! The control socket: a Unix socket that only its owner, or with a group its
//! members too, may open, at every moment of its life.

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
    /// The group that is to use it cannot.
    #[error("control socket for the group {group}, which is left out")]
    Group {
        /// Its name or number.
        group: String,
        /// What the system said.
        source: io::Error,
    },
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
    group: Option<u32>,
}

impl ControlSocket {
    /// Binds `path` with mode 0600, or with mode 0660 and a group (a name or a number in
    /// digits), in place of the socket of a dead daemon.
    ///
    /// # Errors
    /// See [`ControlSocketError`]; a live daemon's socket is left alone.
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, ControlSocketError> {
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
        let group = group.map(|name| give_to(&born, name)).transpose()?;
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        std::fs::set_permissions(&born, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        let metadata = std::fs::symlink_metadata(&born).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        std::fs::rename(&born, path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), identity: (metadata.dev(), metadata.ino()), group })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The group whose members may use it, if any.
    pub(super) const fn group(&self) -> Option<u32> {
        self.group
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

/// Gives the file at `path` to a group; its number.
fn give_to(path: &Path, group: &str) -> Result<u32, ControlSocketError> {
    let failed = |source| ControlSocketError::Group { group: group.to_owned(), source };
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let number = group.parse().ok().or_else(|| number_of(&groups, group));
    let number = number.ok_or_else(|| failed(io::Error::other("no such group in /etc/group")))?;
    // Allowed to root, and to everybody for groups of their own.
    std::os::unix::fs::chown(path, None, Some(number)).map_err(failed)?;
    Ok(number)
}

/// The number of a group in the text of `/etc/group` (`name:password:number:members`).
fn number_of(groups: &str, name: &str) -> Option<u32> {
    let of = |line: &str| {
        let mut fields = line.split(':');
        if fields.next()? == name { fields.nth(1)?.parse().ok() } else { None }
    };
    groups.lines().find_map(of)
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
        let first = ControlSocket::bind(&path, None).unwrap();
        assert_eq!(mode(&path), 0o600);
        let second = ControlSocket::bind(&path, None);
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
        assert!(matches!(ControlSocket::bind(&path, None), Err(ControlSocketError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_successor_keeps_its_socket_when_we_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let ours = ControlSocket::bind(&path, None).unwrap();
        std::fs::remove_file(&path).unwrap();
        let theirs = ControlSocket::bind(&path, None).unwrap();
        drop(ours);
        assert!(path.exists());
        drop(theirs);
    }

    #[test]
    fn a_group_is_found_by_its_name() {
        let groups = "root:x:0:\nhubdns:x:990:\nbroken\noperators:x:800:ada,grace\nodd:x:many:\n";
        assert_eq!(number_of(groups, "operators"), Some(800));
        assert_eq!(number_of(groups, "root"), Some(0));
        for name in ["ada", "oper", "odd", "broken", ""] {
            assert_eq!(number_of(groups, name), None, "{name}");
        }
    }

    #[test]
    fn a_group_gets_mode_0660_and_an_unknown_one_no_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        // Our own group, which everybody may give files to.
        let own = std::fs::metadata(directory.path()).unwrap().gid();
        let socket = ControlSocket::bind(&path, Some(&own.to_string())).unwrap();
        assert_eq!((mode(&path), socket.group()), (0o660, Some(own)));
        assert_eq!(std::fs::symlink_metadata(&path).unwrap().gid(), own);
        drop(socket);
        let unknown = ControlSocket::bind(&path, Some("no-such-group-here"));
        assert!(matches!(unknown, Err(ControlSocketError::Group { .. })), "{unknown:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing left behind");
    }
}
