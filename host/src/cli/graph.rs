//! `wxhost graph`: a picture of a flow.

use super::exit::Failure;
use super::flow::FlowFile;
use super::print;
use crate::dataflow::env::Env;
use crate::plan::graph::{to_dot, to_json, to_mermaid, to_svg};
use clap::ValueEnum;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The flow file
    flow: PathBuf,

    /// In which language
    #[arg(long = "as", value_enum, default_value_t = Language::Mermaid, value_name = "LANGUAGE")]
    language: Language,

    /// The file to write, instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Mermaid,
    Dot,
    Svg,
    Json,
}

/// Draws a flow.
///
/// # Errors
/// The flow is refused, or the file cannot be written.
pub fn graph(args: &Args, env: Env) -> Result<(), Failure> {
    let plan = FlowFile::read(&args.flow)?.plan(&env)?.plan;
    let text = match args.language {
        Language::Mermaid => to_mermaid(&plan),
        Language::Dot => to_dot(&plan),
        Language::Svg => to_svg(&plan),
        Language::Json => format!("{:#}\n", to_json(&plan)),
    };
    match &args.output {
        Some(path) => std::fs::write(path, text).map_err(|error| Failure::io(path, &error)),
        None => print(text),
    }
}
