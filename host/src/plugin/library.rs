//! The plugins of a flow: read, identified and compiled when they are first needed, and searched for functions.

use super::bindings::functions;
use super::engine::{CacheFigures, Engines};
use super::identify::{self, Interface, refusal};
use super::instance::{Compiled, Guest};
use super::open::{self, Target};
use super::wasi::Allow;
use super::{fold, sink, source, stateful, transform};
use crate::catalog::function::{FunctionError, FunctionInfo, FunctionKind, FunctionLibrary, StepLimits};
use crate::dataflow::env::Env;
use crate::dataflow::user_fn::{OpenFold, OpenSink, OpenSource, OpenStateful, OpenTransform};
use arrow::datatypes::Schema;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use wasmtime::component::Component;

/// A plugin as a flow names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFile {
    /// Its name in the flow.
    pub name: String,
    /// The component: a `.wasm` file (see [`super::project::resolve`]).
    pub path: PathBuf,
    pub allow: Allow,
    /// The limits while it is asked what it offers; a step's own count when it runs.
    pub limits: StepLimits,
}

/// What is known of a plugin without running a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub name: String,
    pub path: PathBuf,
    /// Bytes of the file.
    pub size: u64,
    /// The BLAKE3 hash of the file, in hexadecimal.
    pub digest: String,
    /// The interfaces that it imports, in the component's order.
    pub imports: Vec<String>,
    /// The interfaces that it exports, in the component's order.
    pub exports: Vec<String>,
    pub functions: Vec<FunctionInfo>,
}

/// The plugins of a flow.
pub struct Library {
    plugins: BTreeMap<String, Plugin>,
    engines: Arc<Engines>,
    env: Env,
}

struct Plugin {
    file: PluginFile,
    loaded: OnceLock<Result<Loaded, FunctionError>>,
}

/// A plugin that was read, and is compiled for each engine when a step needs it.
struct Loaded {
    bytes: Vec<u8>,
    digest: String,
    imports: Vec<String>,
    exports: Vec<String>,
    offered: Vec<Interface>,
    functions: Vec<FunctionInfo>,
    /// For steps with a time limit, and for those without.
    compiled: [OnceLock<Result<Arc<Compiled>, FunctionError>>; 2],
}

impl Library {
    /// Makes a library. Plugins are read when they are first asked for, so that each can be refused by itself.
    /// Compiled code is kept in `cache_dir` (see [`super::engine::cache_dir`]), or nowhere.
    ///
    /// # Errors
    /// There is no compiler for this machine.
    pub fn new(plugins: Vec<PluginFile>, env: Env, cache_dir: Option<&Path>) -> Result<Library, FunctionError> {
        let engines = Engines::new(cache_dir, Arc::clone(&env.spawner))
            .map_err(|error| FunctionError { message: format!("plugins cannot run here: {error:#}"), help: None })?;
        let plugin = |file: PluginFile| (file.name.clone(), Plugin { file, loaded: OnceLock::new() });
        Ok(Library { plugins: plugins.into_iter().map(plugin).collect(), engines: Arc::new(engines), env })
    }

    /// Returns the names of the plugins, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.keys().map(String::as_str)
    }

    /// Says what is known of a plugin.
    ///
    /// # Errors
    /// There is no such plugin, or it is refused.
    pub fn describe(&self, name: &str) -> Result<Description, FunctionError> {
        let (plugin, loaded) = self.loaded(name)?;
        Ok(Description {
            name: name.to_owned(),
            path: plugin.file.path.clone(),
            size: loaded.bytes.len() as u64,
            digest: loaded.digest.clone(),
            imports: loaded.imports.clone(),
            exports: loaded.exports.clone(),
            functions: loaded.functions.clone(),
        })
    }

    /// Returns the digest of a plugin's file: BLAKE3, in hexadecimal.
    ///
    /// # Errors
    /// As for `describe`.
    pub fn digest(&self, name: &str) -> Result<String, FunctionError> {
        Ok(self.loaded(name)?.1.digest.clone())
    }

    /// Says how often compiled code was found in the cache.
    pub fn cache_figures(&self) -> CacheFigures {
        self.engines.cache_figures()
    }

    fn loaded(&self, name: &str) -> Result<(&Plugin, &Loaded), FunctionError> {
        let Some(plugin) = self.plugins.get(name) else {
            let help = match self.plugins.is_empty() {
                true => format!("declare it: [plugins.{name}] path = \"…\""),
                false => suggestion(name, self.names(), "plugins of the flow"),
            };
            return Err(refusal(format!("no plugin \"{name}\""), help));
        };
        match plugin.loaded.get_or_init(|| self.load(&plugin.file)) {
            Ok(loaded) => Ok((plugin, loaded)),
            Err(error) => Err(error.clone()),
        }
    }

    fn load(&self, file: &PluginFile) -> Result<Loaded, FunctionError> {
        let what = format!("plugin \"{}\" ({})", file.name, file.path.display());
        let bytes = std::fs::read(&file.path).map_err(|error| {
            refusal(format!("{what} cannot be read: {error}"), "give the path of a .wasm component")
        })?;
        identify::check_file(&what, &bytes)?;
        let limited = file.limits.time_per_batch.is_some();
        let component = self.engines.compile(&bytes, limited).map_err(|error| {
            refusal(format!("{what} is no valid component: {}", cause(&error)), "build it again with current tools")
        })?;
        let names = component.component_type();
        let imports: Vec<String> = names.imports(component.engine()).map(|(name, _)| name.to_owned()).collect();
        let exports: Vec<String> = names.exports(component.engine()).map(|(name, _)| name.to_owned()).collect();
        let offered =
            identify::check_world(&what, imports.iter().map(String::as_str), exports.iter().map(String::as_str))?;
        let compiled = Arc::new(self.link(file, &component, &offered)?);
        let functions = self.list(file, &compiled)?;
        check_list(&what, &functions, &offered)?;
        let digest = blake3::hash(&bytes).to_hex().to_string();
        let slots = [OnceLock::new(), OnceLock::new()];
        slots[usize::from(limited)].get_or_init(|| Ok(compiled));
        Ok(Loaded { bytes, digest, imports, exports, offered, functions, compiled: slots })
    }

    fn link(&self, file: &PluginFile, component: &Component, offered: &[Interface]) -> Result<Compiled, FunctionError> {
        let plugin = Arc::from(file.name.as_str());
        Compiled::new(plugin, Arc::clone(&self.engines), file.allow.clone(), component, offered).map_err(|error| {
            refusal(
                format!("plugin \"{}\" does not fit the plugin contract {}: {error:#}", file.name, identify::SPOKEN),
                "build it with the SDK or the wit/ of this host's version",
            )
        })
    }

    /// Asks a plugin for its functions, in a throw-away instance.
    fn list(&self, file: &PluginFile, compiled: &Compiled) -> Result<Vec<FunctionInfo>, FunctionError> {
        let what = format!("plugin \"{}\"", file.name);
        let list = || {
            let mut guest = Guest::new(compiled, what, &open::planning(&file.name, &self.env), &file.limits)?;
            let calls = guest.load(|store, instance| compiled.functions.load(store, instance))?;
            guest.call(|store| calls.call_list_functions(store))
        };
        let listed = list().map_err(|error| open::refused(error, None))?;
        Ok(listed.into_iter().map(info).collect())
    }

    /// Finds a function and compiles its plugin for `limits`.
    fn target(&self, reference: &str, config: &str, limits: &StepLimits) -> Result<Target, FunctionError> {
        let (plugin, loaded, info) = self.search(reference)?;
        let limited = limits.time_per_batch.is_some();
        let compiled = loaded.compiled[usize::from(limited)].get_or_init(|| {
            let component = self.engines.compile(&loaded.bytes, limited);
            let component = component.map_err(|error| FunctionError {
                message: format!("plugin \"{}\" cannot be compiled: {}", plugin.file.name, cause(&error)),
                help: None,
            })?;
            self.link(&plugin.file, &component, &loaded.offered).map(Arc::new)
        });
        Ok(Target {
            compiled: compiled.clone()?,
            info: info.clone(),
            reference: reference.to_owned(),
            config: config.to_owned(),
            limits: limits.clone(),
            env: self.env.clone(),
        })
    }

    fn search(&self, reference: &str) -> Result<(&Plugin, &Loaded, &FunctionInfo), FunctionError> {
        let Some((name, function)) = reference.split_once('.') else {
            let message = format!("\"{reference}\" names no function of a plugin");
            return Err(refusal(message, "write it as \"plugin.function\""));
        };
        let (plugin, loaded) = self.loaded(name)?;
        match loaded.functions.iter().find(|info| info.name == function) {
            Some(info) => Ok((plugin, loaded, info)),
            None => {
                let names = loaded.functions.iter().map(|info| info.name.as_str());
                let help = suggestion(function, names, "its functions");
                Err(refusal(format!("plugin \"{name}\" has no function \"{function}\""), help))
            }
        }
    }

    /// Finds a function of the interface that a step wants.
    fn target_of(
        &self,
        interface: Interface,
        reference: &str,
        config: &str,
        limits: &StepLimits,
    ) -> Result<Target, FunctionError> {
        let kind = self.find(reference)?.kind;
        if interface_of(kind) != interface {
            let message = format!("function \"{reference}\" is a {kind}, and here a {interface} is wanted");
            return Err(refusal(message, format!("use it in a step whose operator takes a {kind}")));
        }
        self.target(reference, config, limits)
    }
}

impl FunctionLibrary for Library {
    fn find(&self, reference: &str) -> Result<FunctionInfo, FunctionError> {
        Ok(self.search(reference)?.2.clone())
    }

    fn open_transform(
        &self,
        reference: &str,
        input: &Schema,
        config: &str,
        limits: &StepLimits,
    ) -> Result<OpenTransform, FunctionError> {
        let target = self.target_of(Interface::Transform, reference, config, limits)?;
        transform::open(target, input).map_err(|error| open::refused(error, Some(input)))
    }

    fn open_fold(
        &self,
        reference: &str,
        input: &Schema,
        config: &str,
        limits: &StepLimits,
    ) -> Result<OpenFold, FunctionError> {
        let target = self.target_of(Interface::Fold, reference, config, limits)?;
        fold::open(target, input).map_err(|error| open::refused(error, Some(input)))
    }

    fn open_stateful(
        &self,
        reference: &str,
        input: &Schema,
        config: &str,
        limits: &StepLimits,
    ) -> Result<OpenStateful, FunctionError> {
        let target = self.target_of(Interface::Stateful, reference, config, limits)?;
        stateful::open(target, input).map_err(|error| open::refused(error, Some(input)))
    }

    fn open_source(&self, reference: &str, config: &str, limits: &StepLimits) -> Result<OpenSource, FunctionError> {
        let target = self.target_of(Interface::Source, reference, config, limits)?;
        source::open(target).map_err(|error| open::refused(error, None))
    }

    fn open_sink(
        &self,
        reference: &str,
        input: &Schema,
        config: &str,
        limits: &StepLimits,
    ) -> Result<OpenSink, FunctionError> {
        let target = self.target_of(Interface::Sink, reference, config, limits)?;
        sink::open(target, input).map_err(|error| open::refused(error, Some(input)))
    }
}

fn info(function: functions::Function) -> FunctionInfo {
    let kind = match function.kind {
        functions::Kind::Map => FunctionKind::Map,
        functions::Kind::Filter => FunctionKind::Filter,
        functions::Kind::FilterMap => FunctionKind::FilterMap,
        functions::Kind::FlatMap => FunctionKind::FlatMap,
        functions::Kind::KeyOn => FunctionKind::KeyOn,
        functions::Kind::Fold => FunctionKind::Fold,
        functions::Kind::Stateful => FunctionKind::Stateful,
        functions::Kind::Source => FunctionKind::Source,
        functions::Kind::Sink => FunctionKind::Sink,
    };
    let functions::Function { name, doc, state_version, config_schema, .. } = function;
    FunctionInfo { name, kind, doc, state_version, config_schema }
}

fn interface_of(kind: FunctionKind) -> Interface {
    match kind {
        FunctionKind::Map
        | FunctionKind::Filter
        | FunctionKind::FilterMap
        | FunctionKind::FlatMap
        | FunctionKind::KeyOn => Interface::Transform,
        FunctionKind::Fold => Interface::Fold,
        FunctionKind::Stateful => Interface::Stateful,
        FunctionKind::Source => Interface::Source,
        FunctionKind::Sink => Interface::Sink,
    }
}

/// Checks what a plugin says of its functions: names once each, and the interfaces that they need.
fn check_list(what: &str, functions: &[FunctionInfo], offered: &[Interface]) -> Result<(), FunctionError> {
    let mut names = BTreeSet::new();
    for FunctionInfo { name, kind, .. } in functions {
        let interface = interface_of(*kind);
        let reason = if name.is_empty() {
            format!("lists a {kind} without a name")
        } else if !names.insert(name) {
            format!("lists the function \"{name}\" twice")
        } else if !offered.contains(&interface) {
            format!("lists the {kind} \"{name}\", but does not export {interface}")
        } else {
            continue;
        };
        return Err(refusal(format!("{what} {reason}"), "this is a fault in the plugin or in its SDK"));
    }
    Ok(())
}

/// Suggests the name that looks most like `wanted`, and lists all.
fn suggestion<'a>(wanted: &str, names: impl Iterator<Item = &'a str>, list: &str) -> String {
    let names: Vec<&str> = names.collect();
    let scored = names.iter().map(|name| (strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase()), *name));
    let best = scored.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0));
    let all = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    match best {
        Some((_, name)) => format!("did you mean \"{name}\"? {list}: {all}"),
        None => format!("{list}: {all}"),
    }
}

fn cause(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(functions: &[(&str, FunctionKind)]) -> Vec<FunctionInfo> {
        let info = |&(name, kind): &(&str, FunctionKind)| FunctionInfo {
            name: name.to_owned(),
            kind,
            doc: String::new(),
            state_version: 0,
            config_schema: String::new(),
        };
        functions.iter().map(info).collect()
    }

    #[test]
    fn a_list_of_functions_is_checked() {
        use FunctionKind::{Fold, Map};
        for (functions, reason) in [
            (&[("a", Map), ("b", Map)][..], None),
            (&[("a", Map), ("a", Map)], Some("p lists the function \"a\" twice")),
            (&[("", Map)], Some("p lists a map without a name")),
            (&[("a", Fold)], Some("p lists the fold \"a\", but does not export fold")),
        ] {
            let checked = check_list("p", &listed(functions), &[Interface::Transform]);
            assert_eq!(checked.err().map(|error| error.message).as_deref(), reason);
        }
    }

    #[test]
    fn a_name_that_is_almost_right_is_suggested() {
        let names = ["tokenize", "Count"];
        for (wanted, expected) in [
            ("tokenise", "did you mean \"tokenize\"? its functions: tokenize, Count"),
            ("count", "did you mean \"Count\"? its functions: tokenize, Count"),
            ("zzz", "its functions: tokenize, Count"),
        ] {
            assert_eq!(suggestion(wanted, names.into_iter(), "its functions"), expected);
        }
    }
}
