//! What threads share, and what each has of its own: mutexes that outlive a panic, atomic flags,
//! thread-local values.
//!
//! A panic ends one connection only, so the locks it held are taken over: every structure behind
//! them is changed in steps that each leave it valid.
//!
//! For the tests of `interleavings.rs` the locks are those of shuttle, which decides at each of them
//! whose turn it is, and what is a thread's is a task's.

#[cfg(all(test, feature = "interleavings"))]
pub(crate) use shuttle::{
    sync::{Mutex, MutexGuard, atomic::AtomicBool},
    thread_local,
};
use std::sync::PoisonError;
#[cfg(not(all(test, feature = "interleavings")))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard, atomic::AtomicBool},
    thread_local,
};

/// Locks, whether or not an earlier holder panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
