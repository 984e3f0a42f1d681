//! The first failure wins, and stops all workers.

use super::error::{LogicError, StepError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

/// Why an execution ended before its input did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A step failed.
    Failed(StepError),
    /// What was done cannot be written down any more.
    Recovery(Box<LogicError>),
    /// A test's source asked for a crash: nothing is finished.
    Aborted,
}

/// Where drivers report, and what workers look at between two turns. Shared by all workers of a process.
#[derive(Clone, Default)]
pub struct FailureSlot {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    stopped: AtomicBool,
    first: Mutex<Option<Stop>>,
    /// Workers sleep while nothing comes; a failure must wake them.
    sleepers: Mutex<Vec<Thread>>,
}

impl FailureSlot {
    /// Reports a failure. Only the first one is kept.
    pub fn set(&self, stop: Stop) {
        self.inner.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(stop);
        self.inner.stopped.store(true, Ordering::Release);
        for thread in self.inner.sleepers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            thread.unpark();
        }
    }

    /// Whether anything failed.
    pub fn is_set(&self) -> bool {
        self.inner.stopped.load(Ordering::Acquire)
    }

    /// What failed first.
    pub fn get(&self) -> Option<Stop> {
        self.inner.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has this thread woken by a failure.
    pub fn wake_me(&self) {
        self.inner.sleepers.lock().unwrap_or_else(PoisonError::into_inner).push(std::thread::current());
    }
}
