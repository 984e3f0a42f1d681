//! Stands for the host: keeps what was logged and counted, and sets the time.

use std::cell::RefCell;
use std::collections::BTreeMap;

pub use crate::bindings::wxhost::plugin::host::Level;
use crate::time::Timestamp;

#[derive(Default)]
struct Recorded {
    logs: Vec<(Level, String)>,
    counts: BTreeMap<String, u64>,
    now: i64,
}

thread_local! {
    static RECORDED: RefCell<Recorded> = RefCell::default();
}

pub(crate) fn log(level: Level, message: &str) {
    RECORDED.with_borrow_mut(|recorded| recorded.logs.push((level, message.to_owned())));
}

pub(crate) fn count(name: &str, by: u64) {
    RECORDED.with_borrow_mut(|recorded| *recorded.counts.entry(name.to_owned()).or_default() += by);
}

pub(crate) fn now() -> i64 {
    RECORDED.with_borrow(|recorded| recorded.now)
}

/// Takes the lines that were logged on this thread.
pub fn take_logs() -> Vec<(Level, String)> {
    RECORDED.with_borrow_mut(|recorded| std::mem::take(&mut recorded.logs))
}

/// Takes the counters that this thread added to.
pub fn take_counts() -> BTreeMap<String, u64> {
    RECORDED.with_borrow_mut(|recorded| std::mem::take(&mut recorded.counts))
}

/// Sets the system time that `now` returns on this thread. It is 1970 before.
pub fn set_now(now: Timestamp) {
    RECORDED.with_borrow_mut(|recorded| recorded.now = now.micros());
}
