//! Locks of this crate. None is held across an await, and a holder that panicked leaves nothing half done.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a holder's panic.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
