//! `wxhost check`: the plan of a flow, or all that is wrong with it.

use super::exit::Failure;
use super::flow::FlowFile;
use super::{Output, print, print_json, test};
use crate::dataflow::env::Env;
use crate::plan::explain;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The flow file
    flow: PathBuf,
}

/// Checks a flow and prints its plan.
///
/// # Errors
/// The flow is refused, or one of its tests.
pub fn check(args: &Args, env: Env, output: Output) -> Result<(), Failure> {
    let file = FlowFile::read(&args.flow)?;
    let planned = file.plan(&env)?;
    test::check(&file, &planned)?;
    if output.is_json() { print_json(&explain::to_json(&planned.plan)) } else { print(explain::to_text(&planned.plan)) }
}
