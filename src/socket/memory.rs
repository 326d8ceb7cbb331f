//! Memory as the machine has it: what is not needed any more, and what is soon.

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

/// Bytes that come into a cache together.
pub const CACHE_LINE: usize = 64;

/// Has the processor fetch the cache line in which `what` begins, and goes on
/// meanwhile: a hint, which changes nothing but times.
#[inline]
pub fn prefetch<T: ?Sized>(what: &T) {
    let at = std::ptr::from_ref(what).cast::<i8>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction reads nothing into the program and faults at no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; it changes neither registers nor flags.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}
