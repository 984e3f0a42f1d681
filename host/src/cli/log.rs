//! Log lines on stderr, which make way for the progress line.

use super::Output;
use super::exit::Failure;
use crate::telemetry::progress::Line;
use std::io::{self, Write};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What plugins say is for the user; what this program says of itself mostly is not.
const DEFAULT: &str = "warn,plugin=info";

/// Starts logging. `level` is a level, or filters as tracing writes them.
///
/// # Errors
/// It is neither.
pub fn start(level: Option<&str>, output: Output) -> Result<Line, Failure> {
    let line = Line::default();
    let filters = match level.map(str::trim) {
        None | Some("") => DEFAULT.to_owned(),
        // A level alone is about this program and its plugins, not about the libraries below.
        Some(level @ ("debug" | "trace" | "info")) => format!("warn,wxhost={level},plugin={level}"),
        Some(filters) => filters.to_owned(),
    };
    let filter = EnvFilter::try_new(&filters).map_err(|error| Failure::Usage {
        message: format!("--log {filters:?}: {error}"),
        help: "give a level (off, error, warn, info, debug, trace) or filters such as \"warn,plugin=debug\"".to_owned(),
    })?;
    let writer = StderrBeside(line.clone());
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(output.color_stderr);
    // A second start finds the first one's subscriber in place, which happens in tests only.
    let _ = if output.is_json() {
        tracing::subscriber::set_global_default(subscriber.json().finish())
    } else {
        tracing::subscriber::set_global_default(subscriber.finish())
    };
    Ok(line)
}

/// Standard error, beside the progress line.
struct StderrBeside(Line);

impl<'a> MakeWriter<'a> for StderrBeside {
    type Writer = &'a StderrBeside;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &StderrBeside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.aside(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
