//! Bytes to batches and back. No I/O here: connectors bring the bytes.
//!
//! Reading takes two steps. A [`Framer`] says how much of a buffer is whole records, so that a connector can read
//! blocks of any size; a [`Decoder`] turns such a chunk into one batch. A record that cannot be read costs no other
//! one: it is handed back as a [`BadRow`] with its line and its reason. Writing is one step, an [`Encoder`].
//!
//! | format | module | records |
//! |---|---|---|
//! | `lines` | [`lines`] | each line is the column `value` |
//! | `json` | [`json`] | an object a line, its members are columns |
//! | `csv` | [`csv`] | fields between delimiters, possibly in quotes |

pub(crate) mod base64;
pub mod column;
pub mod csv;
mod decoder;
mod error;
pub mod json;
pub mod lines;
mod names;
pub mod timestamp;

pub use decoder::{BadRow, Decoded, Decoder, Encoder, Framer, LineFramer, MAX_RECORD};
pub use error::FormatError;
