//! One file an operator, declared once.

mod input;
mod output;

use crate::catalog::operator::Operator;

/// All operators, in documentation order.
pub const OPERATORS: &[&dyn Operator] = &[&input::Input, &output::Output];
