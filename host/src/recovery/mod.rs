//! What a crash cannot undo: states, positions and manifests of whole epochs, in a folder of SQLite files.
//!
//! Promised: an execution that goes on has, of every step, the states of one and the same epoch, the newest that all
//! files have whole; nothing of later epochs is left anywhere; a file that is damaged, missing, of another time or of
//! another flow is refused by name; a state is replaced or dropped whole or not at all. `FORMAT.md` has the tables and what is assumed of the disk.
//!
//! Not promised here: that sinks show each row once. That takes sinks which stage and commit; see
//! [`crate::dataflow::durable::Recovery`] for how.
//!
//! The way of what is written: each part's [`writer`] [`encode`]s those of a driver's changes that it keeps as [`block`]s,
//! and seals epochs by a [`part::Transaction`], made from the part's [`catalogue`] and carried out by its storage
//! ([`sqlite`]). The way back: [`resume`] decides from the catalogues, [`compare`] what becomes of each state, [`store`]
//! claims, [`load`] reads, [`merge`] puts layers together, for loads and for [`compact`]ion alike. [`check`] looks at
//! everything, [`look`] shows what is there, and [`savepoint`] makes copies and stores of copies.

pub mod block;
pub mod catalogue;
pub mod check;
pub mod compact;
pub mod compare;
pub mod encode;
pub mod error;
pub mod load;
pub mod look;
pub mod merge;
pub mod part;
pub mod resume;
pub mod savepoint;
pub mod sqlite;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod writer;
