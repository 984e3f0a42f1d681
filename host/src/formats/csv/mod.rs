//! CSV: fields between delimiters, possibly in quotes, usually with a header.
//!
//! The rules are those of `csv-core`: records end with LF, CR or CRLF, a quote opens only at the start of a field, two
//! quotes within quotes are one. Blank lines are skipped. An empty field is the empty string in a `string` column and
//! null in all others.

mod decode;
mod encode;
mod field;
mod infer;
mod record;

pub use decode::{CsvDecoder, Header};
pub use encode::CsvEncoder;
pub use infer::{FieldTypes, infer};
pub use record::{CsvFramer, Dialect};
