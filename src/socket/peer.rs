//! Who is at the other end of a Unix socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Most groups that a process is in, as far as we look: the kernel allows 65,536, directories
/// of users give a few hundred.
const MOST: usize = 4096;

/// The supplementary groups that the process at the other end of `socket` had when it
/// connected (`SO_PEERGROUPS`); what std and tokio do not tell.
///
/// # Errors
/// What the kernel says: `ENOPROTOOPT` before Linux 4.13 or for another kind of socket, `ERANGE`
/// where there are more than 4096.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0 as libc::gid_t; MOST];
    let mut len = size_of_val(groups.as_slice()) as libc::socklen_t;
    // SAFETY: the pointer leads to `len` writable bytes; the kernel writes at most that many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(len as usize / size_of::<libc::gid_t>());
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn our_own_groups_are_those_that_the_kernel_shows() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let mut own: Vec<u32> = line.split_whitespace().map(|group| group.parse().unwrap()).collect();
        let (socket, _other) = UnixStream::pair().unwrap();
        let mut told = peer_groups(&socket).unwrap();
        own.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, own);
    }

    #[test]
    fn another_kind_of_socket_is_an_error() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(peer_groups(&socket).is_err());
    }
}
