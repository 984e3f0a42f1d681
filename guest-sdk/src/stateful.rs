//! Stateful functions: a state for each key that sees every row, may emit at any time, and may ask to be woken.

pub use crate::bindings::exports::wxhost::plugin::stateful::Emitted;
use crate::bindings::wxhost::plugin::types::{Batch, RowError, Schema, VarSize};
use crate::config;
use crate::error::{Error, Result};
use crate::read::{Read, RowPlan};
use crate::state::{Slab, State};
use crate::time::Timestamp;
use crate::write::{Rows, Write, schema_of};

/// The logic of one key.
pub trait Stateful: State {
    /// The rows that it takes: a struct that derives `Row`, or one value.
    type In<'a>: Read<'a>;

    /// The rows that it emits.
    type Out: Write;

    /// Takes a row. A failure must leave the state as it was; what the call emitted before it is dropped.
    fn on_item(&mut self, row: Self::In<'_>, cx: &mut Emit<Self::Out>) -> Result<()>;

    /// Wakes the key at the time that `notify_at` told, or later.
    fn on_notify(&mut self, cx: &mut Emit<Self::Out>) -> Result<()> {
        let _ = cx;
        Ok(())
    }

    /// Tells that the input of this execution has ended. The state stays, unless it is discarded.
    fn on_eof(&mut self, cx: &mut Emit<Self::Out>) -> Result<()> {
        let _ = cx;
        Ok(())
    }

    /// Says when the key wants to be woken. Asked after every call.
    fn notify_at(&self) -> Option<Timestamp> {
        None
    }
}

/// What a call of a stateful function has to say.
pub struct Emit<T> {
    now: Timestamp,
    rows: Vec<T>,
    discard: bool,
}

impl<T> Emit<T> {
    /// Emits a row under the call's key.
    #[inline]
    pub fn emit(&mut self, row: T) {
        self.rows.push(row);
    }

    /// Forgets the key after this call; its next row starts anew.
    pub fn discard(&mut self) {
        self.discard = true;
    }

    /// Returns the system time of the call.
    pub fn now(&self) -> Timestamp {
        self.now
    }
}

/// A stateful function that was opened.
pub struct OpenStateful {
    /// The rows that it emits.
    pub output: Schema,
    /// The columns that it reads.
    pub reads: Vec<u32>,
    /// The states.
    pub groups: Box<dyn Groups>,
}

/// The groups of an open stateful function, as `stateful.wit` describes the calls.
pub trait Groups {
    /// Handles a batch.
    fn on_batch(&mut self, groups: &[u32], rows: &Batch, now: i64) -> Result<Emitted>;
    /// Wakes groups.
    fn on_notify(&mut self, groups: &[u32], now: i64) -> Result<Emitted>;
    /// Tells groups of the end.
    fn on_eof(&mut self, groups: &[u32], now: i64) -> Result<Emitted>;
    /// Asks when groups want to be woken.
    fn notify_at(&self, groups: &[u32]) -> Result<Vec<i64>>;
    /// Encodes states.
    fn snapshot(&self, groups: &[u32]) -> Result<VarSize>;
    /// Decodes states.
    fn restore(&mut self, groups: &[u32], states: &VarSize) -> Result<()>;
    /// Forgets groups.
    fn release(&mut self, groups: &[u32]);
}

/// Opens a stateful function for rows of a schema.
pub fn open<T: Stateful>(input: &Schema, config: &str) -> Result<OpenStateful> {
    let config: T::Config = config::parse(config)?;
    let plan = RowPlan::of::<T::In<'static>>(input, "value")?;
    Ok(OpenStateful {
        output: schema_of::<T::Out>(),
        reads: plan.reads.clone(),
        groups: Box::new(States::<T> { plan, config, slab: Slab::new() }),
    })
}

struct States<T: State> {
    plan: RowPlan,
    config: T::Config,
    slab: Slab<T>,
}

/// The answer to a call under construction.
struct Answer<T: Write> {
    cx: Emit<T>,
    rows: Rows<T>,
    groups: Vec<u32>,
    parents: Vec<u32>,
    discarded: Vec<u32>,
    errors: Vec<RowError>,
}

impl<T: Write> Answer<T> {
    fn new(now: i64) -> Self {
        Self {
            cx: Emit { now: Timestamp::from_micros(now), rows: Vec::new(), discard: false },
            rows: Rows::with_capacity(0),
            groups: Vec::new(),
            parents: Vec::new(),
            discarded: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Takes over what a call emitted. Returns whether it discards its state.
    fn accept(&mut self, group: u32, parent: Option<u32>) -> bool {
        for row in self.cx.rows.drain(..) {
            self.rows.push(row);
            self.groups.push(group);
            self.parents.extend(parent);
        }
        std::mem::take(&mut self.cx.discard)
    }

    fn reject(&mut self) {
        self.cx.rows.clear();
        self.cx.discard = false;
    }

    fn finish(self, has_parents: bool) -> Emitted {
        Emitted {
            rows: self.rows.finish(),
            groups: self.groups,
            parents: has_parents.then_some(self.parents),
            discarded: self.discarded,
            errors: self.errors,
        }
    }
}

impl<T: Stateful> States<T> {
    /// Calls each of some groups once, without a row.
    fn for_groups(
        &mut self,
        groups: &[u32],
        now: i64,
        call: fn(&mut T, &mut Emit<T::Out>) -> Result<()>,
    ) -> Result<Emitted> {
        let mut answer = Answer::new(now);
        for group in groups {
            call(self.slab.get_mut(*group)?, &mut answer.cx)?;
            if answer.accept(*group, None) {
                self.slab.take(*group);
                answer.discarded.push(*group);
            }
        }
        Ok(answer.finish(false))
    }
}

impl<T: Stateful> Groups for States<T> {
    fn on_batch(&mut self, groups: &[u32], rows: &Batch, now: i64) -> Result<Emitted> {
        if groups.len() != rows.rows as usize {
            return Err(Error::internal("the host sent groups that do not go with the rows"));
        }
        let columns = self.plan.bind::<T::In<'_>>(rows)?;
        let mut answer = Answer::new(now);
        for (row, group) in groups.iter().enumerate() {
            let is_new = self.slab.slot(*group).is_none();
            let state = self.slab.get_or_new(*group, &self.config);
            let result =
                self.plan.get::<T::In<'_>>(&columns, row).and_then(|value| state.on_item(value, &mut answer.cx));
            match result {
                Ok(()) if answer.accept(*group, Some(row as u32)) => {
                    self.slab.take(*group);
                    answer.discarded.push(*group);
                }
                Ok(()) => {}
                Err(error) => {
                    answer.reject();
                    answer.errors.push(error.of_row(row)?);
                    // A state that only a bad row called into being is no state.
                    if is_new {
                        self.slab.take(*group);
                        answer.discarded.push(*group);
                    }
                }
            }
        }
        // Only those count that did not begin anew, each once.
        let slab = &mut self.slab;
        answer.discarded.sort_unstable();
        answer.discarded.dedup();
        answer.discarded.retain(|group| slab.slot(*group).is_none());
        Ok(answer.finish(true))
    }

    fn on_notify(&mut self, groups: &[u32], now: i64) -> Result<Emitted> {
        self.for_groups(groups, now, T::on_notify)
    }

    fn on_eof(&mut self, groups: &[u32], now: i64) -> Result<Emitted> {
        self.for_groups(groups, now, T::on_eof)
    }

    fn notify_at(&self, groups: &[u32]) -> Result<Vec<i64>> {
        let at = |group: &u32| Ok(self.slab.get(*group)?.notify_at().map_or(i64::MAX, Timestamp::micros));
        groups.iter().map(at).collect()
    }

    fn snapshot(&self, groups: &[u32]) -> Result<VarSize> {
        self.slab.snapshot(groups)
    }

    fn restore(&mut self, groups: &[u32], states: &VarSize) -> Result<()> {
        self.slab.restore(groups, states)
    }

    fn release(&mut self, groups: &[u32]) {
        self.slab.release(groups);
    }
}
