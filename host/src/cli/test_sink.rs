//! `wxhost plugin test-sink`: kills a two-phase sink at every step, and looks whether each row is there once.

use super::exit::Failure;
use super::flow::open_library;
use super::{Output, print, print_json};
use crate::catalog::function::{FunctionLibrary, StepLimits};
use crate::data::ids::WorkerIndex;
use crate::data::schema::{Type, schema_of};
use crate::dataflow::env::Env;
use crate::dataflow::error::{LogicError, StepError};
use crate::dataflow::user_fn::{InstanceCx, OpenSink, SinkFn};
use crate::plugin::library::PluginFile;
use crate::plugin::project;
use crate::plugin::wasi::{Allow, AllowDir};
use crate::run::RunError;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Epochs that are written, and batches of each.
const EPOCHS: u64 = 4;
const BATCHES: u64 = 2;
/// Rows of a batch.
const ROWS: u64 = 3;

#[derive(clap::Args)]
pub struct Args {
    /// A component, or a plugin's project
    path: PathBuf,
    /// The sink in it
    function: String,
    /// The columns of the rows that are written: string, int64, float64 or bool
    #[arg(long, default_value = "value: string")]
    schema: String,
    /// The sink's configuration; {dir} stands for a folder that is new for each run
    #[arg(long, default_value = r#"{"folder": "{dir}"}"#)]
    config: String,
    /// `host:port` that the sink may connect to
    #[arg(long)]
    allow_tcp: Vec<String>,
    /// An environment variable that the sink sees
    #[arg(long)]
    allow_env: Vec<String>,
    /// A file in {dir} that is the output; what lies beside it does not count
    #[arg(long)]
    output: Option<PathBuf>,
    /// A shell command whose output shows what was written, instead of files in {dir}; {dir} stands for the folder
    #[arg(long, conflicts_with = "output")]
    check: Option<String>,
}

/// A folder that is removed at the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in the system's folder for such things.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Drives a sink through epochs, with a crash after each call to it.
///
/// # Errors
/// The sink cannot be opened, fails, or does not show after a crash what it shows without one.
pub fn test_sink(args: &Args, env: &Env, output: Output) -> Result<(), Failure> {
    let scratch = Scratch(std::env::temp_dir().join(format!("wxhost-test-sink-{:016x}", env.random.next())));
    std::fs::create_dir_all(&scratch.0).map_err(|error| Failure::io(&scratch.0, &error))?;
    let dir = AllowDir { path: scratch.0.clone(), name: scratch.0.display().to_string(), can_write: true };
    let allow = Allow { tcp: args.allow_tcp.clone(), env: args.allow_env.clone(), dirs: vec![dir] };
    let path = project::resolve(&args.path).map_err(Failure::Plugin)?;
    let file = PluginFile { name: "plugin".to_owned(), path, allow, limits: StepLimits::default() };
    let library = open_library(vec![file], env)?;
    let columns = columns(&args.schema)?;
    let limits = StepLimits { time_per_batch: None, ..StepLimits::default() };
    let mut wanted = None;
    let (mut kills, mut wrong) = (0_u64, Vec::new());
    // Epochs that are staged before the first of them is committed, and the calls before the crash.
    for (lag, mut fuel) in [(0, None), (0, Some(0)), (2, None), (2, Some(0))] {
        loop {
            let folder = scratch.0.join(kills.to_string());
            std::fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, &error))?;
            let config = args.config.replace("{dir}", &folder.display().to_string());
            let opened =
                library.open_sink(&format!("plugin.{}", args.function), &schema_of(&columns), &config, &limits);
            let opened = opened.map_err(Failure::Plugin)?;
            if !opened.two_phase {
                return Err(Failure::Usage {
                    message: format!("the sink \"{}\" is not two-phase, and so at least once", args.function),
                    help: "have it say that it is (TWO_PHASE), and stage and commit".to_owned(),
                });
            }
            let run = Run { opened: &opened, columns: &columns, env, lag };
            let died = run.through(fuel).map_err(|error| failed(error, &args.function))?;
            let seen = seen(args, &folder)?;
            match (&wanted, fuel) {
                (None, _) => wanted = Some(seen),
                (Some(wanted), _) if *wanted != seen => {
                    wrong.push(format!("{}, {lag} epochs on their way: {}", place(fuel), difference(wanted, &seen)));
                }
                _ => {}
            }
            kills += 1;
            match &mut fuel {
                Some(calls) if died => *calls += 1,
                _ => break,
            }
        }
    }
    if wanted.is_none_or(|wanted| wanted.values().all(Vec::is_empty)) {
        return Err(Failure::Usage {
            message: "the sink wrote nothing that could be compared".to_owned(),
            help: "have it write into {dir}, which --config may name, or show what it wrote with --check".to_owned(),
        });
    }
    if output.is_json() {
        print_json(&json!({ "runs": kills, "wrong": wrong }))?;
    } else if wrong.is_empty() {
        print(format!("{}: {kills} runs, each row once after every crash\n", args.function))?;
    } else {
        print(format!("{}: {} of {kills} runs are wrong\n  {}\n", args.function, wrong.len(), wrong.join("\n  ")))?;
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::Tests) }
}

fn failed(error: LogicError, function: &str) -> Failure {
    Failure::Run(RunError::Step(StepError { step: function.into(), worker: WorkerIndex(0), error: Box::new(error) }))
}

fn place(fuel: Option<u64>) -> String {
    fuel.map_or("without a crash".to_owned(), |calls| format!("killed after {calls} calls"))
}

fn columns(text: &str) -> Result<Vec<(String, Type)>, Failure> {
    let wrong = |message: String| Failure::Usage {
        message,
        help: "for example --schema \"user: string, value: float64\"".to_owned(),
    };
    let column = |text: &str| {
        let (name, ty) = text.split_once(':').ok_or_else(|| wrong(format!("{text:?} is no column")))?;
        let ty: Type = ty.trim().parse().map_err(|error| wrong(format!("column {name:?}: {error}")))?;
        match ty {
            Type::String | Type::Int64 | Type::Float64 | Type::Bool => Ok((name.trim().to_owned(), ty)),
            ty => Err(wrong(format!("rows of {ty} cannot be made here"))),
        }
    };
    text.split(',').map(column).collect()
}

/// One flow, over all its executions.
struct Run<'a> {
    opened: &'a OpenSink,
    columns: &'a [(String, Type)],
    env: &'a Env,
    lag: u64,
}

/// What is durable.
#[derive(Default)]
struct Durable {
    epoch: u64,
    position: Option<Vec<u8>>,
    /// By epoch; not all are known to be committed.
    staged: BTreeMap<u64, Vec<u8>>,
}

impl Run<'_> {
    /// Runs all epochs; the first execution dies after so many calls. Returns whether it did.
    fn through(&self, fuel: Option<u64>) -> Result<bool, LogicError> {
        let mut durable = Durable::default();
        let mut left = fuel.unwrap_or(u64::MAX);
        if self.execute(&mut durable, &mut left)?.is_some() {
            return Ok(false);
        }
        // What is committed again comes twice: whoever goes on may die, too.
        for _ in 0..2 {
            let mut sink = self.open(&durable)?;
            durable.staged.iter().try_for_each(|(epoch, staged)| sink.commit(*epoch, staged))?;
        }
        self.execute(&mut durable, &mut u64::MAX.clone())?;
        Ok(true)
    }

    fn open(&self, durable: &Durable) -> Result<Box<dyn SinkFn>, LogicError> {
        let cx = InstanceCx {
            step: "test-sink".into(),
            worker: WorkerIndex(0),
            run_id: "test".into(),
            env: self.env.clone(),
            meter: Arc::default(),
            migration: None,
        };
        let parts = self.opened.factory.list_parts()?;
        let name = parts.first().map_or("0", String::as_str);
        self.opened.factory.build_part(&cx, name, durable.position.as_deref())
    }

    /// Goes on from what is durable; None: it died, and nothing was closed.
    fn execute(&self, durable: &mut Durable, fuel: &mut u64) -> Result<Option<()>, LogicError> {
        let mut sink = self.open(durable)?;
        macro_rules! call {
            ($call:expr) => {{
                if *fuel == 0 {
                    return Ok(None);
                }
                *fuel -= 1;
                $call?
            }};
        }
        let mut uncommitted = Vec::new();
        for epoch in durable.epoch + 1..=EPOCHS {
            for batch in 0..BATCHES {
                call!(sink.write(&self.rows((epoch * BATCHES + batch) * ROWS)?));
            }
            let staged = call!(sink.pre_commit(epoch));
            let position = call!(sink.snapshot());
            if *fuel == 0 {
                return Ok(None);
            }
            durable.epoch = epoch;
            durable.position = Some(position);
            durable.staged.insert(epoch, staged);
            uncommitted.push(epoch);
            while uncommitted.first().is_some_and(|first| first + self.lag <= epoch) {
                let due = uncommitted.remove(0);
                call!(sink.commit(due, &durable.staged[&due]));
                // As the store forgets manifests, but for the newest.
                durable.staged.retain(|other, _| *other >= due);
            }
        }
        for due in uncommitted {
            call!(sink.commit(due, &durable.staged[&due]));
        }
        call!(sink.close());
        Ok(Some(()))
    }

    fn rows(&self, first: u64) -> Result<RecordBatch, LogicError> {
        let numbers = || (first..first + ROWS).map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let columns = self.columns.iter().map(|(_, ty)| -> ArrayRef {
            match ty {
                Type::Int64 => Arc::new(Int64Array::from_iter_values(numbers())),
                Type::Float64 => Arc::new(Float64Array::from_iter_values(numbers().map(|number| number as f64))),
                Type::Bool => Arc::new(BooleanArray::from_iter(numbers().map(|number| Some(number % 2 == 0)))),
                _ => Arc::new(StringArray::from_iter_values(numbers().map(|number| format!("row {number}")))),
            }
        });
        Ok(RecordBatch::try_new(schema_of(self.columns), columns.collect())?)
    }
}

/// What a run has put out: by file, or what the command says.
fn seen(args: &Args, folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, Failure> {
    if let Some(check) = &args.check {
        let command = check.replace("{dir}", &folder.display().to_string());
        let done = Command::new("sh").args(["-c", &command]).stderr(Stdio::inherit()).output();
        let done = done.map_err(|error| Failure::io(Path::new("sh"), &error))?;
        if !done.status.success() {
            return Err(Failure::Usage {
                message: format!("the command of --check failed: {}", done.status),
                help: "it has to print what the sink has written".to_owned(),
            });
        }
        return Ok(BTreeMap::from([(PathBuf::from("--check"), done.stdout)]));
    }
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).map_err(|error| Failure::io(&at, &error))?.flatten() {
            let path = entry.path();
            let inside = path.strip_prefix(folder).unwrap_or(&path).to_owned();
            let is_wanted = args.output.as_ref().is_none_or(|output| inside.starts_with(output));
            if path.is_dir() {
                folders.push(path);
            } else if is_wanted && !entry.file_name().to_string_lossy().starts_with('.') {
                files.insert(inside, std::fs::read(&path).map_err(|error| Failure::io(&path, &error))?);
            }
        }
    }
    Ok(files)
}

fn difference(wanted: &BTreeMap<PathBuf, Vec<u8>>, seen: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let all = wanted.keys().chain(seen.keys());
    let Some(path) = all.into_iter().find(|path| wanted.get(*path) != seen.get(*path)) else {
        return "the same".to_owned();
    };
    let lines = |files: &BTreeMap<PathBuf, Vec<u8>>| {
        files.get(path).map_or("nothing".to_owned(), |bytes| {
            format!("{} lines, {} bytes", memchr::memchr_iter(b'\n', bytes).count(), bytes.len())
        })
    };
    format!("{} has {}, and {} without a crash", path.display(), lines(seen), lines(wanted))
}
