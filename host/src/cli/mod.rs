//! The command line: what a user can ask for, and the only place that lists what exists.
//!
//! Data goes to stdout, everything else to stderr. Settings: a flag counts before the environment, the environment
//! before the flow file.

mod build;
mod check;
mod exit;
mod flow;
mod graph;
mod keeping;
mod log;
mod new;
mod plan;
mod plugin;
mod recovery;
mod reference;
mod run;
mod test;
mod test_sink;

use crate::catalog::Catalog;
use crate::connectors::CONNECTORS;
use crate::dataflow::env;
use crate::operators::OPERATORS;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use exit::Failure;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// Everything that a flow may name.
const CATALOG: Catalog = Catalog { operators: OPERATORS, connectors: CONNECTORS };

/// Runs dataflows whose steps are WebAssembly components.
#[derive(Parser)]
#[command(name = "wxhost", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// What to log on stderr: off, error, warn, info, debug, trace, or filters such as "warn,plugin=debug"
    /// [default: warn, and info for what plugins say]
    #[arg(long, global = true, value_name = "LEVEL", env = "WXHOST_LOG", hide_env_values = true)]
    log: Option<String>,

    /// For people or for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Colours on stderr
    #[arg(long, global = true, value_enum, default_value_t = When::Auto, value_name = "WHEN")]
    color: When,
}

#[derive(Subcommand)]
enum Command {
    /// Run a flow
    Run(run::Args),
    /// Check a flow and print its plan: steps, ports, schemas. Nothing is run
    Check(check::Args),
    /// Tell what a flow that was changed keeps of its recovery store. Nothing is run, nothing is changed
    ///
    /// Keys are counted by reading all states.
    Plan(plan::Args),
    /// Run the tests of flows
    #[command(long_about = test::HELP)]
    Test(test::Args),
    /// Draw a flow
    Graph(graph::Args),
    /// Make a new plugin project in Rust, with a flow that runs
    New(new::Args),
    /// Build a plugin project and print where its component is
    Build(build::Args),
    /// Look into plugins
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Look into a recovery store, check it, or copy it, while no flow runs on it
    Recovery(recovery::Args),
    /// List the operators, or explain one
    Operators(reference::Args),
    /// List the connectors, or explain one
    Connectors(reference::Args),
    /// Print a completion script for a shell
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    color_stderr: bool,
}

impl Output {
    fn is_json(self) -> bool {
        self.json
    }
}

/// Runs the command that the arguments ask for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output { json: cli.format == Format::Json, color_stderr: is_colored(cli.color) };
    let done = execute(cli, output);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if stderr is gone too.
            let _ = io::stderr().write_all(failure.render(output).as_bytes());
            ExitCode::from(failure.code())
        }
    }
}

fn execute(cli: Cli, output: Output) -> Result<(), Failure> {
    let env = env::real::env();
    let line = log::start(cli.log.as_deref(), output)?;
    match cli.command {
        Command::Run(args) => run::run(&args, env, output, line),
        Command::Check(args) => check::check(&args, env, output),
        Command::Plan(args) => plan::plan(&args, &env, output),
        Command::Test(args) => test::test(&args, &env, output),
        Command::Graph(args) => graph::graph(&args, env),
        Command::New(args) => new::new(&args),
        Command::Build(args) => build::build(&args),
        Command::Plugin(command) => plugin::plugin(&command, env, output),
        Command::Recovery(args) => recovery::recovery(&args, &env, output),
        Command::Operators(args) => reference::operators(&args, output),
        Command::Connectors(args) => reference::connectors(&args, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "wxhost", &mut script);
            print(&script)
        }
    }
}

fn is_colored(when: When) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => io::stderr().is_terminal() && !is_set("NO_COLOR"),
    }
}

/// Prints data. A reader that went away, such as `head`, has what it wants.
fn print(data: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io("stdout".as_ref(), &error)),
        _ => Ok(()),
    }
}

/// Prints a JSON value.
fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(format!("{value:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_all_commands_fit_together() {
        Cli::command().debug_assert();
    }
}
