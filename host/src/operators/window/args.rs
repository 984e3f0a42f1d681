//! The arguments that all window operators share, and what they come to once they are checked.

use super::clock::{Clock, Stamp};
use super::windower::Windower;
use crate::catalog::cx::{CheckCx, Up, column};
use crate::catalog::function::FunctionKind;
use crate::data::schema::{Type, describe};
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::{DurationText, Node, Spanned, TimestampText};
use arrow::datatypes::SchemaRef;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Longer windows and gaps than from the first instant to the last are refused, so that no sum of times runs over.
const LONGEST: Duration = Duration::from_secs(10_000 * 366 * 86_400);
/// More windows at a time are refused.
const MOST_WINDOWS: u128 = 100_000;
const EVERY: Duration = Duration::from_secs(1);
const FORGET_AFTER: Duration = Duration::from_secs(86_400);

/// The arguments of a window operator, beside its own.
#[derive(serde::Deserialize)]
pub(in super::super) struct WindowArgs {
    clock: Node,
    window: Spanned<WindowerArgs>,
    ordered: Option<Spanned<bool>>,
    #[serde(default)]
    late: Late,
    with: Option<Spanned<Vec<With>>>,
    emit: Option<Spanned<String>>,
    every: Option<Spanned<DurationText>>,
    forget_after: Option<Spanned<DurationText>>,
}

#[derive(serde::Deserialize)]
struct WindowerArgs {
    tumbling: Option<Spanned<DurationText>>,
    sliding: Option<Spanned<DurationText>>,
    session: Option<Spanned<DurationText>>,
    every: Option<Spanned<DurationText>>,
    align_to: Option<Spanned<TimestampText>>,
}

/// The forms of `clock` that are tables.
#[derive(serde::Deserialize)]
struct ClockArgs {
    event: Option<Spanned<String>>,
    #[serde(rename = "fn")]
    function: Option<Spanned<String>>,
    config: Option<serde_json::Value>,
    #[serde(default)]
    wait: DurationText,
    #[serde(default)]
    idle: Idle,
    #[serde(default)]
    watermark: Scope,
}

/// What becomes of a watermark while the input is idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Idle {
    #[default]
    Advance,
    Hold,
}

/// What has a watermark of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    #[default]
    Key,
    Stream,
}

/// Which rows are late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Late {
    /// Those behind the watermark.
    #[default]
    Watermark,
    /// Those whose window has closed.
    Window,
}

/// A column that is set beside those of the logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum With {
    WindowId,
    OpenTime,
    CloseTime,
}

impl With {
    pub fn column(self) -> (String, Type) {
        match self {
            With::WindowId => ("window_id".to_owned(), Type::Int64),
            With::OpenTime => ("open_time".to_owned(), Type::Timestamp),
            With::CloseTime => ("close_time".to_owned(), Type::Timestamp),
        }
    }
}

/// In what order rows enter their windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Order {
    /// As the argument `ordered` says: by their times, which is the default, or as they come.
    Chosen,
    /// As they come, unless the argument `ordered` says by their times.
    Offered,
    /// As they come; there is no argument.
    Arrival,
}

/// What the argument `emit` means to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Early {
    /// `"running"`: early results, by [`super::logic::WindowLogic::early`].
    Offered,
    /// It can only be `"final"`, for this reason.
    Refused(&'static str),
    /// The operator reads it itself, and makes early results of its own; `every` is refused.
    Own,
}

/// The windows of a step, checked.
pub(in super::super) struct Windowing {
    pub(super) rules: Rules,
    /// Whether the watermark is that of the whole stream, and not each key's own.
    pub(super) per_stream: bool,
    /// How the times of each input's rows are found; none with the system clock.
    pub(super) stamps: Vec<Stamp>,
    pub(super) sides: Vec<Side>,
    /// The name of the key.
    pub(super) key: Arc<str>,
    pub(super) with: Spanned<Vec<With>>,
    pub(super) notes: Vec<String>,
    /// Arguments that say nothing of what is kept from one execution to the next.
    pub(super) ignores: &'static [&'static str],
}

/// What decides which rows are in which windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub clock: Clock,
    pub windower: Windower,
    /// Whether rows enter their windows by their times.
    pub ordered: bool,
    pub late: Late,
    /// How often early results may come; none: not at all.
    pub early: Option<Duration>,
    /// The system time without rows, in microseconds, after which a key is forgotten.
    pub forget_after: i64,
}

/// An input.
pub(super) struct Side {
    pub name: String,
    pub span: Range<usize>,
    pub schema: SchemaRef,
}

impl Windowing {
    /// Checks the arguments for the upstreams of a step, which must all have a key.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn check(cx: &CheckCx<'_>, args: &WindowArgs, order: Order, early: Early) -> Result<Windowing, Diagnostics> {
        let mut problems = Diagnostics::new();
        for up in cx.ups.iter().filter(|up| up.ty.key.is_none()) {
            problems.extend(cx.unkeyed(up));
        }
        let key = cx.ups.iter().find_map(|up| up.ty.key.clone());
        let windowing = problems.take(Self::check_keyed(cx, args, order, early, key.unwrap_or_else(|| "key".into())));
        match windowing {
            Some(windowing) => problems.into_result(windowing),
            None => Err(problems),
        }
    }

    /// As [`Windowing::check`], of a step that keys its rows itself, by `key`.
    ///
    /// # Errors
    /// As for [`Windowing::check`].
    pub fn check_keyed(
        cx: &CheckCx<'_>,
        args: &WindowArgs,
        order: Order,
        early: Early,
        key: Arc<str>,
    ) -> Result<Windowing, Diagnostics> {
        let mut problems = Diagnostics::new();
        let ignores: &[&str] = match early {
            Early::Own => &["with", "forget_after"],
            Early::Offered | Early::Refused(_) => &["with", "forget_after", "emit", "every"],
        };
        let clock = problems.take(read_clock(cx, &cx.ups, &args.clock));
        let windower = problems.take(check_windower(cx, &args.window));
        let ordered = problems.take(check_order(cx, args.ordered.as_ref(), order));
        let early = problems.take(check_early(cx, args, early));
        let forget_after = problems.take(check_forget_after(cx, args.forget_after.as_ref()));
        let found = (clock, windower, ordered, early, forget_after, problems.is_empty());
        let (
            Some((clock, stamps, notes, per_stream)),
            Some(windower),
            Some(ordered),
            Some(early),
            Some(forget_after),
            true,
        ) = found
        else {
            return Err(problems);
        };
        let side = |up: &Up| Side { name: up.name.clone(), span: up.span.clone(), schema: up.ty.schema.clone() };
        let forget_after = micros(forget_after);
        let rules = Rules { clock, windower, ordered, late: args.late, early, forget_after };
        let sides = cx.ups.iter().map(side).collect();
        let with = args.with.clone().unwrap_or_default();
        Ok(Windowing { rules, per_stream, stamps, sides, key, with, notes, ignores })
    }
}

/// Checks the argument `forget_after`.
///
/// # Errors
/// It is zero.
pub(in super::super) fn check_forget_after(
    cx: &CheckCx<'_>,
    forget_after: Option<&Spanned<DurationText>>,
) -> Result<Duration, Diagnostics> {
    if let Some(zero) = forget_after.filter(|time| time.0.is_zero()) {
        let help = "a key must be remembered for a while, or its late rows are not known as such";
        return Err(wrong(cx, "\"forget_after\" is zero", &zero.span).help(help).into());
    }
    Ok(forget_after.map_or(FORGET_AFTER, |time| time.0))
}

fn wrong(cx: &CheckCx<'_>, message: &str, span: &Range<usize>) -> Diagnostic {
    Diagnostic::new("wrong-window", format!("{}: {message}", cx.what())).at(span.clone())
}

const CLOCKS: &str = "write clock = \"system\", or clock = { event = \"<column>\", wait = \"10s\" }";

/// Checks the argument `clock` for some upstreams of a step: gives the clock, how the times of each upstream's rows are
/// found (not at all, with the system clock), and notes.
///
/// # Errors
/// All that is wrong with it, and a watermark of the whole stream.
pub(in super::super) fn check_clock(
    cx: &CheckCx<'_>,
    ups: &[Up],
    clock: &Node,
) -> Result<(Clock, Vec<Stamp>, Vec<String>), Diagnostics> {
    let (clock_of, stamps, notes, per_stream) = read_clock(cx, ups, clock)?;
    if per_stream {
        let message = format!("\"{}\" goes by the watermark of each key", cx.step.op.value);
        return Err(wrong(cx, &message, &clock.span).help("leave out \"watermark\"").into());
    }
    Ok((clock_of, stamps, notes))
}

/// As [`check_clock`], and whether the watermark is that of the whole stream.
fn read_clock(
    cx: &CheckCx<'_>,
    ups: &[Up],
    clock: &Node,
) -> Result<(Clock, Vec<Stamp>, Vec<String>, bool), Diagnostics> {
    if let Some(name) = clock.as_str() {
        return match name {
            "system" => Ok((Clock::System, Vec::new(), Vec::new(), false)),
            other => Err(wrong(cx, &format!("there is no clock {other:?}"), &clock.span).help(CLOCKS).into()),
        };
    }
    let args: ClockArgs = clock.read_as(&format!("\"clock\" of {}", cx.what()))?;
    let mut problems = Diagnostics::new();
    let (mut stamps, mut notes) = (Vec::new(), Vec::new());
    match (&args.event, &args.function) {
        (Some(event), None) => {
            if args.config.is_some() {
                problems.push(wrong(cx, "\"config\" goes with \"fn\"", &clock.span).help("leave it out"));
            }
            for up in ups {
                stamps.extend(problems.take(stamp_of_column(cx, up, event)));
            }
        }
        (None, Some(function)) => {
            for up in ups {
                if let Some((stamp, note)) = problems.take(stamp_by_function(cx, up, function, args.config.as_ref())) {
                    stamps.push(stamp);
                    notes.push(note);
                }
            }
        }
        _ => problems.push(wrong(cx, "a clock has either \"event\" or \"fn\"", &clock.span).help(CLOCKS)),
    }
    let clock = Clock::Event { wait: micros(args.wait.0), advances: args.idle == Idle::Advance };
    problems.into_result((clock, stamps, notes, args.watermark == Scope::Stream))
}

fn stamp_of_column(cx: &CheckCx<'_>, up: &Up, event: &Spanned<String>) -> Result<Stamp, Diagnostics> {
    let (index, ty) = column(&up.ty.schema, event, &of_up(cx, up))?;
    Stamp::of_column(index, &event.value, &ty).ok_or_else(|| {
        let message = format!("{}: column \"{}\" is {ty}, which is no time", of_up(cx, up), event.value);
        let help = "take a column of type timestamp or date, or of text such as 2022-01-02T03:04:05Z; other forms are \
            read by a step before it, with op = \"parse\"";
        Diagnostic::new("wrong-window", message).at(event.span.clone()).help(help).into()
    })
}

fn stamp_by_function(
    cx: &CheckCx<'_>,
    up: &Up,
    function: &Spanned<String>,
    config: Option<&serde_json::Value>,
) -> Result<(Stamp, String), Diagnostics> {
    let open = cx.transform(function, &[FunctionKind::Map], &up.ty.schema, config)?;
    let is_time = open.output.fields().len() == 1 && Type::of(open.output.field(0)) == Type::Timestamp;
    if !is_time {
        let gives = describe(&open.output);
        let message = format!("{}: \"{}\" returns {gives}, wanted one timestamp", of_up(cx, up), function.value);
        return Err(Diagnostic::new("wrong-function", message).at(function.span.clone()).into());
    }
    let note = super::super::transform::reads(&function.value, &open.reads, &up.ty.schema);
    Ok((Stamp::Call(open), note))
}

/// The step, and of several upstreams which.
fn of_up(cx: &CheckCx<'_>, up: &Up) -> String {
    match cx.ups.len() {
        1 => cx.what(),
        _ => format!("{}, rows of \"{}\"", cx.what(), up.name),
    }
}

fn check_windower(cx: &CheckCx<'_>, args: &Spanned<WindowerArgs>) -> Result<Windower, Diagnostics> {
    let mut problems = Diagnostics::new();
    for time in [&args.tumbling, &args.sliding, &args.session, &args.every].into_iter().flatten() {
        if time.value.0 > LONGEST {
            problems.push(wrong(cx, "it is longer than 10,000 years", &time.span).help("take a shorter time"));
        }
    }
    for time in [&args.tumbling, &args.sliding, &args.every].into_iter().flatten() {
        if time.value.0.is_zero() {
            problems.push(wrong(cx, "a window of no length holds nothing", &time.span).help("take a longer time"));
        }
    }
    let kinds = "write window = { tumbling = \"5s\" }, { sliding = \"10s\", every = \"5s\" } or { session = \"30s\" }";
    let mut unused = |key: &str, span: Option<&Range<usize>>, goes_with: &str| {
        if let Some(span) = span {
            let message = format!("{}: \"{key}\" goes with {goes_with}", cx.what());
            problems.push(Diagnostic::new("unused-key", message).at(span.clone()).help("leave it out"));
        }
    };
    let every = args.every.as_ref();
    let align_to = args.align_to.as_ref().map_or(0, |align_to| align_to.value.0);
    let windower = match (&args.tumbling, &args.sliding, &args.session) {
        (Some(length), None, None) => {
            unused("every", every.map(|every| &every.span), "\"sliding\"");
            Windower::tumbling(micros(length.0), align_to)
        }
        (None, Some(length), None) => {
            let Some(every) = every else {
                let help = "say how often a window begins: { sliding = \"10s\", every = \"5s\" }";
                problems.push(wrong(cx, "missing \"every\" beside \"sliding\"", &args.span).help(help));
                return Err(problems);
            };
            let (length, step) = (length.0, every.value.0);
            if step > length {
                let help = "rows between windows would be in none: \"every\" is at most the length";
                problems.push(wrong(cx, "\"every\" is longer than the window", &every.span).help(help));
            } else if !step.is_zero() && length.as_micros().div_ceil(step.as_micros()) > MOST_WINDOWS {
                let message = format!("each row would be in more than {MOST_WINDOWS} windows");
                problems.push(wrong(cx, &message, &every.span).help("let windows begin less often"));
            }
            Windower::sliding(micros(length), micros(step), align_to)
        }
        (None, None, Some(gap)) => {
            unused("every", every.map(|every| &every.span), "\"sliding\"");
            unused("align_to", args.align_to.as_ref().map(|align_to| &align_to.span), "\"tumbling\" or \"sliding\"");
            Windower::session(micros(gap.0))
        }
        _ => {
            problems
                .push(wrong(cx, "a window is one of \"tumbling\", \"sliding\", \"session\"", &args.span).help(kinds));
            return Err(problems);
        }
    };
    problems.into_result(windower)
}

fn check_order(cx: &CheckCx<'_>, ordered: Option<&Spanned<bool>>, order: Order) -> Result<bool, Diagnostics> {
    match (ordered, order) {
        (ordered, Order::Chosen) => Ok(ordered.is_none_or(|ordered| ordered.value)),
        (ordered, Order::Offered) => Ok(ordered.is_some_and(|ordered| ordered.value)),
        (None, Order::Arrival) => Ok(false),
        (Some(ordered), Order::Arrival) => {
            let message = format!("{}: \"{}\" takes rows as they come", cx.what(), cx.step.op.value);
            let help = "leave \"ordered\" out; \"fold_window\" can take rows by their times";
            Err(Diagnostic::new("unused-key", message).at(ordered.span.clone()).help(help).into())
        }
    }
}

/// How often early results may come, if they are wanted.
fn check_early(cx: &CheckCx<'_>, args: &WindowArgs, early: Early) -> Result<Option<Duration>, Diagnostics> {
    let is_running = match (early, &args.emit) {
        (Early::Own, _) | (_, None) => false,
        (_, Some(emit)) if emit.value == "final" => false,
        (Early::Offered, Some(emit)) if emit.value == "running" => true,
        (Early::Refused(why), Some(emit)) if emit.value == "running" => {
            let message = format!("{}: \"{}\" gives no early results: {why}", cx.what(), cx.step.op.value);
            return Err(Diagnostic::new("unused-key", message).at(emit.span.clone()).help("leave it out").into());
        }
        (_, Some(emit)) => {
            let message = format!("\"emit\" is \"final\" or \"running\", not {:?}", emit.value);
            return Err(wrong(cx, &message, &emit.span).into());
        }
    };
    match &args.every {
        Some(every) if !is_running => {
            let message = format!("{}: \"every\" goes with early results", cx.what());
            let help = match early {
                Early::Offered => "write emit = \"running\", or leave it out",
                Early::Refused(_) | Early::Own => "leave it out",
            };
            Err(Diagnostic::new("unused-key", message).at(every.span.clone()).help(help).into())
        }
        every => Ok(is_running.then(|| every.as_ref().map_or(EVERY, |every| every.value.0))),
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
