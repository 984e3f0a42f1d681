//! What logic hands back to its driver: batches for its ports, and rows that failed.

use super::dead_letter::{self, DeadLetter, Kind};
use super::error::LogicError;
use super::user_fn::RowError;
use crate::data::batch::Batch;
use crate::data::ids::StepId;
use crate::data::time::Epoch;
use crate::telemetry::meter::StepMeter;
use std::sync::Arc;

/// What happens to rows that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnError {
    /// The flow stops.
    #[default]
    Fail,
    /// They are counted and left out.
    Skip,
    /// They go to the step's port `errors`.
    DeadLetter,
}

/// A step's treatment of rows that fail.
#[derive(Clone)]
pub struct RowErrors {
    pub step: StepId,
    pub on_error: OnError,
    /// How many may fail in this process before the flow stops. None: any number.
    pub max_errors: Option<u64>,
    /// The index of the port `errors`, if the step has it.
    pub port: Option<usize>,
    pub meter: Arc<StepMeter>,
    /// For each port of the step whether anybody takes its rows; if nothing is said of a port, somebody does.
    pub taken: Arc<[bool]>,
}

impl RowErrors {
    fn treat(
        &self,
        letters: &mut dyn Iterator<Item = DeadLetter>,
        given: &mut Vec<(usize, Batch)>,
    ) -> Result<(), LogicError> {
        let mut letters = letters.peekable();
        let Some(first) = letters.peek() else { return Ok(()) };
        let first_place = first.place();
        let first_message = first.message.clone();
        match self.on_error {
            OnError::Fail => {
                self.meter.failed(1);
                let error = LogicError::user(first_message).at(first_place);
                Err(error.help("to go on without such rows: on_error = \"skip\", or on_error = \"dead_letter\" and its port \"errors\""))
            }
            OnError::Skip | OnError::DeadLetter => {
                let letters: Vec<DeadLetter> = letters.collect();
                let failed = self.meter.failed(letters.len() as u64);
                if let Some(max) = self.max_errors.filter(|&max| failed > max) {
                    // The one that was too many, unless other workers came in between.
                    let before = failed - letters.len() as u64;
                    let last = usize::try_from(max.saturating_sub(before)).ok().and_then(|at| letters.get(at));
                    let (place, what) = last.map_or((first_place, &first_message), |it| (it.place(), &it.message));
                    let message = format!("more than {max} rows failed, the last one with: {what}");
                    return Err(LogicError::user(message).at(place).help("raise max_errors, or mend the rows"));
                }
                if let Some(port) = self.port {
                    given.push((port, dead_letter::batch(&self.step, &letters)?));
                }
                Ok(())
            }
        }
    }
}

/// Where logic puts what it makes of its input.
pub struct Emit<'a> {
    given: &'a mut Vec<(usize, Batch)>,
    row_errors: &'a RowErrors,
    epoch: Option<Epoch>,
}

impl<'a> Emit<'a> {
    /// Makes an empty one; `given` is where the driver finds the batches afterwards.
    pub fn new(given: &'a mut Vec<(usize, Batch)>, row_errors: &'a RowErrors) -> Self {
        Emit { given, row_errors, epoch: None }
    }

    /// Says in which epoch.
    #[must_use]
    pub fn at(mut self, epoch: Epoch) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// The epoch of the batch that is handled, where the driver tells it: those of stateless steps do.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Hands a batch to an output port, by its index. A batch without rows goes nowhere.
    pub fn give(&mut self, port: usize, batch: Batch) {
        if batch.num_rows() > 0 {
            self.given.push((port, batch));
        }
    }

    /// Whether anybody takes the rows of a port. What nobody takes need not be made.
    pub fn is_taken(&self, port: usize) -> bool {
        self.row_errors.taken.get(port).copied().unwrap_or(true)
    }

    /// Counts rows that were late.
    pub fn late(&self, rows: usize) {
        self.row_errors.meter.was_late(rows as u64);
    }

    /// Treats rows of a compact batch that failed by the step's policy.
    ///
    /// # Errors
    /// The policy is to stop, or too many rows failed.
    pub fn fail(&mut self, batch: &Batch, errors: &[RowError]) -> Result<(), LogicError> {
        self.fail_as(Kind::Returned, batch, errors)
    }

    /// As [`Emit::fail`], for failures of a kind.
    ///
    /// # Errors
    /// As for [`Emit::fail`].
    pub fn fail_as(&mut self, kind: Kind, batch: &Batch, errors: &[RowError]) -> Result<(), LogicError> {
        if errors.is_empty() {
            return Ok(());
        }
        let wanted = self.row_errors.port.is_some();
        let mut letters = dead_letter::of_rows(kind, batch, errors, wanted)?.into_iter();
        self.row_errors.treat(&mut letters, self.given)
    }

    /// Treats rows that failed before they were part of a batch.
    ///
    /// # Errors
    /// As for [`Emit::fail`].
    pub fn fail_letters(&mut self, letters: Vec<DeadLetter>) -> Result<(), LogicError> {
        self.row_errors.treat(&mut letters.into_iter(), self.given)
    }
}
