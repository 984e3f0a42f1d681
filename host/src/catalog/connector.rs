//! What a connector is.

use super::cx::ConnectorCx;
use super::operator::StreamType;
use crate::dataflow::sink::SinkParts;
use crate::dataflow::source::SourceParts;
use crate::diag::{Diagnostic, Diagnostics};

/// An adapter to the outside world: a source, a sink, or both. It is chosen by its name as the first key of `source`
/// or `sink`: `source = { file = "events.jsonl", format = "json" }`, or as a bare name: `sink = "stdout"`.
pub trait Connector: Sync {
    /// Its name, in snake case.
    fn name(&self) -> &'static str;

    /// Its reference text, in Markdown: a sentence on the first line, then semantics and arguments, and an example.
    fn doc(&self) -> &'static str;

    /// Whether it can be a source.
    fn is_source(&self) -> bool {
        false
    }

    /// Whether it can be a sink.
    fn is_sink(&self) -> bool {
        false
    }

    /// Checks the arguments of a source and finds out its rows.
    ///
    /// # Errors
    /// All that is wrong; by default, that it is no source.
    fn check_source(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSource, Diagnostics> {
        let message = format!("\"{}\" is no source", self.name());
        Err(Diagnostic::new("wrong-direction", message).at(cx.span.clone()).help("it can be a sink").into())
    }

    /// Checks the arguments of a sink and that it can write `cx.up`.
    ///
    /// # Errors
    /// All that is wrong; by default, that it is no sink.
    fn check_sink(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSink, Diagnostics> {
        let message = format!("\"{}\" is no sink", self.name());
        Err(Diagnostic::new("wrong-direction", message).at(cx.span.clone()).help("it can be a source").into())
    }
}

/// A source that has been checked.
pub struct CheckedSource {
    pub down: StreamType,
    pub parts: Box<dyn SourceParts>,
    pub notes: Vec<String>,
}

/// A sink that has been checked.
pub struct CheckedSink {
    pub parts: Box<dyn SinkParts>,
    pub notes: Vec<String>,
}
