//! One file or folder a connector, declared once.

use crate::catalog::connector::Connector;

/// All connectors, in documentation order.
pub const CONNECTORS: &[&dyn Connector] = &[];
