//! From the path of a flow file to a plan: reading, plugins, checking. Everything that is wrong comes at once.

use super::CATALOG;
use super::exit::Failure;
use super::keeping::RecoverySpec;
use crate::catalog::cx::FlowCx;
use crate::catalog::function::{FunctionError, FunctionInfo, FunctionLibrary, StepLimits};
use crate::dataflow::env::Env;
use crate::dataflow::user_fn::{OpenFold, OpenSink, OpenSource, OpenStateful, OpenTransform};
use crate::diag::{Diagnostic, Diagnostics};
use crate::plan::{self, Plan};
use crate::plugin::engine::cache_dir;
use crate::plugin::library::{Library, PluginFile};
use crate::plugin::project;
use crate::plugin::wasi::{Allow, AllowDir};
use crate::spec::{self, PluginSpec, Spanned, Spec};
use arrow::datatypes::Schema;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// A flow file that was read.
pub struct FlowFile {
    pub path: PathBuf,
    pub text: String,
}

impl FlowFile {
    /// Reads a flow file.
    ///
    /// # Errors
    /// It cannot be read, or is no text.
    pub fn read(path: &Path) -> Result<FlowFile, Failure> {
        let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(FlowFile { path: path.to_owned(), text }),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let line = 1 + error.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
                let problem = Diagnostic::new("not-utf-8", format!("line {line} is not UTF-8 text (byte {at})"))
                    .help("a flow file is TOML in UTF-8; is this the right file?");
                Err(refused(path, &text, problem.into()))
            }
        }
    }

    /// Makes the plan; builds the plugins that the flow names.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn plan(&self, env: &Env) -> Result<Planned, Failure> {
        let variables = |name: &str| std::env::var(name).ok();
        let (spec, mut problems) = spec::parse(&self.text, &variables);
        let Some(spec) = spec else { return Err(self.refused(problems)) };
        let base = self.path.parent().map(Path::to_owned).unwrap_or_default();
        let functions = Functions::open(&spec.plugins, &base, env, &mut problems)?;
        let cx = FlowCx { catalog: CATALOG, functions: &functions, plugins: &spec.plugins, base: &base };
        let plan = problems.take(plan::check(&spec, &self.text, cx));
        problems.extend(not_yet(&spec));
        let kept = problems.take(RecoverySpec::read(&spec)).unwrap_or_default();
        match plan {
            Some(plan) if problems.is_empty() => Ok(Planned { spec, plan, library: functions.library, kept, base }),
            _ => Err(self.refused(problems)),
        }
    }

    /// Says that something in the file is wrong.
    pub fn refused(&self, problems: Diagnostics) -> Failure {
        // Where a variable has no value, that is said; what else is said of the text that names it is no news.
        let is_news = |problem: &Diagnostic| !problem.message.contains("${env:");
        refused(&self.path, &self.text, problems.into_iter().filter(is_news).collect())
    }
}

/// A flow that can be run.
pub struct Planned {
    pub spec: Spec,
    pub plan: Plan,
    pub library: Library,
    /// Where the flow says that it is kept.
    pub kept: RecoverySpec,
    /// The folder of the flow file.
    pub base: PathBuf,
}

fn refused(path: &Path, text: &str, problems: Diagnostics) -> Failure {
    Failure::Flow { path: path.display().to_string(), text: text.to_owned(), problems }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let inside = path.join("flow.toml");
    let help = match error.kind() {
        io::ErrorKind::NotFound => {
            Some("give the path of a flow file; \"wxhost new NAME\" makes a first one".to_owned())
        }
        io::ErrorKind::IsADirectory if inside.is_file() => Some(format!("did you mean {}?", inside.display())),
        io::ErrorKind::IsADirectory => Some("give the path of a flow file".to_owned()),
        _ => None,
    };
    match Failure::io(path, error) {
        Failure::Io { message, .. } => Failure::Io { message, help },
        failure => failure,
    }
}

/// What a flow may say and this version does not do. To go on without would be to do something else than is written.
fn not_yet(spec: &Spec) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut refuse = |what: String, span: std::ops::Range<usize>| {
        problems.push(
            Diagnostic::new("not-yet", format!("{what} is not part of this version")).at(span).help("leave it out"),
        );
    };
    if let Some(rows) = &spec.run.batch_rows {
        refuse("\"batch_rows\" of [run]".to_owned(), rows.span.clone());
    }
    for plugin in spec.plugins.iter().filter(|plugin| plugin.limits.stack.is_some()) {
        refuse(format!("limit \"stack\" of plugin \"{}\"", plugin.name.value), plugin.span.clone());
    }
    for step in &spec.steps {
        if step.limits.as_ref().is_some_and(|limits| limits.stack.is_some()) {
            refuse(format!("limit \"stack\" of step \"{}\"", step.name.value), step.span.clone());
        }
    }
    problems
}

/// Opens the library of some plugins.
///
/// # Errors
/// Plugins cannot run on this machine.
pub fn open_library(files: Vec<PluginFile>, env: &Env) -> Result<Library, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let (own, xdg, home) = (variable("WXHOST_CACHE_DIR"), variable("XDG_CACHE_HOME"), variable("HOME"));
    let cache = cache_dir(own.as_deref(), xdg.as_deref(), home.as_deref());
    Library::new(files, env.clone(), cache.as_deref()).map_err(Failure::Plugin)
}

/// The functions of a flow's plugins. Those of a plugin that is refused as a whole are refused in few words, since what
/// is wrong with it is said where the flow names it.
struct Functions {
    library: Library,
    refused: BTreeSet<String>,
}

impl Functions {
    fn open(plugins: &[PluginSpec], base: &Path, env: &Env, problems: &mut Diagnostics) -> Result<Functions, Failure> {
        let mut files = Vec::new();
        let mut refused = BTreeSet::new();
        for plugin in plugins {
            match plugin_file(plugin, base) {
                Ok(file) => files.push(file),
                Err(more) => {
                    problems.extend(more);
                    refused.insert(plugin.name.value.clone());
                }
            }
        }
        let library = open_library(files, env)?;
        for plugin in plugins.iter().filter(|plugin| !refused.contains(&plugin.name.value)).collect::<Vec<_>>() {
            if let Err(error) = library.describe(&plugin.name.value) {
                problems.push(plugin_refused(&plugin.path, error));
                refused.insert(plugin.name.value.clone());
            }
        }
        Ok(Functions { library, refused })
    }

    fn ask<T>(
        &self,
        reference: &str,
        answer: impl FnOnce(&Library) -> Result<T, FunctionError>,
    ) -> Result<T, FunctionError> {
        match reference.split_once('.').filter(|(plugin, _)| self.refused.contains(*plugin)) {
            Some((plugin, _)) => Err(FunctionError {
                message: format!("\"{reference}\" cannot be had, since plugin \"{plugin}\" is refused"),
                help: None,
            }),
            None => answer(&self.library),
        }
    }
}

/// Finds, or builds, the component of a plugin, and reads what it is allowed.
fn plugin_file(plugin: &PluginSpec, base: &Path) -> Result<PluginFile, Diagnostics> {
    let mut problems = Diagnostics::new();
    if let Some(host) = plugin.allow.http.first() {
        let message = format!("plugin \"{}\": HTTP cannot be granted yet", plugin.name.value);
        let help = "leave \"http\" out of its allow table; TCP can be granted: tcp = [\"host:port\"]";
        problems.push(Diagnostic::new("unsupported-grant", message).at(host.span.clone()).help(help));
    }
    let resolved = project::resolve(&base.join(&plugin.path.value));
    match resolved {
        Err(error) => problems.push(plugin_refused(&plugin.path, error)),
        Ok(path) if problems.is_empty() => {
            let values = |list: &[Spanned<String>]| list.iter().map(|entry| entry.value.clone()).collect();
            let allow = Allow {
                tcp: values(&plugin.allow.tcp),
                env: values(&plugin.allow.env),
                dirs: plugin.allow.dirs.iter().map(|dir| allow_dir(&dir.value, base)).collect(),
            };
            let limits = StepLimits::default();
            return Ok(PluginFile { name: plugin.name.value.clone(), path, allow, limits });
        }
        Ok(_) => {}
    }
    Err(problems)
}

/// Reads a directory as a flow grants it: `"data"` to read, `"data:rw"` to write too. The plugin sees it under the path
/// that the flow has.
fn allow_dir(text: &str, base: &Path) -> AllowDir {
    let (name, can_write) = match text.strip_suffix(":rw") {
        Some(name) => (name, true),
        None => (text.strip_suffix(":ro").unwrap_or(text), false),
    };
    AllowDir { path: base.join(name), name: name.to_owned(), can_write }
}

fn plugin_refused(path: &Spanned<String>, error: FunctionError) -> Diagnostic {
    Diagnostic::new("plugin-refused", error.message).at(path.span.clone()).maybe_help(error.help)
}

impl FunctionLibrary for Functions {
    fn find(&self, reference: &str) -> Result<FunctionInfo, FunctionError> {
        self.ask(reference, |library| library.find(reference))
    }

    fn open_transform(
        &self,
        reference: &str,
        input: &Schema,
        config: &str,
        limits: &StepLimits,
    ) -> Result<OpenTransform, FunctionError> {
        self.ask(reference, |library| library.open_transform(reference, input, config, limits))
    }

    fn open_fold(
        &self,
        reference: &str,
        input: &Schema,
        config: &str,
        limits: &StepLimits,
    ) -> Result<OpenFold, FunctionError> {
        self.ask(reference, |library| library.open_fold(reference, input, config, limits))
    }

    fn open_stateful(
        &self,
        reference: &str,
        input: &Schema,
        config: &str,
        limits: &StepLimits,
    ) -> Result<OpenStateful, FunctionError> {
        self.ask(reference, |library| library.open_stateful(reference, input, config, limits))
    }

    fn open_source(&self, reference: &str, config: &str, limits: &StepLimits) -> Result<OpenSource, FunctionError> {
        self.ask(reference, |library| library.open_source(reference, config, limits))
    }

    fn open_sink(
        &self,
        reference: &str,
        input: &Schema,
        config: &str,
        limits: &StepLimits,
    ) -> Result<OpenSink, FunctionError> {
        self.ask(reference, |library| library.open_sink(reference, input, config, limits))
    }
}
