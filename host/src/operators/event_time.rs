//! What steps share that go by the times of rows, without windows.

use super::window::{Clock, Moment, NO_TIME, Stamper};
use crate::data::batch::Batch;
use crate::data::time::Instant;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::idle::IdleClock;
use crate::dataflow::user_fn::RowError;
use std::sync::Arc;

/// Reads the times of a batch's rows into `times`. Rows that have none are treated as failed, and left out of the batch
/// that is returned.
///
/// # Errors
/// As for [`Stamper::times`] and [`Emit::fail`].
pub(super) fn timed(
    stamper: &mut Stamper,
    batch: Batch,
    times: &mut Vec<i64>,
    out: &mut Emit<'_>,
) -> Result<Batch, LogicError> {
    let untimed = stamper.times(&batch, times)?;
    if untimed.is_empty() {
        return Ok(batch);
    }
    let whole = batch.compact()?;
    for failed in untimed.chunk_by(|(kind, _), (next, _)| kind == next) {
        let errors: Vec<RowError> = failed.iter().map(|(_, error)| error.clone()).collect();
        out.fail_as(failed[0].0, &whole, &errors)?;
    }
    let kept: Vec<u32> = (0..).zip(&*times).filter(|(_, time)| **time != NO_TIME).map(|(row, _)| row).collect();
    times.retain(|&time| time != NO_TIME);
    Ok(whole.select(&kept))
}

/// What time it is now for a clock.
pub(super) fn moment(clock: Clock, now: Instant, idle: &Arc<IdleClock>) -> Moment {
    let idle = if clock.advances() { idle.now().0 } else { 0 };
    Moment { system: now.0, idle }
}
