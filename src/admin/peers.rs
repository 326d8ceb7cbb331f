//! Which users may use the control socket.
//!
//! The socket's mode says so first (0600, or 0660 with the configured group);
//! the kernel checks it when somebody connects. But a mode is changed easily,
//! and so is that of a directory that is mounted elsewhere: who has connected
//! is asked of the kernel once more (`SO_PEERCRED`), and cannot be feigned.

use std::io;

use tokio::net::UnixStream;

use crate::socket::peer_groups;

/// Who may: root, the user that this process runs as, members of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    own: u32,
    group: Option<u32>,
}

impl Allowed {
    /// The group is that of the socket, if it has one.
    pub(super) fn new(group: Option<u32>) -> io::Result<Self> {
        // Both ends of a pair are ours: the kernel tells our own user without a call of its own.
        let (ours, _other) = UnixStream::pair()?;
        Ok(Self { own: ours.peer_cred()?.uid(), group })
    }

    /// Whether the process that connected `stream` may; its user if not.
    pub(super) fn check(self, stream: &UnixStream) -> Result<(), Refused> {
        let Ok(peer) = stream.peer_cred() else { return Err(Refused { uid: None }) };
        let (uid, gid) = (peer.uid(), peer.gid());
        // Asked only of those who need it.
        let groups = || peer_groups(stream).unwrap_or_default();
        if self.admits(uid, gid, groups) { Ok(()) } else { Err(Refused { uid: Some(uid) }) }
    }

    fn admits(self, uid: u32, gid: u32, groups: impl FnOnce() -> Vec<u32>) -> bool {
        let is_member = |group| gid == group || groups().contains(&group);
        uid == 0 || uid == self.own || self.group.is_some_and(is_member)
    }
}

/// A user who may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    uid: Option<u32>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "user {uid}")?,
            None => f.write_str("an unknown user")?,
        }
        f.write_str(" may not use the control socket: server.control_group says who else may")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_our_own_user_and_the_group_may() {
        let none = || -> Vec<u32> { panic!("nobody needs to ask") };
        let alone = Allowed { own: 990, group: None };
        for (uid, may) in [(0, true), (990, true), (991, false), (65534, false)] {
            assert_eq!(alone.admits(uid, 0, none), may, "{uid}");
        }
        let with = Allowed { own: 990, group: Some(800) };
        assert!(with.admits(0, 5, none) && with.admits(990, 5, none) && with.admits(991, 800, none));
        assert!(with.admits(991, 5, || vec![7, 800]));
        assert!(!with.admits(991, 5, || vec![7, 8]) && !with.admits(991, 0, Vec::new));
    }

    #[tokio::test]
    async fn the_kernel_says_who_has_connected() {
        let (ours, _other) = UnixStream::pair().unwrap();
        let allowed = Allowed::new(None).unwrap();
        assert_eq!(allowed.check(&ours), Ok(()));
        if allowed.own != 0 {
            let strangers = Allowed { own: allowed.own + 1, group: None };
            assert_eq!(strangers.check(&ours), Err(Refused { uid: Some(allowed.own) }));
        }
    }
}
