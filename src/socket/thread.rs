//! Where a thread runs, and before which others.

use std::ffi::c_int;
use std::io;

/// Cores that this thread may run on, in ascending order; empty if the kernel
/// does not say (more than 1024 cores).
pub fn allowed_cores() -> Vec<usize> {
    let Ok(set) = get_affinity() else {
        return Vec::new();
    };
    let most = libc::CPU_SETSIZE as usize;
    // SAFETY: CPU_ISSET reads the bit at an index below CPU_SETSIZE.
    (0..most).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect()
}

/// Pins the calling thread to `core`.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the index is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: 0 is the calling thread; the set has the size given.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How much more willingly than a packet worker a control thread gives way (nice).
const GIVE_WAY: c_int = 10;

/// Lets the calling thread, and those it will start, give way to packet
/// workers. One that gives way already is left as it is.
pub fn lower_priority() -> io::Result<()> {
    // SAFETY: takes integers; 0 is the calling thread, which is what "process" means to Linux here.
    if unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) } >= GIVE_WAY {
        return Ok(());
    }
    // SAFETY: takes integers, as above.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, GIVE_WAY) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the calling thread, when it wakes up, wait until the thread that has the
/// core sleeps or gives way (`SCHED_BATCH`), or take the core from it
/// (`SCHED_OTHER`, as all threads begin).
pub fn wait_for_the_core(waits: bool) -> io::Result<()> {
    let policy = if waits { libc::SCHED_BATCH } else { libc::SCHED_OTHER };
    // SAFETY: all zero is the priority 0, the only one of both policies.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: 0 is the calling thread; the parameters live until the call returns. By its
    // number, since musl's function of that name does nothing.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the calling thread does what [`wait_for_the_core`] says.
pub fn waits_for_the_core() -> bool {
    // SAFETY: takes integers; 0 is the calling thread.
    unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) == libc::c_long::from(libc::SCHED_BATCH) }
}

fn get_affinity() -> io::Result<libc::cpu_set_t> {
    // SAFETY: all zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: 0 is the calling thread; the set has the size given.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if result == 0 { Ok(set) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_an_allowed_core() {
        std::thread::spawn(|| {
            let cores = allowed_cores();
            let last = *cores.last().expect("a thread runs on some core");
            pin(last).unwrap();
            assert_eq!(allowed_cores(), [last]);
            assert!(pin(usize::MAX).is_err());
        })
        .join()
        .unwrap();
    }
}
