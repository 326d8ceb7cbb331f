//! Which socket of a `SO_REUSEPORT` group a datagram reaches: that of the core
//! which received it.
//!
//! A classic BPF program attached to the group compares the core with those of
//! the workers, in the order in which their sockets were bound. Compared with a
//! bare "core modulo workers" it is right for any set of cores that a container
//! leaves us. Rejected: `SO_INCOMING_CPU` on each socket, which is a hint to a
//! score and falls back to the first socket for every other core.

use std::io;
use std::os::fd::AsRawFd;

use super::udp::UdpSocket;

/// Where BPF programs for sockets read the number of the core: `SKF_AD_OFF + SKF_AD_CPU`.
const CORE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_CPU).cast_unsigned();

// The instructions of classic BPF (linux/filter.h) that are used here.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const MODULO: u16 = 0x94; // BPF_ALU | BPF_MOD | BPF_K
const RETURN_VALUE: u16 = 0x06; // BPF_RET | BPF_K
const RETURN_A: u16 = 0x16; // BPF_RET | BPF_A

/// Steers the datagrams of the group to which `socket` belongs: what core
/// `cores[n]` received goes to the socket bound as the n-th, what another core
/// received to one chosen by its number. The kernel refuses where `socket` is
/// in no group.
pub fn steer_by_core(socket: &UdpSocket, cores: &[usize]) -> io::Result<()> {
    let program = program(cores).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the program leads to that many instructions, which the kernel copies and checks.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The program; `None` without a core (a division by zero) or with too large a number.
fn program(cores: &[usize]) -> Option<Vec<libc::sock_filter>> {
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let sockets = u32::try_from(cores.len()).ok().filter(|sockets| *sockets > 0)?;
    let mut program = vec![step(LOAD, 0, CORE)];
    for (socket, core) in (0..sockets).zip(cores) {
        program.push(step(JUMP_EQUAL, 1, u32::try_from(*core).ok()?));
        program.push(step(RETURN_VALUE, 0, socket));
    }
    program.push(step(MODULO, 0, sockets));
    program.push(step(RETURN_A, 0, 0));
    Some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program returns on that core.
    fn run(program: &[libc::sock_filter], core: u32) -> u32 {
        let (mut a, mut at) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match step.code {
                LOAD => a = core,
                JUMP_EQUAL => at += usize::from(if a == step.k { step.jt } else { step.jf }),
                MODULO => a %= step.k,
                RETURN_VALUE => return step.k,
                RETURN_A => return a,
                other => panic!("instruction {other}"),
            }
        }
    }

    #[test]
    fn each_core_has_its_socket_and_other_cores_one_that_exists() {
        let program = program(&[2, 3, 9]).unwrap();
        for (core, socket) in [(2, 0), (3, 1), (9, 2), (0, 0), (1, 1), (10, 1), (11, 2)] {
            assert_eq!(run(&program, core), socket, "core {core}");
        }
    }

    #[test]
    fn what_cannot_be_steered_is_refused() {
        assert!(program(&[]).is_none());
        let single = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        assert!(steer_by_core(&single, &[]).is_err());
    }
}
