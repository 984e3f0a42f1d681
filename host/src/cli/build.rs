//! `wxhost build`: a plugin project to its component.

use super::exit::Failure;
use super::print;
use crate::plugin::project;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The directory of the project
    #[arg(default_value = ".")]
    path: PathBuf,
}

/// Builds a plugin project and prints where the component is.
///
/// # Errors
/// It is no project, or it cannot be built.
pub fn build(args: &Args) -> Result<(), Failure> {
    let artifact = project::resolve(&args.path).map_err(Failure::Plugin)?;
    print(format!("{}\n", artifact.display()))
}
