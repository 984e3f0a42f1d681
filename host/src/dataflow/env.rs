//! What the engine takes from its surroundings: time, threads, randomness. Tests own all of them.

use super::script::ScriptedClock;
use crate::data::time::Instant;
use std::sync::Arc;
use std::time::Duration;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The system time. It may be set back by whoever sets clocks.
    fn now(&self) -> Instant;

    /// The time since some fixed moment; never goes back. For intervals: ticks, epochs, progress.
    fn elapsed(&self) -> Duration;
}

/// Starts threads for input and output that may block.
pub trait Spawner: Send + Sync {
    /// Runs `body` on a thread called `name`.
    ///
    /// # Errors
    /// The system refuses another thread.
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> std::io::Result<()>;
}

/// Makes random numbers.
pub trait Random: Send + Sync {
    /// The next number, evenly spread.
    fn next(&self) -> u64;
}

/// The surroundings of an execution; cheap to clone.
#[derive(Clone)]
pub struct Env {
    pub clock: Arc<dyn Clock>,
    pub spawner: Arc<dyn Spawner>,
    pub random: Arc<dyn Random>,
    /// The clock once more, where it is one that the flow moves.
    pub script: Option<Arc<ScriptedClock>>,
}

/// The real surroundings: the machine's clock, threads and randomness.
pub mod real {
    #![expect(clippy::disallowed_methods, reason = "this is the one place where the engine meets the machine")]

    use super::{Clock, Env, Random, Spawner};
    use crate::data::time::Instant;
    use std::hash::{BuildHasher, RandomState};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    struct MachineClock {
        started: std::time::Instant,
    }

    impl Clock for MachineClock {
        fn now(&self) -> Instant {
            let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
                Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
            };
            Instant(micros)
        }

        fn elapsed(&self) -> Duration {
            self.started.elapsed()
        }
    }

    struct Threads;

    impl Spawner for Threads {
        fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> std::io::Result<()> {
            std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
        }
    }

    struct Entropy {
        state: RandomState,
        counter: AtomicU64,
    }

    impl Random for Entropy {
        fn next(&self) -> u64 {
            self.state.hash_one(self.counter.fetch_add(1, Ordering::Relaxed))
        }
    }

    /// Makes the surroundings of a run on this machine.
    pub fn env() -> Env {
        Env {
            clock: Arc::new(MachineClock { started: std::time::Instant::now() }),
            spawner: Arc::new(Threads),
            random: Arc::new(Entropy { state: RandomState::new(), counter: AtomicU64::new(0) }),
            script: None,
        }
    }
}

/// Surroundings whose time goes by only when the flow waits for it, for tests.
pub mod scripted {
    use super::super::script::ScriptedClock;
    use super::{Env, Random, real};
    use crate::data::time::Instant;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Counts, so that what is random is the same in every run.
    struct Counter(AtomicU64);

    impl Random for Counter {
        fn next(&self) -> u64 {
            self.0.fetch_add(1, Ordering::Relaxed)
        }
    }

    /// Makes surroundings whose clock stands at `now`; threads are the machine's.
    pub fn env(now: Instant) -> Env {
        let clock = Arc::new(ScriptedClock::new(now));
        Env {
            clock: clock.clone(),
            random: Arc::new(Counter(AtomicU64::new(0))),
            script: Some(clock),
            spawner: real::env().spawner,
        }
    }
}
