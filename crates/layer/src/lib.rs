//! The layer: a quiet guest in a foreign process (`LD_PRELOAD`). It turns names into remote objects and is otherwise not
//! there.
//!
//! ```text
//!  program ──open("/app/x")──> hooks::open ──> place ──policy──> real open("/proc/HOLDER/root/app/x")
//!          ──connect(fd, a)──> ops::connect ──question──> proxy; then the real connect(fd, proxy's listener)
//!          ──getaddrinfo────> ops::resolve ──question──> proxy; then libc's own list of numeric addresses
//!          ──execve─────────> ops::launch: environment kept, executable inspected
//! ```
//!
//! The program then holds real kernel objects, so `read`, `poll`, `dup`, `fork` and the rest are none of our business, and
//! the layer remembers nothing about them.
//!
//! Rules of living here:
//! - exported functions stand in `hooks/` (the C border) and are declared with [`hook!`](hook); nothing else is exported;
//! - a call that stays local is the program's own call, unchanged, after a decision that neither allocates nor locks;
//! - own system calls go through [`sys`], never through libc: they would arrive in our own hooks;
//! - `errno` is touched only to fail; no panics (slices are asked with `get` wherever a length comes from outside);
//! - no thread, no thread-local destructor, no `atexit`, no memory of the process's allocator but for what the program
//!   itself must free.
#![cfg_attr(test, allow(dead_code, reason = "hooks are not exported into test programs"))]

mod context;
mod errno;
mod hook;
mod hooks;
mod log;
mod memory;
mod ops;
mod owner;
mod path;
mod place;
mod proxy_link;
mod sockaddr;
mod sys;

/// Runs before the program's `main`: look-ups and the proxy's hello are done while the process has one thread.
extern "C" fn constructor() {
    let errno = errno::get();
    hook::look_up_all();
    context::active();
    errno::set(errno);
}

#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;
