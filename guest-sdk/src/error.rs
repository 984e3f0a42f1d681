//! Why a function failed, and whose fault it is.

use std::fmt;

pub use crate::bindings::wxhost::plugin::types::Domain;
use crate::bindings::wxhost::plugin::types::{Error as WitError, RowError};

/// The result of everything that can fail in a plugin.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call or a row failed.
///
/// In a function that sees one row, an error of the domain `user` costs that row only and the host treats it by the
/// step's `on_error`; an error of another domain stops the flow, because the next row would fare no better.
/// Any `std::error::Error` becomes a user error, so that `?` works.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    domain: Domain,
    message: String,
}

impl Error {
    /// Blames the data or the configuration.
    pub fn user(message: impl Into<String>) -> Self {
        Self { domain: Domain::User, message: message.into() }
    }

    /// Blames something that the plugin talks to: a server, a file.
    pub fn external(message: impl Into<String>) -> Self {
        Self { domain: Domain::External, message: message.into() }
    }

    /// Blames the plugin itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { domain: Domain::Internal, message: message.into() }
    }

    /// Returns whose fault it is.
    pub fn domain(&self) -> Domain {
        self.domain
    }

    /// Returns what happened.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Says where it happened: `what: message`.
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Turns a row's failure into an entry of the call's list, and anything worse into the failure of the call.
    pub(crate) fn of_row(self, row: usize) -> Result<RowError> {
        match self.domain {
            Domain::User => Ok(RowError { row: row as u32, message: self.message }),
            Domain::External | Domain::Internal => Err(self),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Takes the messages of the error and of its sources.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::user(message)
    }
}

pub(crate) fn to_wit(error: Error) -> WitError {
    WitError { domain: error.domain, message: error.message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_error_becomes_a_user_error_by_the_question_mark() {
        fn parse(text: &str) -> Result<i32> {
            Ok(text.parse::<i32>()?)
        }
        let error = parse("x").unwrap_err();
        assert_eq!((error.domain(), error.message()), (Domain::User, "invalid digit found in string"));
    }

    #[test]
    fn only_user_errors_stay_with_their_row() {
        assert_eq!(Error::user("bad").of_row(3), Ok(RowError { row: 3, message: "bad".into() }));
        assert_eq!(Error::external("gone").of_row(3), Err(Error::external("gone")));
    }
}
