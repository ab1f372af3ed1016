//! A mutex that outlives a panic.
//!
//! A panic ends one connection only, so the locks it held are taken over: every structure behind
//! them is changed in steps that each leave it valid.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whether or not an earlier holder panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
