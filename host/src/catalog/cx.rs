//! What a declaration is given to check a step: the step as written, the types of its upstreams, and ways to ask.

use super::Catalog;
use super::function::{FunctionError, FunctionKind, FunctionLibrary, StepLimits};
use super::operator::StreamType;
use crate::data::schema::{Type, describe};
use crate::dataflow::migration;
use crate::dataflow::user_fn::{OpenFold, OpenSink, OpenSource, OpenStateful, OpenTransform};
use crate::diag::{Diagnostic, Diagnostics, suggest};
use crate::spec::{Limit, Limits, PluginSpec, Spanned, StepSpec, Table, read, read_both};
use arrow::datatypes::SchemaRef;
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An upstream of a step.
#[derive(Clone, Debug)]
pub struct Up {
    /// The name in `from = { name = "step" }`, else that of the step.
    pub name: String,
    pub ty: StreamType,
    /// Where the flow names it; the step itself if it does not.
    pub span: Range<usize>,
}

/// What surrounds all steps of a flow.
#[derive(Clone, Copy)]
pub struct FlowCx<'a> {
    pub catalog: Catalog,
    pub functions: &'a dyn FunctionLibrary,
    pub plugins: &'a [PluginSpec],
    /// The folder of the flow file, which paths in it start from.
    pub base: &'a Path,
}

/// What an operator is given to check a step.
pub struct CheckCx<'a> {
    pub flow: FlowCx<'a>,
    pub step: &'a StepSpec,
    pub ups: Vec<Up>,
}

impl<'a> CheckCx<'a> {
    /// The step, for messages.
    pub fn what(&self) -> String {
        format!("step \"{}\"", self.step.name.value)
    }

    /// Reads the step's arguments.
    ///
    /// # Errors
    /// All unknown keys, and the first missing key or wrong value.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, Diagnostics> {
        read(&self.step.args, self.step.span.clone(), &self.what())
    }

    /// Reads the step's arguments as two structs: the operator's own, and those that it shares with others. A key that
    /// both have is read by both.
    ///
    /// # Errors
    /// As for [`CheckCx::args`].
    pub fn args_and<A: DeserializeOwned, B: DeserializeOwned>(&self) -> Result<(A, B), Diagnostics> {
        read_both(&self.step.args, self.step.span.clone(), &self.what())
    }

    /// The type of the only upstream. Operators that take one are given one.
    ///
    /// # Panics
    /// The operator takes no upstreams.
    pub fn up(&self) -> &StreamType {
        &self.ups.first().expect("the plan gives an operator its upstreams").ty
    }

    /// The key of the only upstream.
    ///
    /// # Errors
    /// It has no key.
    pub fn up_key(&self) -> Result<Arc<str>, Diagnostics> {
        let up = &self.ups[0];
        up.ty.key.clone().ok_or_else(|| self.unkeyed(up))
    }

    /// Says that an upstream must have a key.
    pub fn unkeyed(&self, up: &Up) -> Diagnostics {
        let op = &self.step.op.value;
        let message = format!("{}: \"{op}\" works on keyed streams, and \"{}\" has no key", self.what(), up.name);
        let help = "put a step before it: op = \"key_on\", key = \"<column>\"";
        let label = format!("rows: {}", describe(&up.ty.schema));
        Diagnostic::new("no-key", message).at(up.span.clone()).label(label).help(help).into()
    }

    /// Finds a column of the only upstream.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn column(&self, name: &Spanned<String>) -> Result<(usize, Type), Diagnostics> {
        column(&self.up().schema, name, &self.what())
    }

    /// A path as the flow file means it: from its own folder.
    pub fn path(&self, text: &str) -> PathBuf {
        self.flow.base.join(text)
    }

    /// The limits of the step's plugin instance: the step's own, else the plugin's, else the defaults.
    pub fn limits(&self, reference: &str) -> StepLimits {
        self.flow.limits(reference, self.step.limits.as_ref())
    }

    /// Opens a stateless function for a stream.
    ///
    /// # Errors
    /// There is no such function, it is of none of these kinds, or it refuses the rows or the configuration.
    pub fn transform(
        &self,
        function: &Spanned<String>,
        kinds: &[FunctionKind],
        input: &SchemaRef,
        config: Option<&serde_json::Value>,
    ) -> Result<OpenTransform, Diagnostics> {
        self.flow.expect_kind(function, kinds, &self.what())?;
        let config = self.flow.config(&function.value, config);
        let opened = self.flow.functions.open_transform(&function.value, input, &config, &self.limits(&function.value));
        opened.map_err(|error| refused(function, &error, &self.what()))
    }

    /// Opens a fold for a stream.
    ///
    /// # Errors
    /// As for [`CheckCx::transform`].
    pub fn fold(
        &self,
        function: &Spanned<String>,
        input: &SchemaRef,
        config: Option<&serde_json::Value>,
    ) -> Result<OpenFold, Diagnostics> {
        self.flow.expect_kind(function, &[FunctionKind::Fold], &self.what())?;
        let config = self.flow.config(&function.value, config);
        let opened = self.flow.functions.open_fold(&function.value, input, &config, &self.limits(&function.value));
        let open = opened.map_err(|error| refused(function, &error, &self.what()))?;
        Ok(OpenFold { factory: migration::fold(open.factory), ..open })
    }

    /// Opens a stateful function for a stream.
    ///
    /// # Errors
    /// As for [`CheckCx::transform`].
    pub fn stateful(
        &self,
        function: &Spanned<String>,
        input: &SchemaRef,
        config: Option<&serde_json::Value>,
    ) -> Result<OpenStateful, Diagnostics> {
        self.flow.expect_kind(function, &[FunctionKind::Stateful], &self.what())?;
        let config = self.flow.config(&function.value, config);
        let opened = self.flow.functions.open_stateful(&function.value, input, &config, &self.limits(&function.value));
        let open = opened.map_err(|error| refused(function, &error, &self.what()))?;
        Ok(OpenStateful { factory: migration::stateful(open.factory), ..open })
    }
}

impl FlowCx<'_> {
    fn plugin(&self, reference: &str) -> Option<&PluginSpec> {
        let (plugin, _) = reference.split_once('.')?;
        self.plugins.iter().find(|spec| spec.name.value == plugin)
    }

    fn limits(&self, reference: &str, own: Option<&Limits>) -> StepLimits {
        self.limits_from(StepLimits::default(), reference, own)
    }

    /// The limits of a source or sink: its calls may block for any time, so there is no deadline unless one is set.
    fn limits_of_connector(&self, reference: &str, own: Option<&Limits>) -> StepLimits {
        self.limits_from(StepLimits { time_per_batch: None, ..StepLimits::default() }, reference, own)
    }

    fn limits_from(&self, mut limits: StepLimits, reference: &str, own: Option<&Limits>) -> StepLimits {
        let plugin = self.plugin(reference).map(|plugin| &plugin.limits);
        for layer in plugin.into_iter().chain(own) {
            match &layer.memory {
                Some(Limit::Off) => limits.memory = None,
                Some(Limit::At(size)) => limits.memory = Some(size.0),
                None => {}
            }
            match &layer.time_per_batch {
                Some(Limit::Off) => limits.time_per_batch = None,
                Some(Limit::At(time)) => limits.time_per_batch = Some(time.0),
                None => {}
            }
        }
        limits
    }

    /// The configuration of a function as JSON text: the plugin's, with the step's own keys in place of its.
    fn config(&self, reference: &str, own: Option<&serde_json::Value>) -> String {
        let plugin = self.plugin(reference).and_then(|plugin| plugin.config.as_ref()).map(crate::spec::Node::to_json);
        let merged = match (plugin, own) {
            (Some(serde_json::Value::Object(mut all)), Some(serde_json::Value::Object(own))) => {
                all.extend(own.clone());
                Some(serde_json::Value::Object(all))
            }
            (plugin, own) => own.cloned().or(plugin),
        };
        merged.map_or_else(String::new, |config| config.to_string())
    }

    fn expect_kind(&self, function: &Spanned<String>, kinds: &[FunctionKind], what: &str) -> Result<(), Diagnostics> {
        let info = self.functions.find(&function.value).map_err(|error| refused(function, &error, what))?;
        if kinds.contains(&info.kind) {
            return Ok(());
        }
        let wanted: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        let message =
            format!("{what}: function \"{}\" is a {}, wanted: {}", function.value, info.kind, wanted.join(" or "));
        let place = match info.kind {
            FunctionKind::Source => "as the source of an \"input\"".to_owned(),
            FunctionKind::Sink => "as the sink of an \"output\"".to_owned(),
            FunctionKind::Fold => "in a step with op = \"fold_final\"".to_owned(),
            kind => format!("in a step with op = \"{kind}\""),
        };
        Err(Diagnostic::new("wrong-function", message)
            .at(function.span.clone())
            .help(format!("use it {place}, or name another function"))
            .into())
    }
}

fn refused(function: &Spanned<String>, error: &FunctionError, what: &str) -> Diagnostics {
    Diagnostic::new("function-refused", format!("{what}: {}", error.message))
        .at(function.span.clone())
        .maybe_help(error.help.clone())
        .into()
}

/// Finds a column of a schema; `what` names the step in the message.
///
/// # Errors
/// There is none of that name.
pub fn column(schema: &SchemaRef, name: &Spanned<String>, what: &str) -> Result<(usize, Type), Diagnostics> {
    if let Some((index, field)) = schema.column_with_name(&name.value) {
        return Ok((index, Type::of(field)));
    }
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let there = format!("its rows are: {}", describe(schema));
    Err(Diagnostic::new("no-column", format!("{what}: no column \"{}\"", name.value))
        .at(name.span.clone())
        .help(match suggest(&name.value, names) {
            Some(suggestion) => format!("{suggestion}; {there}"),
            None => there,
        })
        .into())
}

/// What a connector is given to check a source or a sink.
pub struct ConnectorCx<'a> {
    pub flow: FlowCx<'a>,
    pub step: &'a StepSpec,
    /// The table of the source or sink, the connector's name among its keys.
    pub table: &'a Table,
    pub span: Range<usize>,
    /// For a sink, the stream that it writes.
    pub up: Option<&'a StreamType>,
}

impl ConnectorCx<'_> {
    /// The source or sink, for messages.
    pub fn what(&self) -> String {
        let role = if self.up.is_some() { "sink" } else { "source" };
        format!("{role} of step \"{}\"", self.step.name.value)
    }

    /// Reads the arguments: a struct that has the connector's own name among its fields.
    ///
    /// # Errors
    /// All unknown keys, and the first missing key or wrong value.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, Diagnostics> {
        read(self.table, self.span.clone(), &self.what())
    }

    /// A path as the flow file means it: from its own folder.
    pub fn path(&self, text: &str) -> PathBuf {
        self.flow.base.join(text)
    }

    /// The stream that a sink writes.
    ///
    /// # Panics
    /// It is a source that is being checked.
    pub fn up(&self) -> &StreamType {
        self.up.expect("a sink has an upstream")
    }

    /// Opens a source of a plugin.
    ///
    /// # Errors
    /// As for [`CheckCx::transform`].
    pub fn open_source(
        &self,
        function: &Spanned<String>,
        config: Option<&serde_json::Value>,
    ) -> Result<OpenSource, Diagnostics> {
        self.flow.expect_kind(function, &[FunctionKind::Source], &self.what())?;
        let config = self.flow.config(&function.value, config);
        let limits = self.flow.limits_of_connector(&function.value, self.step.limits.as_ref());
        let opened = self.flow.functions.open_source(&function.value, &config, &limits);
        opened.map_err(|error| refused(function, &error, &self.what()))
    }

    /// Opens a sink of a plugin.
    ///
    /// # Errors
    /// As for [`CheckCx::transform`].
    pub fn open_sink(
        &self,
        function: &Spanned<String>,
        config: Option<&serde_json::Value>,
    ) -> Result<OpenSink, Diagnostics> {
        self.flow.expect_kind(function, &[FunctionKind::Sink], &self.what())?;
        let config = self.flow.config(&function.value, config);
        let limits = self.flow.limits_of_connector(&function.value, self.step.limits.as_ref());
        let opened = self.flow.functions.open_sink(&function.value, &self.up().schema, &config, &limits);
        opened.map_err(|error| refused(function, &error, &self.what()))
    }
}
