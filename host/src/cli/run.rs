//! `wxhost run`: a flow from its start to its end.

use super::exit::{Failure, INTERRUPTED};
use super::flow::FlowFile;
use super::keeping::{self, KeepingArgs};
use super::{Output, exit};
use crate::dataflow::env::Env;
use crate::plan::{Plan, PlannedStep};
use crate::recovery::savepoint;
use crate::run::{Handle, Options, Report};
use crate::spec::{DurationText, Node, Spec, StepSpec, Value};
use crate::telemetry::progress::{Line, Progress, REFRESH, Watched};
use crate::telemetry::summary::{StepSummary, Summary};
use clap::ValueEnum;
use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The epoch interval where nobody gives one.
const EPOCH: Duration = Duration::from_secs(10);
const KEPT_EPOCH: Duration = Duration::from_secs(1);
/// More threads than any machine has; a mistyped number must not start millions.
const MOST_WORKERS: usize = 1024;

#[derive(clap::Args)]
pub struct Args {
    /// The flow file
    flow: PathBuf,

    /// Worker threads [default: 1]
    #[arg(short, long, value_name = "N", env = "WXHOST_WORKERS", hide_env_values = true, value_parser = workers)]
    workers: Option<NonZeroUsize>,

    /// How long an epoch lasts, such as "10s" or "500ms" [default: 1s with recovery, else 10s]
    #[arg(long, value_name = "DURATION", env = "WXHOST_EPOCH", hide_env_values = true, value_parser = duration)]
    epoch: Option<DurationText>,

    #[command(flatten)]
    keeping: KeepingArgs,

    /// Make the recovery store of this savepoint, a folder that "wxhost recovery savepoint" made, unless it was made of
    /// it before
    #[arg(long, value_name = "PATH")]
    from_savepoint: Option<PathBuf>,

    /// Show no progress line; there is one only if stderr is a terminal
    #[arg(long)]
    no_progress: bool,

    /// Whether to end with a table of what each step did
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_value = "always",
        default_missing_value = "always", value_enum)]
    summary: ShowSummary,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShowSummary {
    Always,
    Never,
}

fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let number: Option<NonZeroUsize> = text.parse().ok();
    number.filter(|number| number.get() <= MOST_WORKERS).ok_or(format!("expected a number from 1 to {MOST_WORKERS}"))
}

pub(super) fn duration(text: &str) -> Result<DurationText, String> {
    DurationText::parse(text).map_err(|error| format!("expected a duration such as \"10s\": {error}"))
}

/// Runs a flow.
///
/// # Errors
/// The flow is refused, or it fails.
pub fn run(args: &Args, env: Env, output: Output, line: Line) -> Result<(), Failure> {
    let planned = FlowFile::read(&args.flow)?.plan(&env)?;
    let recovery = keeping::options(&args.keeping, &planned.kept, &planned.base);
    if let Some(savepoint) = &args.from_savepoint {
        let Some(recovery) = &recovery else {
            let message = "--from-savepoint says what a recovery store is made from, and there is none".to_owned();
            return Err(Failure::Usage { message, help: "say where it is to be: --recovery DIR".to_owned() });
        };
        savepoint::restore_once(savepoint, &recovery.dir, &env)?;
    }
    let settings = &planned.spec.run;
    let workers = args.workers.or(settings.workers.as_ref().map(|workers| workers.value));
    let epoch = args.epoch.or(planned.kept.epoch.as_ref().or(settings.epoch.as_ref()).map(|epoch| epoch.value));
    let usual = if recovery.is_some() { KEPT_EPOCH } else { EPOCH };
    let options = Options {
        workers: workers.map_or(1, NonZeroUsize::get),
        epoch: epoch.map_or(usual, |epoch| epoch.0),
        recovery,
        env: env.clone(),
    };
    let is_watched = !args.no_progress && io::stderr().is_terminal() && !prints_on_terminal(&planned.spec);
    let plan = Arc::new(planned.plan);
    let handle = Handle::new(&plan, &options)?;
    drain_on_signal(&handle, &env, &line)?;
    let watch = is_watched.then(|| Watch::start(&plan, &env, line)).transpose()?;
    let done = handle.run(&plan, &options);
    if let Some(watch) = watch {
        watch.end();
    }
    let report = done?;
    if output.is_json() || args.summary == ShowSummary::Always {
        let summary = summary(&plan, &report, options.workers);
        let text = if output.is_json() { format!("{:#}\n", summary.to_json()) } else { summary.to_text() };
        // A summary that nobody can read is no failure of the flow.
        let _ = io::stderr().write_all(text.as_bytes());
    }
    Ok(())
}

fn summary<'a>(plan: &'a Plan, report: &Report, workers: usize) -> Summary<'a> {
    let steps = plan.steps.iter().zip(&report.steps).map(|(step, (_, figures))| StepSummary {
        name: &step.id.0,
        op: step.op,
        is_source: is_source(step),
        is_sink: is_sink(step),
        figures: figures.clone(),
    });
    Summary { flow: &plan.flow.0, workers, elapsed: report.elapsed, steps: steps.collect() }
}

fn is_source(step: &PlannedStep) -> bool {
    step.ups.is_empty()
}

fn is_sink(step: &PlannedStep) -> bool {
    let own =
        step.ports.iter().enumerate().filter(|(index, port)| Some(*index) != step.error_port && !port.name.is_empty());
    own.count() == 0
}

/// Says whether rows go to the terminal, which a progress line would cut to pieces. Stderr is one.
fn prints_on_terminal(spec: &Spec) -> bool {
    let is_text = |node: &Node, text: &str| matches!(&node.value, Value::String(found) if found == text);
    let goes_to_stdout = |step: &StepSpec| match step.args.get("sink") {
        Some(Node { value: Value::Table(table), .. }) => table.get("stdout").is_some(),
        Some(sink) => is_text(sink, "stdout"),
        None => step.args.get("to").is_some_and(|to| is_text(to, "stdout")),
    };
    spec.steps.iter().any(|step| match goes_to_stdout(step) {
        true => io::stdout().is_terminal(),
        false => step.op.value.starts_with("inspect"),
    })
}

/// At the first signal the flow finishes what is under way, at the second one everything stops at once.
fn drain_on_signal(handle: &Handle, env: &Env, line: &Line) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| Failure::io("signals".as_ref(), &error))?;
    let (handle, line) = (handle.clone(), line.clone());
    let wait = move || {
        let mut is_draining = false;
        for _ in signals.forever() {
            if is_draining {
                line.clear();
                std::process::exit(INTERRUPTED);
            }
            is_draining = true;
            let say = || writeln!(io::stderr(), "finishing what is under way; a second signal stops at once");
            // Said first, since the flow may be done before the next line. Draining does not depend on anybody
            // being told.
            let _ = line.aside(say);
            handle.drain();
        }
    };
    spawn(env, "signals", wait)
}

fn spawn(env: &Env, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    env.spawner.spawn(name, Box::new(body)).map_err(|error| exit::no_thread(&error))
}

/// The thread that draws the progress line.
struct Watch {
    stop: Sender<()>,
    stopped: Receiver<()>,
}

impl Watch {
    fn start(plan: &Plan, env: &Env, line: Line) -> Result<Watch, Failure> {
        let watched = plan.steps.iter().map(|step| Watched {
            is_source: is_source(step),
            is_sink: is_sink(step),
            meter: step.meter.clone(),
        });
        let mut progress = Progress::new(watched.collect());
        let clock = env.clock.clone();
        let started = clock.elapsed();
        let (stop, stopping) = channel::bounded::<()>(0);
        let (done, stopped) = channel::bounded::<()>(0);
        line.show();
        let draw = move || {
            let _done = done;
            while stopping.recv_timeout(REFRESH) == Err(RecvTimeoutError::Timeout) {
                line.set(progress.text(clock.elapsed().saturating_sub(started)));
            }
            line.clear();
        };
        spawn(env, "progress", draw)?;
        Ok(Watch { stop, stopped })
    }

    /// Takes the line away, so that what follows is not mixed with it.
    fn end(self) {
        drop(self.stop);
        // Ends when the thread drops its end.
        let _ = self.stopped.recv();
    }
}
