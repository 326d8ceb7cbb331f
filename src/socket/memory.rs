//! Memory that was freed and is not needed any more.

/// Gives freed memory back to the system, where the C library would keep it
/// for later: what a build took is not taken again for a long time.
#[cfg(target_env = "gnu")]
pub fn give_back_memory() {
    // SAFETY: takes an integer, the bytes to keep at the top, and locks what it works on.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries keep little, and have no call for it.
#[cfg(not(target_env = "gnu"))]
pub const fn give_back_memory() {}
