//! What a command's failure means for whoever started it: the one table of exit codes, and how errors are printed.

use super::Output;
use crate::catalog::function::FunctionError;
use crate::dataflow::error::{Domain, LogicError};
use crate::diag::Diagnostics;
use crate::recovery::error::{StoreError, Trouble};
use crate::run::RunError;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// A test failed.
const TEST_FAILED: u8 = 1;
/// What the command line itself gets wrong; clap uses the same.
const USAGE: u8 = 2;
/// Data that a step refuses, or that its plugin cannot handle.
const DATA: u8 = 65;
/// Something outside does not answer.
const UNAVAILABLE: u8 = 69;
/// A bug of ours.
const BUG: u8 = 70;
/// A file cannot be read or written.
const IO: u8 = 74;
/// Start it again: what was done so far is safe.
const RESTART: u8 = 75;
/// The flow, a plugin or the state is refused; starting it again does not help.
const REFUSED: u8 = 78;
/// A second signal, as shells say it of one that was interrupted.
pub const INTERRUPTED: i32 = 130;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// The arguments fit together for clap, but not for the command.
    Usage { message: String, help: String },
    /// A file of the user's cannot be read or written.
    Io { message: String, help: Option<String> },
    /// A flow is refused. `path` and `text` are those of the flow file.
    Flow { path: String, text: String, problems: Diagnostics },
    /// A plugin is refused.
    Plugin(FunctionError),
    /// A recovery store is refused, damaged or in use.
    Store(StoreError),
    /// An execution did not finish.
    Run(RunError),
    /// State would be lost, and it was said which.
    StateLost,
    /// Tests failed, and it was said how.
    Tests,
}

impl Failure {
    /// Makes a failure to read or write `path`.
    pub fn io(path: &Path, error: &io::Error) -> Failure {
        // The system's text without its number: "No such file or directory (os error 2)" says nothing more.
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or(&text);
        let help = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("make room, or name another place"),
            io::ErrorKind::ReadOnlyFilesystem => Some("mount it so that it can be written, or name another place"),
            _ => None,
        };
        Failure::Io { message: format!("{}: {text}", path.display()), help: help.map(str::to_owned) }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Tests => TEST_FAILED,
            Failure::Usage { .. } => USAGE,
            Failure::Io { .. } => IO,
            Failure::Flow { problems, .. } if problems.iter().all(|problem| problem.code.starts_with("io-")) => IO,
            Failure::Flow { .. } | Failure::Plugin(_) | Failure::StateLost => REFUSED,
            Failure::Store(error) => of_trouble(error.trouble),
            Failure::Run(RunError::Step(error)) => of_domain(error.error.domain),
            Failure::Run(RunError::Recovery(error)) => of_domain(error.domain),
            Failure::Run(RunError::Store(error)) => of_trouble(error.trouble),
            Failure::Run(RunError::Output(_)) => REFUSED,
            Failure::Run(RunError::Aborted) => RESTART,
            // Threads that cannot be started: the machine has none left.
            Failure::Run(RunError::Start(_)) => UNAVAILABLE,
        }
    }

    /// Writes the failure for people or programs, with a line break at its end.
    pub fn render(&self, output: Output) -> String {
        match self {
            Failure::Flow { path, text, problems } if output.is_json() => {
                format!("{:#}\n", problems.to_json(path, text))
            }
            Failure::Flow { path, text, problems } => {
                let mut rendered = problems.render(path, text, output.color_stderr);
                if problems.len() > 1 {
                    rendered += &format!("\n{}: {} problems in {path}\n", error_word(output), problems.len());
                }
                rendered
            }
            Failure::Tests | Failure::StateLost => String::new(),
            _ if output.is_json() => format!("{:#}\n", self.to_json()),
            _ => self.to_text(output),
        }
    }

    fn to_text(&self, output: Output) -> String {
        let Parts { message, notes, help, .. } = self.parts();
        let mut text = format!("{}: {message}\n", error_word(output));
        let mut line = |word: &str, what: &str| {
            let indent = " ".repeat(word.len() + 2);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{word}: {}", what.trim_end().replace('\n', &format!("\n{indent}")));
        };
        notes.iter().for_each(|note| line("note", note));
        help.iter().for_each(|help| line("help", help));
        text
    }

    fn to_json(&self) -> Value {
        let Parts { code, message, notes, help } = self.parts();
        json!([{ "code": code, "message": message, "help": help, "notes": notes }])
    }

    fn parts(&self) -> Parts {
        let parts = |code, message: &dyn std::fmt::Display, help: Option<&String>| Parts {
            code,
            message: message.to_string(),
            help: help.cloned(),
            ..Parts::default()
        };
        match self {
            Failure::Usage { message, help } => parts("usage", message, Some(help)),
            Failure::Io { message, help } => parts("io", message, help.as_ref()),
            Failure::Flow { problems, .. } => parts("flow-refused", problems, None),
            Failure::Plugin(error) => parts("plugin-refused", &error.message, error.help.as_ref()),
            Failure::Store(error) | Failure::Run(RunError::Store(error)) => {
                let code = match error.trouble {
                    Trouble::Refused => "store-refused",
                    Trouble::Damaged => "store-damaged",
                    Trouble::Busy => "store-busy",
                    Trouble::Io => "io",
                };
                Parts { notes: error.notes.clone(), ..parts(code, error, error.help.as_ref()) }
            }
            Failure::Run(RunError::Step(error) | RunError::Output(error)) => {
                Parts { notes: error.error.notes.clone(), ..parts("step-failed", error, error.error.help.as_ref()) }
            }
            Failure::Run(RunError::Recovery(error)) => {
                Parts { notes: error.notes.clone(), ..parts("recovery-failed", error, error.help.as_ref()) }
            }
            Failure::Run(error) => parts("run-failed", error, None),
            Failure::StateLost => parts("state-lost", &"state would be lost", None),
            Failure::Tests => parts("tests-failed", &"tests failed", None),
        }
    }
}

impl From<LogicError> for Failure {
    fn from(error: LogicError) -> Self {
        Failure::Run(RunError::Recovery(Box::new(error)))
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Failure::Run(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}

#[derive(Default)]
struct Parts {
    code: &'static str,
    message: String,
    notes: Vec<String>,
    help: Option<String>,
}

fn of_domain(domain: Domain) -> u8 {
    match domain {
        Domain::User | Domain::Plugin => DATA,
        Domain::External => UNAVAILABLE,
        Domain::Io => IO,
        Domain::Internal => BUG,
    }
}

fn of_trouble(trouble: Trouble) -> u8 {
    match trouble {
        Trouble::Refused | Trouble::Damaged => REFUSED,
        Trouble::Busy => UNAVAILABLE,
        Trouble::Io => IO,
    }
}

fn error_word(output: Output) -> &'static str {
    if output.color_stderr { "\u{1b}[1m\u{1b}[91merror\u{1b}[0m" } else { "error" }
}

/// Makes a failure to start a thread.
pub fn no_thread(error: &io::Error) -> Failure {
    Failure::Run(RunError::Start(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ids::WorkerIndex;
    use crate::dataflow::error::StepError;
    use crate::diag::Diagnostic;
    use expect_test::{Expect, expect};

    const PLAIN: Output = Output { json: false, color_stderr: false };

    fn step(error: LogicError) -> Failure {
        Failure::Run(StepError { step: "paid".into(), worker: WorkerIndex(1), error: Box::new(error) }.into())
    }

    fn flow(codes: &[&'static str]) -> Failure {
        let problems = codes.iter().map(|code| Diagnostic::new(code, "wrong")).collect();
        Failure::Flow { path: "flow.toml".to_owned(), text: String::new(), problems }
    }

    #[test]
    fn every_failure_has_the_code_of_its_kind() {
        for (failure, code) in [
            (Failure::Tests, 1),
            (Failure::Usage { message: String::new(), help: String::new() }, 2),
            (step(LogicError::user("")), 65),
            (step(LogicError::plugin("")), 65),
            (step(LogicError::external("")), 69),
            (step(LogicError::internal("")), 70),
            (step(LogicError::io("", &io::Error::other(""))), 74),
            (Failure::Io { message: String::new(), help: None }, 74),
            (Failure::Run(RunError::Recovery(Box::new(LogicError::io("", &io::Error::other(""))))), 74),
            (flow(&["io-not-found", "io-is-directory"]), 74),
            (flow(&["io-not-found", "unknown-key"]), 78),
            (flow(&["unknown-key"]), 78),
            (Failure::Plugin(FunctionError { message: String::new(), help: None }), 78),
            (Failure::Store(StoreError::new(Trouble::Refused, "", "")), 78),
            (Failure::Store(StoreError::new(Trouble::Damaged, "", "")), 78),
            (Failure::Store(StoreError::new(Trouble::Busy, "", "")), 69),
            (Failure::Store(StoreError::new(Trouble::Io, "", "")), 74),
            (Failure::from(StoreError::new(Trouble::Busy, "", "")), 69),
            (Failure::from(StoreError::new(Trouble::Io, "", "")), 74),
            (Failure::from(StoreError::new(Trouble::Refused, "", "")), 78),
            (Failure::from(StoreError::damaged("", "")), 78),
            (Failure::StateLost, 78),
            (Failure::Run(RunError::Aborted), 75),
            (no_thread(&io::Error::other("")), 69),
        ] {
            assert_eq!(failure.code(), code, "{failure:?}");
        }
    }

    fn check(failure: &Failure, output: Output, expect: &Expect) {
        expect.assert_eq(&failure.render(output));
    }

    #[test]
    fn an_error_is_followed_by_what_is_known_and_what_to_do() {
        let error = LogicError::user("no number").at(Some("in.txt:3".to_owned())).note("first\nsecond").help("mend it");
        check(
            &step(error.clone()),
            PLAIN,
            &expect![[r#"
            error: step "paid", in.txt:3: no number
            note: first
                  second
            help: mend it
        "#]],
        );
        check(
            &step(error),
            Output { json: true, ..PLAIN },
            &expect![[r#"
            [
              {
                "code": "step-failed",
                "help": "mend it",
                "message": "step \"paid\", in.txt:3: no number",
                "notes": [
                  "first\nsecond"
                ]
              }
            ]
        "#]],
        );
        check(
            &flow(&["a", "b"]),
            PLAIN,
            &expect![[r#"
            error[a]: wrong
            --> flow.toml

            error[b]: wrong
            --> flow.toml

            error: 2 problems in flow.toml
        "#]],
        );
    }
}
