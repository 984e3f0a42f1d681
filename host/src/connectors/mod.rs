//! One file or folder a connector, declared once.
//!
//! Those of text share what is not about their transport: `format` (how rows are written in text), `blocks` (reading
//! whole records), `identity` (whether a file is still the one that was read), `text_sink` and `staged` (writing files that are never seen half written), `text_kept` and
//! `text_files` (the same with recovery), `paths` (what is refused
//! before the flow runs).

mod args;
mod blocks;
mod demo;
mod dir;
mod file;
mod format;
mod identity;
pub(crate) mod parquet;
mod paths;
mod plugin;
mod plugin_state;
mod staged;
mod stdio;
pub mod testing;
mod text_files;
mod text_kept;
mod text_sink;

use crate::catalog::connector::Connector;

/// All connectors, in documentation order.
pub const CONNECTORS: &[&dyn Connector] = &[
    &file::FileConnector,
    &dir::Dir,
    &stdio::Stdin,
    &stdio::Stdout,
    &parquet::Parquet,
    &demo::Demo,
    &testing::Testing,
    &plugin::Plugin,
];

#[cfg(test)]
mod tests;
