//! Compilers, the cache of their code, and the ticking that ends calls which take too long.

use crate::dataflow::env::Spawner;
use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use wasmtime::component::Component;
use wasmtime::{Cache, CacheConfig, Config, Engine, OptLevel};

/// How finely the time of calls is measured.
const TICK: Duration = Duration::from_millis(10);
/// The stack of a guest. A thread has 2 MiB, of which the host needs little.
pub(super) const STACK: usize = 1 << 20;
/// After so many ticks without a call the ticking stops.
const IDLE_TICKS: u32 = 20;

/// How often code came from the cache and how often it was compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheFigures {
    pub hits: usize,
    pub misses: usize,
}

/// The engines of a process: one whose code can be interrupted, and one without those checks, which cost 15 %.
pub(super) struct Engines {
    interruptible: Engine,
    uninterruptible: Engine,
    cache: Option<Cache>,
    ticker: Ticker,
}

impl Engines {
    /// Makes the engines; compiled code is kept in `cache_dir`, or nowhere.
    ///
    /// # Errors
    /// The machine is none that code can be made for.
    pub(super) fn new(cache_dir: Option<&Path>, spawner: Arc<dyn Spawner>) -> wasmtime::Result<Engines> {
        let cache = cache_dir.and_then(open_cache);
        let interruptible = Engine::new(&config(true, cache.clone()))?;
        let uninterruptible = Engine::new(&config(false, cache.clone()))?;
        let ticker = Ticker::new(interruptible.clone(), spawner);
        Ok(Engines { interruptible, uninterruptible, cache, ticker })
    }

    /// Returns the engine for steps with a time limit, or the one for steps without.
    pub(super) fn get(&self, limited: bool) -> &Engine {
        if limited { &self.interruptible } else { &self.uninterruptible }
    }

    /// Compiles a component, or takes it from the cache.
    ///
    /// # Errors
    /// The bytes are no valid component.
    pub(super) fn compile(&self, bytes: &[u8], limited: bool) -> wasmtime::Result<Component> {
        Component::from_binary(self.get(limited), bytes)
    }

    /// Starts a call with a time limit. The ticks go on until the guard is dropped.
    pub(super) fn calling(&self) -> Calling<'_> {
        self.ticker.calling()
    }

    /// Says how the cache did.
    pub(super) fn cache_figures(&self) -> CacheFigures {
        self.cache.as_ref().map_or_else(CacheFigures::default, |cache| CacheFigures {
            hits: cache.cache_hits(),
            misses: cache.cache_misses(),
        })
    }
}

/// Returns the ticks after which a call is over its limit. One more than the limit has, since the first comes early.
pub(super) fn ticks(limit: Duration) -> u64 {
    u64::try_from(limit.as_micros().div_ceil(TICK.as_micros())).unwrap_or(u64::MAX / 2).saturating_add(1)
}

/// Returns where compiled code is kept: in the directory that the environment names, else in the user's cache.
pub fn cache_dir(wxhost_cache_dir: Option<&str>, xdg_cache_home: Option<&str>, home: Option<&str>) -> Option<PathBuf> {
    let set = |value: Option<&str>| value.filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(own) = set(wxhost_cache_dir) {
        return Some(own.join("code"));
    }
    // The XDG rules ignore relative paths.
    let user =
        set(xdg_cache_home).filter(|path| path.is_absolute()).or_else(|| set(home).map(|home| home.join(".cache")));
    user.map(|cache| cache.join("wxhost").join("code"))
}

fn open_cache(dir: &Path) -> Option<Cache> {
    let open = || {
        let dir = std::path::absolute(dir)?;
        std::fs::create_dir_all(&dir)?;
        let mut config = CacheConfig::new();
        config.with_directory(dir);
        Cache::new(config)
    };
    match open() {
        Ok(cache) => Some(cache),
        Err(error) => {
            tracing::warn!("compiled plugins are not kept, for {} cannot be used: {error}", dir.display());
            None
        }
    }
}

fn config(interruptible: bool, cache: Option<Cache>) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_simd(true)
        // Calls are synchronous: without the machinery for concurrent ones they cost a tenth.
        .concurrency_support(false)
        .gc_support(false)
        .max_wasm_stack(STACK)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(interruptible)
        .cache(cache);
    config
}

/// Moves the clock of an engine on while calls are under way. Without calls its thread waits and costs nothing.
struct Ticker {
    shared: Arc<Shared>,
    wake: Sender<()>,
}

#[derive(Default)]
struct Shared {
    /// The calls under way.
    calls: AtomicUsize,
    /// Whether the thread waits to be woken. Whoever clears it has to wake the thread.
    is_parked: AtomicBool,
}

/// A call under way.
pub(super) struct Calling<'a>(&'a Shared);

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, SeqCst);
    }
}

impl Ticker {
    fn new(engine: Engine, spawner: Arc<dyn Spawner>) -> Ticker {
        let shared = Arc::new(Shared { calls: AtomicUsize::new(0), is_parked: AtomicBool::new(true) });
        let (wake, woken) = channel::unbounded();
        let body = {
            let shared = Arc::clone(&shared);
            Box::new(move || tick(&engine, &shared, &woken))
        };
        if let Err(error) = spawner.spawn("plugin-deadlines", body) {
            tracing::warn!("plugins run without time limits, for there is no thread to measure them: {error}");
        }
        Ticker { shared, wake }
    }

    fn calling(&self) -> Calling<'_> {
        self.shared.calls.fetch_add(1, SeqCst);
        if self.shared.is_parked.swap(false, SeqCst) {
            // Fails only if there is no thread, which was said when it could not be made.
            let _ = self.wake.send(());
        }
        Calling(&self.shared)
    }
}

/// Ticks until the ticker is dropped.
fn tick(engine: &Engine, shared: &Shared, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        let mut idle = 0;
        while idle < IDLE_TICKS {
            match woken.recv_timeout(TICK) {
                Err(RecvTimeoutError::Disconnected) => return,
                // A second waker that raced with the first: the tick is early by less than one.
                Ok(()) | Err(RecvTimeoutError::Timeout) => engine.increment_epoch(),
            }
            idle = if shared.calls.load(SeqCst) > 0 { 0 } else { idle + 1 };
            if idle == IDLE_TICKS {
                shared.is_parked.store(true, SeqCst);
                // A call that began before the flag was set saw no need to wake anybody.
                if shared.calls.load(SeqCst) > 0 && shared.is_parked.swap(false, SeqCst) {
                    idle = 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::env::real;

    #[test]
    fn a_limit_is_rounded_up_to_ticks_and_one_more() {
        for (limit, expected) in [(0, 1), (1, 2), (10, 2), (11, 3), (5_000, 501)] {
            assert_eq!(ticks(Duration::from_millis(limit)), expected, "{limit} ms");
        }
        assert!(ticks(Duration::MAX) > u64::MAX / 4);
    }

    #[test]
    fn the_cache_is_where_the_environment_says() {
        for (own, xdg, home, expected) in [
            (Some("/c"), Some("/x"), Some("/h"), Some("/c/code")),
            (Some(""), Some("/x"), Some("/h"), Some("/x/wxhost/code")),
            (None, Some("relative"), Some("/h"), Some("/h/.cache/wxhost/code")),
            (None, None, Some("/h"), Some("/h/.cache/wxhost/code")),
            (None, None, None, None),
        ] {
            assert_eq!(cache_dir(own, xdg, home), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn the_ticker_parks_without_calls_and_wakes_for_the_next() {
        let engines = Engines::new(None, real::env().spawner).unwrap();
        let parked = || engines.ticker.shared.is_parked.load(SeqCst);
        assert!(parked());
        for _ in 0..3 {
            drop(engines.calling());
            assert!(!parked());
            let (_keep, timer) = channel::unbounded::<()>();
            for _ in 0..200 {
                if parked() {
                    break;
                }
                let _ = timer.recv_timeout(TICK);
            }
            assert!(parked());
        }
    }
}
