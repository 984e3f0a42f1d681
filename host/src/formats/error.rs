//! Why a format cannot be used, or bytes cannot be read at all. One bad record is no such error, but a
//! [`BadRow`](crate::formats::BadRow).

/// A failure that concerns more than one record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No end of record for too long: most likely no text at all.
    #[error("a {record} is longer than {} MiB; {hint}", limit >> 20)]
    TooLong { record: &'static str, limit: usize, hint: &'static str },
    /// The schema has a type that text has no form for.
    #[error("column {column:?} has type {found}, which cannot be read from text")]
    Unreadable { column: String, found: String },
    /// The rows cannot be written in this format.
    #[error("{0}")]
    Unwritable(String),
    /// The header of a file does not go with the wanted columns.
    #[error("{0}")]
    Header(String),
    /// The options of the format make no sense.
    #[error("{0}")]
    Options(String),
    /// No schema can be made of the sample.
    #[error("cannot tell the columns from the first lines: {0}")]
    Infer(String),
}
