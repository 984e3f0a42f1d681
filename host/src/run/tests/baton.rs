//! Who goes on: of all threads of an execution one at a time, as a seed decides.
//!
//! A thread keeps the baton from one place where it would wait to the next: a worker for one step, others from one
//! receiving to the next. Whoever gives it up draws who has it next, among those that have something to do. Time goes by
//! between two turns, and by chance.

use super::random::Chance;
use crate::data::time::Instant;
use crate::dataflow::env::{Clock, Env, Random, Spawner, Turns, real};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use timely::scheduling::SyncActivator;

/// Turns of one execution; one that takes more never ends.
const MOST_TURNS: u64 = 300_000;
/// How often in a row nobody may have anything to do, when it is looked every few milliseconds.
const MOST_LOOKS: u64 = 4_000;
/// Real time that a turn may take, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

thread_local! {
    static ME: Cell<Option<Player>> = const { Cell::new(None) };
}

/// A thread: a worker by its number, or another by that of its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Player {
    Worker(u64),
    Thread(u64),
}

/// What happens at the beginning of a turn.
pub type Event = Box<dyn FnOnce() + Send>;

/// Gives turns.
pub struct Baton {
    state: Mutex<State>,
    micros: AtomicU64,
    /// Rung when nobody has anything to do.
    rest: Condvar,
}

struct State {
    chance: Chance,
    /// The most that goes by at once, in microseconds.
    pace: u64,
    players: BTreeMap<Player, Place>,
    turn: Turn,
    /// The turn before which all stop until they are told to go on.
    pause: Option<u64>,
    is_paused: bool,
    started: u64,
    come: usize,
    turns: u64,
    events: BTreeMap<u64, Vec<Event>>,
    timers: BTreeMap<(u64, u64), SyncActivator>,
    trace: blake3::Hasher,
    panics: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Of the test, which sets an execution up.
    Test,
    Of(Player),
    /// Nobody has anything to do.
    Nobody,
}

struct Place {
    /// None: it has its turn.
    is_ready: Option<Box<dyn Fn() -> bool + Send>>,
    /// How likely it is to be drawn.
    weight: u64,
    awake: Arc<Condvar>,
}

impl Baton {
    /// Makes one whose time stands at `micros`; the test has it.
    pub fn new(mut chance: Chance, micros: u64) -> Arc<Baton> {
        let state = State {
            pace: chance.one_of(&[20, 200, 1_000]),
            chance,
            players: BTreeMap::new(),
            turn: Turn::Test,
            pause: None,
            is_paused: false,
            started: 0,
            come: 0,
            turns: 0,
            events: BTreeMap::new(),
            timers: BTreeMap::new(),
            trace: blake3::Hasher::new(),
            panics: Vec::new(),
        };
        Arc::new(Baton { state: Mutex::new(state), micros: AtomicU64::new(micros), rest: Condvar::new() })
    }

    /// Surroundings in which it gives the turns.
    pub fn env(self: &Arc<Self>, mut chance: Chance) -> Env {
        let random = Numbers(Mutex::new(Chance::new(chance.next(), "random")));
        Env {
            clock: Arc::new(Time(self.clone())),
            spawner: Arc::new(Threads(self.clone())),
            random: Arc::new(random),
            script: None,
            turns: Some(self.clone()),
        }
    }

    /// Has something happen at the beginning of a turn.
    pub fn at(&self, turn: u64, event: Event) {
        self.state().events.entry(turn).or_default().push(event);
    }

    /// Has all stop in place of a turn, at which nothing else may happen.
    pub fn pause_at(&self, turn: u64) {
        self.state().pause = Some(turn);
    }

    /// Has those go on that stopped.
    pub fn go_on(&self) {
        self.state().is_paused = false;
    }

    /// Gives up the baton, and waits until all threads have ended, of so many workers too, or have stopped. Returns whether
    /// they have ended.
    pub fn join(&self, workers: usize) -> bool {
        let (mut state, mut looks) = (self.state(), 0);
        loop {
            let have_come = state.come >= workers;
            if state.is_paused {
                return false;
            }
            if have_come && matches!(state.turn, Turn::Test | Turn::Nobody) {
                self.choose(&mut state);
            }
            if have_come && state.players.is_empty() {
                break;
            }
            // Whoever ends gives up the baton before it lets go of what others wait for.
            looks = if state.turn == Turn::Nobody { looks + 1 } else { 0 };
            assert!(looks < MOST_LOOKS, "threads wait for what never comes: {:?}", state.players.keys());
            state = self.rest.wait_timeout(state, Duration::from_millis(5)).unwrap_or_else(PoisonError::into_inner).0;
        }
        assert_eq!(state.panics, Vec::<String>::new());
        true
    }

    /// How many turns there were.
    pub fn turns(&self) -> u64 {
        self.state().turns
    }

    /// What tells one course of events from another.
    pub fn trace(&self) -> blake3::Hash {
        self.state().trace.finalize()
    }

    /// The time, in microseconds.
    pub fn micros(&self) -> u64 {
        self.micros.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws who has the next turn.
    fn draw(&self, state: &mut State) {
        state.turns += 1;
        let turns = state.turns;
        if state.pause == Some(turns) {
            (state.is_paused, state.turn) = (true, Turn::Nobody);
            self.rest.notify_all();
            return;
        }
        let mut events = state.events.remove(&turns).unwrap_or_default();
        if turns == MOST_TURNS {
            state.panics.push("nothing ends the execution".to_owned());
            events.extend(std::mem::take(&mut state.events).into_values().flatten());
        }
        for event in events {
            state.trace.update(b"event");
            event();
        }
        if state.chance.once_in(4) {
            let by = state.chance.below(state.pace) * state.chance.one_of(&[1, 1, 1, 20]);
            self.pass(state, by);
        }
        self.choose(state);
    }

    fn choose(&self, state: &mut State) {
        let is_ready = |place: &&mut Place| place.is_ready.as_ref().is_some_and(|is_ready| is_ready());
        let mut ready: Vec<_> = state
            .players
            .iter_mut()
            .filter_map(|(player, place)| Some(place).filter(is_ready).map(|p| (*player, p)))
            .collect();
        let all: u64 = ready.iter().map(|(_, place)| place.weight).sum();
        if all == 0 {
            state.turn = Turn::Nobody;
            self.rest.notify_all();
            return;
        }
        let mut drawn = state.chance.below(all);
        let (player, place) = ready
            .iter_mut()
            .find(|(_, place)| {
                let is_it = drawn < place.weight;
                drawn = drawn.saturating_sub(place.weight);
                is_it
            })
            .unwrap();
        place.is_ready = None;
        state.turn = Turn::Of(*player);
        let (kind, number) = match *player {
            Player::Worker(number) => (0_u8, number),
            Player::Thread(number) => (1, number),
        };
        place.awake.notify_one();
        state.trace.update(&[kind]).update(&number.to_le_bytes());
    }

    /// Has time go by.
    fn pass(&self, state: &mut State, by: u64) {
        let now = self.micros.fetch_add(by, Ordering::AcqRel) + by;
        while let Some(timer) = state.timers.first_entry().filter(|timer| timer.key().0 <= now) {
            timer.remove().activate().ok();
        }
    }

    fn take_place(&self, state: &mut State, player: Player, weights: &[u64]) {
        let weight = state.chance.one_of(weights);
        let place = Place { is_ready: Some(Box::new(|| true)), weight, awake: Arc::default() };
        state.players.insert(player, place);
    }

    fn await_turn<'a>(&self, mut state: MutexGuard<'a, State>, me: Player) -> MutexGuard<'a, State> {
        let awake = state.players[&me].awake.clone();
        while state.turn != Turn::Of(me) {
            let (locked, waited) = awake.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            assert!(
                !waited.timed_out() || locked.turn == Turn::Of(me),
                "{me:?} never has its turn, but {:?}",
                locked.turn
            );
            state = locked;
        }
        state
    }
}

impl Turns for Baton {
    fn begin(&self, worker: usize, workers: usize) {
        let me = Player::Worker(worker as u64);
        ME.set(Some(me));
        let mut state = self.state();
        let place = Place { is_ready: Some(Box::new(|| true)), weight: 4, awake: Arc::default() };
        state.players.insert(me, place);
        state.come += 1;
        if state.come == workers {
            self.draw(&mut state);
        }
        drop(self.await_turn(state, me));
    }

    fn wait(&self, is_ready: Box<dyn Fn() -> bool + Send>) {
        // The test itself waits for nobody.
        let Some(me) = ME.get() else { return };
        let mut state = self.state();
        state.players.get_mut(&me).unwrap().is_ready = Some(is_ready);
        self.draw(&mut state);
        drop(self.await_turn(state, me));
    }

    fn end(&self) {
        let me = ME.take().unwrap();
        let mut state = self.state();
        state.players.remove(&me);
        self.draw(&mut state);
    }

    fn wake(&self, after: Duration, operator: SyncActivator) {
        let mut state = self.state();
        state.started += 1;
        let due = self.micros() + u64::try_from(after.as_micros()).unwrap() + 1;
        let number = state.started;
        state.timers.insert((due, number), operator);
    }
}

struct Time(Arc<Baton>);

impl Clock for Time {
    fn now(&self) -> Instant {
        Instant(1_700_000_000_000_000 + i64::try_from(self.0.micros()).unwrap())
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.micros())
    }
}

struct Threads(Arc<Baton>);

impl Spawner for Threads {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> std::io::Result<()> {
        let baton = self.0.clone();
        let me = {
            let mut state = baton.state();
            state.started += 1;
            let me = Player::Thread(state.started);
            baton.take_place(&mut state, me, &[1, 4, 16]);
            me
        };
        let name_of_it = name.to_owned();
        real::env().spawner.spawn(
            name,
            Box::new(move || {
                ME.set(Some(me));
                drop(baton.await_turn(baton.state(), me));
                if catch_unwind(AssertUnwindSafe(body)).is_err() {
                    baton.state().panics.push(name_of_it);
                }
                baton.end();
            }),
        )
    }
}

struct Numbers(Mutex<Chance>);

impl Random for Numbers {
    fn next(&self) -> u64 {
        self.0.lock().unwrap().next()
    }
}
