//! Clocks: what time it is for a key, and when its rows happened.

use crate::data::schema::Type;
use crate::dataflow::user_fn::OpenTransform;

/// Where the times of rows, and the watermarks of keys, come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// Rows happen as they come; the watermark is the system's time.
    System,
    /// Rows say when they happened.
    Event {
        /// How far the watermark stays behind the latest row, in microseconds.
        wait: i64,
        /// Whether it goes on while the input is idle.
        advances: bool,
    },
}

/// How the times of an input's rows are found.
#[derive(Clone)]
pub(super) enum Stamp {
    Column {
        index: usize,
        /// For messages.
        name: String,
        form: Form,
    },
    /// A map function that gives one timestamp.
    Call(OpenTransform),
}

/// How a column holds times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Timestamp,
    Date,
    Text,
}

impl Stamp {
    /// Finds out how a column holds times; none if it does not.
    pub fn of_column(index: usize, name: &str, ty: &Type) -> Option<Stamp> {
        let form = match ty {
            Type::Timestamp => Form::Timestamp,
            Type::Date => Form::Date,
            Type::String => Form::Text,
            _ => return None,
        };
        Some(Stamp::Column { index, name: name.to_owned(), form })
    }
}
