//! The threads that write, so that an execution ends only when they have: a failed one must have taken back its
//! half-written files before the process goes.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Counts the threads that write. Cheap to clone; all clones count together.
#[derive(Clone, Default)]
pub struct Writers {
    inner: Arc<(Mutex<usize>, Condvar)>,
}

/// Held by a thread while it writes.
pub struct Writing {
    writers: Writers,
}

impl Writers {
    /// Counts one more, until what is returned is dropped.
    pub fn begin(&self) -> Writing {
        *self.inner.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Writing { writers: self.clone() }
    }

    /// Waits until all have ended, at most for a time; a disk that hangs must not hang the process for ever.
    pub fn wait(&self, at_most: Duration) {
        let (count, ended) = &*self.inner;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = ended.wait_timeout_while(count, at_most, |count| *count > 0);
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            tracing::warn!("a sink is still writing; the process ends without it");
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let (count, ended) = &*self.writers.inner;
        *count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ended.notify_all();
    }
}
