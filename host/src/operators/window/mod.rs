//! Windows: the rows of a key that are near each other in time.
//!
//! A *clock* gives each row its time stamp and each key its watermark, a *windower* says which windows of the key a row is
//! in and when they close, and a *logic* makes rows of what is in a window. The machine that runs them works on whole
//! batches: it numbers the windows of all keys densely, so that logic sees a column of window numbers beside the rows.
//!
//! An operator reads its arguments by `cx.args_and::<Args, WindowArgs>()`, opens its function, and declares itself by
//! `Windowing::check(..)?.step(..)` with the factory of its logic.

mod args;
mod clock;
mod doc;
mod early;
mod entries;
mod forgotten;
mod intake;
mod keys;
mod logic;
mod machine;
mod outputs;
mod queue;
mod saved;
mod slots;
mod step;
mod stream;
#[cfg(test)]
mod tests;
mod windower;

pub(super) use args::{Early, Order, WindowArgs, Windowing, check_clock, check_forget_after};
pub(super) use clock::{Clock, KeyClock, Moment, NO_TIME, Stamp, Stamper};
pub(super) use doc::{early_doc, ordered_doc, shared_doc};
pub(super) use logic::{Given, LogicFactory, WindowLogic};
pub(super) use saved::MigrateWindows;
