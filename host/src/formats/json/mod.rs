//! JSON lines: an object a line, its members are columns; or any value a line, in one column of type `json`.

mod check;
mod decode;
mod encode;
mod infer;
#[cfg(test)]
mod round_trip;
mod value;

pub use decode::JsonDecoder;
pub use encode::JsonEncoder;
pub use infer::infer;

pub(crate) use encode::{Cells, write_raw};
pub(crate) use infer::is_instant;
pub(crate) use value::{NotBytes, Short, append_base64, append_value, wanted};
