//! What the engine takes from its surroundings: time, threads, randomness. Tests own all of them.

use super::script::ScriptedClock;
use crate::data::time::Instant;
use crossbeam::channel::{Receiver, RecvError, TryRecvError};
use std::sync::Arc;
use std::time::Duration;
use timely::scheduling::SyncActivator;

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

    /// Has the thread that calls it give way to those that rows go through, where there are fewer processors than threads.
    /// It still gets a share of them, so that nothing waits for it for ever.
    fn step_back(&self) {}

    /// Has the thread that calls it, which has stepped back, pause for longer than it has worked since it last did. To be
    /// called after each millisecond or less of work that can wait: a thread that works on and on keeps others from its
    /// processor for several milliseconds, also if it has stepped back.
    fn pause(&self) {}
}

/// Makes random numbers.
pub trait Random: Send + Sync {
    /// The next number, evenly spread.
    fn next(&self) -> u64;
}

/// Who of all threads goes on, where it is not the system that decides: one at a time, each up to where it would wait. So
/// an execution can be repeated exactly.
pub trait Turns: Send + Sync {
    /// Has a worker's thread, which is about to begin, wait for its first turn. Nobody goes on before all `workers` have
    /// come.
    fn begin(&self, worker: usize, workers: usize);

    /// Ends the turn of this thread, which takes the next one once `is_ready`.
    fn wait(&self, is_ready: Box<dyn Fn() -> bool + Send>);

    /// Ends the last turn of a worker's thread.
    fn end(&self);

    /// Has an operator woken after a time.
    fn wake(&self, after: Duration, operator: SyncActivator);
}

/// The surroundings of an execution; cheap to clone.
#[derive(Clone)]
pub struct Env {
    pub clock: Arc<dyn Clock>,
    pub spawner: Arc<dyn Spawner>,
    pub random: Arc<dyn Random>,
    /// The clock once more, where it is one that the flow moves.
    pub script: Option<Arc<ScriptedClock>>,
    /// None: the system decides which thread goes on. Else the spawner's threads take turns, too.
    pub turns: Option<Arc<dyn Turns>>,
}

impl Env {
    /// Waits for what comes on a line, on a thread of the spawner's.
    ///
    /// # Errors
    /// The line is cut, and nothing is left on it.
    pub fn receive<T: Send + 'static>(&self, line: &Receiver<T>) -> Result<T, RecvError> {
        if let Some(turns) = &self.turns {
            let line = line.clone();
            let is_cut = |line: &Receiver<T>| matches!(line.try_recv(), Err(TryRecvError::Disconnected));
            // Nobody else takes from the line meanwhile.
            turns.wait(Box::new(move || !line.is_empty() || is_cut(&line)));
        }
        line.recv()
    }

    /// Does something for each of several things, all at once where the system decides which thread goes on: each of them
    /// waits for the disk. Returns what comes of each.
    pub fn at_once<T: Sync, R: Send>(&self, things: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
        match self.turns {
            Some(_) => things.iter().map(each).collect(),
            None => real::at_once(things, each),
        }
    }
}

/// The real surroundings: the machine's clock, threads and randomness.
pub mod real {
    #![expect(clippy::disallowed_methods, reason = "this is the one place where the engine meets the machine")]

    use super::{Clock, Env, Random, Spawner};
    use crate::data::time::Instant;
    use std::hash::{BuildHasher, RandomState};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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

        fn step_back(&self) {
            /// About a tenth of the share of others.
            #[cfg(target_os = "linux")]
            const NICE: i32 = 10;
            // Only on Linux threads have a priority of their own that anybody may lower. If it is refused, or is lower
            // already, nothing is lost but some latency.
            #[cfg(target_os = "linux")]
            rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE).ok();
        }

        fn pause(&self) {
            // Only Linux is known to need it.
            #[cfg(target_os = "linux")]
            pause();
        }
    }

    #[cfg(target_os = "linux")]
    fn pause() {
        use rustix::time::{ClockId, clock_gettime};
        use std::cell::Cell;

        /// Several threads that pause for so long still use a whole processor that nobody else wants.
        const TIMES: u32 = 2;
        const MOST: Duration = Duration::from_millis(5);
        thread_local! {
            static WORKED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
        }
        let Ok(worked) = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)) else { return };
        let before = WORKED.replace(worked);
        std::thread::sleep((worked.saturating_sub(before) * TIMES).min(MOST));
    }

    /// Threads that cannot be started are done without.
    pub(super) fn at_once<T: Sync, R: Send>(things: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let next = AtomicUsize::new(0);
        let numbers = || std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let take = || {
            let done = numbers().map_while(|number| things.get(number).map(|thing| (number, each(thing))));
            done.collect::<Vec<_>>()
        };
        let mut done = std::thread::scope(|scope| {
            let start = |_| std::thread::Builder::new().spawn_scoped(scope, take).ok();
            let threads: Vec<_> = (1..things.len()).filter_map(start).collect();
            let mut done = take();
            for thread in threads {
                done.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            done
        });
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, result)| result).collect()
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
            turns: None,
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
            turns: None,
        }
    }
}
