pub mod column;
mod decoder;
mod error;
pub mod timestamp;

pub use decoder::{BadRow, Decoded, Decoder, Encoder, Framer, LineFramer, MAX_RECORD};
pub use error::FormatError;
