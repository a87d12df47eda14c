//! What the program's allocator does with memory that is freed.

/// Makes the allocator keep what is freed: a training loop asks for the same large tensors in every step, and glibc would
/// give their memory back to the system and fault it in again, page by page. Call it before there are other threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_freed_memory() {
    /// The most that glibc takes.
    const LARGEST_HEAP_BUFFER: libc::c_int = 32 << 20;
    // SAFETY: sets two numbers of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_HEAP_BUFFER);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}

/// Other allocators are left alone.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_memory() {}
