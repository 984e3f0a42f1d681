//! What happens to the rows of a window: the part that tells one window operator from another.

use crate::catalog::operator::Keeps;
use crate::data::time::Instant;
use crate::dataflow::build::BuildCx;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::RowError;
use arrow::array::{BinaryArray, RecordBatch};

/// What a call gave.
#[derive(Debug, Default)]
pub(in super::super) struct Given {
    /// Rows of the logic's output schema, and the slot of the window that each is of; each slot is one that was handed in.
    pub rows: Option<(RecordBatch, Vec<u32>)>,
    /// What failed; `row` is an index into the slots that were handed in, rising.
    pub errors: Vec<RowError>,
}

/// The logic of all windows of a worker's step. It keeps a slab of states, one a window, by *slot*: windows of all keys
/// are numbered densely, and the numbers of closed ones are used again. A window begins with the first row, and ends
/// with `close`, or as the `from` of `merge`. Which rows go into which window, and when it closes, is decided before:
/// logic knows no keys and no time.
pub(in super::super) trait WindowLogic: 'static {
    /// Row `index[i]` of `rows`, which are of the input port `input`, enters the window `slots[i]`; in this order. A row
    /// of overlapping windows is named several times; rows that are not named do not count.
    ///
    /// # Errors
    /// The step failed, which stops the flow. The same holds for the other calls.
    fn on_rows(
        &mut self,
        input: usize,
        slots: &[u32],
        rows: &RecordBatch,
        index: &[u32],
        now: Instant,
    ) -> Result<Given, LogicError>;

    /// The window `from[i]` merges into `into[i]`, in this order, and ends. The survivor's rows come first. Never called
    /// for windows that cannot merge. What is given is of `into`.
    ///
    /// # Errors
    /// As for `on_rows`.
    fn merge(&mut self, into: &[u32], from: &[u32], now: Instant) -> Result<Given, LogicError>;

    /// What some windows, in each of which a row is, come to by now; they stay as they are. For early results.
    ///
    /// # Errors
    /// As for `on_rows`.
    fn early(&mut self, slots: &[u32], now: Instant) -> Result<Given, LogicError>;

    /// Some windows close, in this order, and end. A window of which every row failed is among them too.
    ///
    /// # Errors
    /// As for `on_rows`.
    fn close(&mut self, slots: &[u32], now: Instant) -> Result<Given, LogicError>;

    /// The encoded states of some windows, which stay as they are; null for those that have none.
    ///
    /// # Errors
    /// As for `on_rows`.
    fn save(&mut self, slots: &[u32]) -> Result<BinaryArray, LogicError>;

    /// Sets the states of windows that have no row yet to what `save` gave, also in an execution before.
    ///
    /// # Errors
    /// As for `on_rows`; or a state cannot be read.
    fn load(&mut self, slots: &[u32], states: &BinaryArray) -> Result<(), LogicError>;
}

/// Makes the logic of each worker.
pub(in super::super) trait LogicFactory: Send + Sync + 'static {
    /// Makes that of one.
    ///
    /// # Errors
    /// A plugin's function cannot be had.
    fn build(&self, cx: &BuildCx<'_>) -> Result<Box<dyn WindowLogic>, LogicError>;

    /// Says of what is kept of the step whose the states are that the logic saves: a plugin's, or else the operator's.
    fn keeps(&self, keeps: Keeps) -> Keeps {
        keeps
    }
}
