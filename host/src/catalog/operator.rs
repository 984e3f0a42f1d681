//! What an operator is.

use super::cx::CheckCx;
use crate::dataflow::build::BuildStep;
use crate::dataflow::user_fn::MigrateStates;
use crate::diag::Diagnostics;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// The type of a stream: the columns of its rows and, on a keyed stream, the name of its key.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamType {
    pub schema: SchemaRef,
    /// The name of the column that the key was made from, else `key`. None: the stream has no key.
    pub key: Option<Arc<str>>,
}

impl StreamType {
    /// A stream without a key.
    pub fn unkeyed(schema: SchemaRef) -> Self {
        StreamType { schema, key: None }
    }
}

/// How many upstreams an operator takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// None: it begins a flow.
    None,
    /// Exactly one.
    One,
    /// One or more.
    Many,
}

/// A kind of step: a declaration, without state.
pub trait Operator: Sync {
    /// The name in `op = "…"`, in snake case.
    fn name(&self) -> &'static str;

    /// Its reference text, in Markdown: a sentence on the first line, then semantics, arguments and ports, and an example
    /// in a `toml` block that can be checked as part of a flow.
    fn doc(&self) -> &'static str;

    /// How many upstreams it takes.
    fn inputs(&self) -> Inputs {
        Inputs::One
    }

    /// Whether rows leave the flow here, so that nobody needs to take what it gives.
    fn is_end(&self) -> bool {
        false
    }

    /// Checks a step of this operator: its arguments, the types of its upstreams. Called once a step when a plan is
    /// made; opens no connection.
    ///
    /// # Errors
    /// All that is wrong with the step.
    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics>;
}

/// What a step keeps from one execution to the next, and what of the flow must stay as it is for that.
///
/// Saved states are given back only to a step whose arguments and types of rows are those that they were saved under, but
/// for arguments named in `ignores`, which only say what comes out.
#[derive(Clone, Debug, Default)]
pub struct Keeps {
    /// Arguments that may change.
    pub ignores: &'static [&'static str],
    /// The version of the states' form, where a function of a plugin encodes them, and the way from an older one.
    pub function: Option<KeptFunction>,
    /// The version of what the operator itself writes, from 1.
    pub version: u32,
    /// Other versions of that which it reads ([`crate::dataflow::keyed::Keyed::reads`]).
    pub reads: &'static [u32],
    /// Whether it keeps something of the stream besides what it keeps of keys ([`crate::dataflow::keyed::Kept::Names`]).
    pub has_names: bool,
    /// The connector that a source or sink is of. What it keeps depends on nothing else: a connector itself refuses what it
    /// cannot go on from.
    pub connector: Option<&'static str>,
}

/// A function of a plugin whose states are kept.
#[derive(Clone)]
pub struct KeptFunction {
    /// `plugin.function`.
    pub name: String,
    pub state_version: u32,
    /// Asked, with no states, whether it can migrate those of an older version. States themselves are migrated where they
    /// are restored ([`crate::dataflow::migration`]).
    pub migrate: Arc<dyn MigrateStates>,
}

impl std::fmt::Debug for KeptFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (states of version {})", self.name, self.state_version)
    }
}

impl Keeps {
    /// Keeps something that the operator encodes itself.
    pub fn new() -> Self {
        Keeps { version: 1, ..Keeps::default() }
    }

    /// Keeps what a connector understands.
    pub fn of_connector(name: &'static str) -> Self {
        Keeps { connector: Some(name), ..Keeps::new() }
    }

    /// Names arguments that may change without harm to what was saved.
    #[must_use]
    pub fn ignoring(mut self, arguments: &'static [&'static str]) -> Self {
        self.ignores = arguments;
        self
    }

    /// Says whose states they are.
    #[must_use]
    pub fn function(mut self, name: &str, state_version: u32, migrate: Arc<dyn MigrateStates>) -> Self {
        self.function = Some(KeptFunction { name: name.to_owned(), state_version, migrate });
        self
    }
}

/// A step that has been checked.
pub struct Checked {
    /// The output ports in order: name and type. The port `errors` is not among them; the plan adds it.
    pub ports: Vec<(&'static str, StreamType)>,
    pub build: Box<dyn BuildStep>,
    /// What it keeps from one execution to the next.
    pub keeps: Option<Keeps>,
    /// What `wxhost check` says about it besides: the functions it calls, the columns they read.
    pub notes: Vec<String>,
}

impl Checked {
    /// A step without output ports.
    pub fn new(build: impl BuildStep + 'static) -> Self {
        Checked { ports: Vec::new(), build: Box::new(build), keeps: None, notes: Vec::new() }
    }

    /// Says that the step keeps something from one execution to the next.
    #[must_use]
    pub fn keeps(mut self, keeps: Keeps) -> Self {
        self.keeps = Some(keeps);
        self
    }

    /// Adds an output port.
    #[must_use]
    pub fn port(mut self, name: &'static str, ty: StreamType) -> Self {
        self.ports.push((name, ty));
        self
    }

    /// Adds the output port `down`.
    #[must_use]
    pub fn down(self, ty: StreamType) -> Self {
        self.port("down", ty)
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}
