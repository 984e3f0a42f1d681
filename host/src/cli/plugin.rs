//! `wxhost plugin`: what plugins offer.

use super::exit::Failure;
use super::flow::{FlowFile, open_library};
use super::{Output, print, print_json};
use crate::catalog::function::{FunctionInfo, StepLimits};
use crate::dataflow::env::Env;
use crate::plugin::library::{Description, Library, PluginFile};
use crate::plugin::project;
use crate::plugin::wasi::Allow;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(clap::Subcommand)]
pub enum Command {
    /// List the functions of a flow's plugins, or of one plugin
    List {
        /// A flow file, a component, or a plugin's project
        path: PathBuf,
    },
    /// Tell everything about one plugin
    Inspect {
        /// A component, or a plugin's project
        path: PathBuf,
    },
    /// Kill a two-phase sink at every step, and look whether each row is there once
    TestSink(super::test_sink::Args),
}

/// Looks into plugins.
///
/// # Errors
/// There is none, or it is refused.
pub fn plugin(command: &Command, env: Env, output: Output) -> Result<(), Failure> {
    match command {
        Command::List { path } => {
            let descriptions = describe_all(&library(path, &env)?)?;
            if output.is_json() {
                print_json(&descriptions.iter().flat_map(functions_to_json).collect())
            } else {
                print(list(&descriptions))
            }
        }
        Command::TestSink(args) => super::test_sink::test_sink(args, &env, output),
        Command::Inspect { path } => {
            let descriptions = describe_all(&one_plugin(path, &env)?)?;
            if output.is_json() {
                print_json(&descriptions.iter().map(to_json).collect())
            } else {
                print(descriptions.iter().map(to_text).collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

fn library(path: &Path, env: &Env) -> Result<Library, Failure> {
    if path.extension().is_some_and(|extension| extension == "toml") {
        return Ok(FlowFile::read(path)?.plan(env)?.library);
    }
    one_plugin(path, env)
}

fn one_plugin(path: &Path, env: &Env) -> Result<Library, Failure> {
    let component = project::resolve(path).map_err(Failure::Plugin)?;
    // The name of the project, or of the file without its ending: that is what flows call it most likely.
    let named = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = named.file_stem().map_or("plugin".into(), |stem| stem.to_string_lossy().into_owned());
    let file = PluginFile { name, path: component, allow: Allow::default(), limits: StepLimits::default() };
    open_library(vec![file], env)
}

fn describe_all(library: &Library) -> Result<Vec<Description>, Failure> {
    library.names().map(|name| library.describe(name).map_err(Failure::Plugin)).collect()
}

fn list(descriptions: &[Description]) -> String {
    let functions = || descriptions.iter().flat_map(|plugin| plugin.functions.iter().map(move |info| (plugin, info)));
    let reference = |plugin: &Description, info: &FunctionInfo| format!("{}.{}", plugin.name, info.name);
    let width = functions().map(|(plugin, info)| reference(plugin, info).len()).max().unwrap_or(0);
    let kinds = functions().map(|(_, info)| info.kind.to_string().len()).max().unwrap_or(0);
    let mut text = String::new();
    for (plugin, info) in functions() {
        let (name, kind) = (reference(plugin, info), info.kind.to_string());
        let line = format!("{name:width$}  {kind:kinds$}  {}", info.doc.lines().next().unwrap_or_default());
        text += &format!("{}\n", line.trim_end());
    }
    text
}

fn to_text(plugin: &Description) -> String {
    // Writing to a string cannot fail, here and below.
    let mut text = String::new();
    let _ = writeln!(text, "plugin   {}", plugin.name);
    let _ = writeln!(text, "path     {}", plugin.path.display());
    let _ = writeln!(text, "size     {} bytes", plugin.size);
    let _ = writeln!(text, "digest   blake3:{}", plugin.digest);
    for (title, names) in [("exports", &plugin.exports), ("imports", &plugin.imports)] {
        for (index, name) in names.iter().enumerate() {
            let _ = writeln!(text, "{:8} {name}", if index == 0 { title } else { "" });
        }
    }
    for info in &plugin.functions {
        let _ = writeln!(text, "\nfunction {}.{} ({})", plugin.name, info.name, info.kind);
        for line in info.doc.trim().lines() {
            let _ = writeln!(text, "{}", format!("    {line}").trim_end());
        }
        if info.state_version > 0 {
            let _ = writeln!(text, "    state version {}", info.state_version);
        }
        if !info.config_schema.is_empty() {
            let _ = writeln!(text, "    config {}", info.config_schema);
        }
    }
    text
}

fn functions_to_json(plugin: &Description) -> impl Iterator<Item = Value> {
    plugin.functions.iter().map(|info| {
        let mut function = function_to_json(info);
        function["plugin"] = plugin.name.as_str().into();
        function
    })
}

fn function_to_json(info: &FunctionInfo) -> Value {
    // A schema that is no JSON is shown as the text that it is.
    let schema = match info.config_schema.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    };
    json!({
        "name": info.name,
        "kind": info.kind.to_string(),
        "doc": info.doc,
        "state_version": info.state_version,
        "config_schema": schema,
    })
}

fn to_json(plugin: &Description) -> Value {
    json!({
        "name": plugin.name,
        "path": plugin.path.display().to_string(),
        "size": plugin.size,
        "digest": plugin.digest,
        "imports": plugin.imports,
        "exports": plugin.exports,
        "functions": plugin.functions.iter().map(function_to_json).collect::<Vec<_>>(),
    })
}
