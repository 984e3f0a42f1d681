//! How operators, connectors and functions declare themselves.
//!
//! A declaration is a value that names itself, documents itself and checks its own arguments; what it returns is a
//! checked step that builds itself on every worker. The lists of all declarations are put together in the command line.

pub mod connector;
pub mod cx;
pub mod function;
pub mod operator;

use crate::diag::suggest;
use connector::Connector;
use operator::Operator;

/// All operators and connectors that a flow may name, in documentation order.
#[derive(Clone, Copy)]
pub struct Catalog {
    pub operators: &'static [&'static dyn Operator],
    pub connectors: &'static [&'static dyn Connector],
}

impl Catalog {
    /// Finds an operator.
    ///
    /// # Errors
    /// There is none of that name; the text says what to write instead.
    pub fn operator(&self, name: &str) -> Result<&'static dyn Operator, Option<String>> {
        let found = self.operators.iter().find(|operator| operator.name() == name);
        found.copied().ok_or_else(|| suggest(name, self.operators.iter().map(|operator| operator.name())))
    }

    /// Finds a connector.
    pub fn connector(&self, name: &str) -> Option<&'static dyn Connector> {
        self.connectors.iter().find(|connector| connector.name() == name).copied()
    }
}
