mod base64;
pub mod column;
mod decoder;
mod error;
pub mod json;
mod names;
pub mod timestamp;

pub use decoder::{BadRow, Decoded, Decoder, Encoder, Framer, LineFramer, MAX_RECORD};
pub use error::FormatError;
