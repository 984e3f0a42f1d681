//! Why a call into a guest failed, in the words of whoever has to do something about it.

use super::bindings::types;
use super::engine::STACK;
use crate::catalog::function::StepLimits;
use crate::dataflow::error::{Domain, LogicError};
use wasmtime::{Trap, WasmBacktrace};

/// A function that is so often among the frames of a backtrace (wasmtime gives at most 20) recurses without an end.
const RECURSION: usize = 8;

/// What is known beside the error itself.
pub(super) struct Circumstances<'a> {
    /// Names the function, as in `function "wordcount.tokenize"`.
    pub(super) what: &'a str,
    pub(super) limits: &'a StepLimits,
    /// Whether the guest was refused memory during the call.
    pub(super) is_out_of_memory: bool,
    /// The end of the guest's stderr.
    pub(super) stderr: String,
}

/// Explains an error of wasmtime. The instance cannot be used again after any of them.
pub(super) fn explain(error: &wasmtime::Error, circumstances: &Circumstances<'_>) -> LogicError {
    let Circumstances { what, limits, is_out_of_memory, stderr } = circumstances;
    let frames = frames(error);
    let mut explained = match (error.downcast_ref::<Trap>(), limits.memory, limits.time_per_batch) {
        (Some(Trap::Interrupt), _, Some(limit)) => {
            LogicError::plugin(format!("{what} took longer than the time limit of {limit:?} per batch")).help(format!(
                "make it faster, or allow it more: limits = {{ time_per_batch = \"{:?}\" }}",
                limit.saturating_mul(2)
            ))
        }
        // Whatever a guest does when it gets no memory, that is why.
        (_, Some(limit), _) if *is_out_of_memory => {
            LogicError::plugin(format!("{what} needed more than the memory limit of {}", size(limit)))
                .help(format!("allow it more: limits = {{ memory = \"{}\" }}", size(limit.saturating_mul(2))))
        }
        (Some(Trap::UnreachableCodeReached), ..) => match panic_of(stderr) {
            Some(panic) => LogicError::plugin(format!("{what} panicked {panic}")),
            None => LogicError::plugin(format!("{what} trapped: unreachable executed (panic or abort)")),
        }
        .help("this is a fault in the plugin; a row that it cannot handle should be returned as an error"),
        (Some(Trap::StackOverflow), ..) => {
            let (stack, help) = (size(STACK as u64), recursion_help(recursion(&frames)));
            LogicError::plugin(format!("{what} used more than its stack of {stack}")).help(help)
        }
        // A Rust guest keeps what has an address on a second stack, at the start of its memory.
        (Some(Trap::MemoryOutOfBounds), ..) if recursion(&frames).is_some() => {
            LogicError::plugin(format!("{what} used more than its stack")).help(recursion_help(recursion(&frames)))
        }
        (Some(trap), ..) => {
            let reason = trap.to_string();
            let reason = reason.strip_prefix("wasm trap: ").unwrap_or(&reason);
            LogicError::plugin(format!("{what} trapped: {reason}")).help("this is a fault in the plugin")
        }
        (None, ..) => other(error, what, limits),
    };
    if let Some(trace) = trace(&frames) {
        explained = explained.note(trace);
    }
    if stderr.is_empty() { explained } else { explained.note(format!("the plugin's last output on stderr:\n{stderr}")) }
}

/// Turns an error that a guest returned into one of its step.
pub(super) fn returned(what: &str, error: types::Error) -> LogicError {
    let domain = match error.domain {
        types::Domain::User => Domain::User,
        types::Domain::External => Domain::External,
        types::Domain::Internal => Domain::Plugin,
    };
    LogicError::new(domain, format!("{what}: {}", error.message))
}

/// Makes the error of a guest that broke the contract.
pub(super) fn broke_contract(what: &str, lie: &str) -> LogicError {
    LogicError::plugin(format!("{what} broke the plugin contract: it returned {lie}"))
        .help("this is a fault in the plugin or in the SDK that it was written with")
}

/// Writes bytes as flows do.
pub(super) fn size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >> shift > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// Explains errors that are no traps: a guest that left, and what it handed over wrongly.
fn other(error: &wasmtime::Error, what: &str, limits: &StepLimits) -> LogicError {
    // WASI 0.2 tells success from failure only, not the number.
    if error.is::<wasmtime_wasi::I32Exit>() {
        return LogicError::plugin(format!("{what} ended its instance by exit()"))
            .help("a plugin must return, not exit; return an error instead");
    }
    let reason = error.root_cause().to_string();
    // The type of this error is private to wasmtime.
    if reason.contains("fuel allocated for hostcalls") {
        let limit = limits.memory.map_or_else(String::new, |limit| format!(" of {}", size(limit)));
        return LogicError::plugin(format!("{what} handed over more in one call than the memory limit{limit} allows"))
            .help("return less for each batch");
    }
    broke_contract(what, &format!("what cannot be read ({reason})"))
}

/// Returns the names of the functions on the guest's stack, innermost first, and how often each was there in a row.
fn frames(error: &wasmtime::Error) -> Vec<(String, usize)> {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    let mut names: Vec<(String, usize)> = Vec::new();
    for frame in frames {
        let name = match frame.func_name() {
            // In this form without the hash at the end, which tells nobody anything.
            Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
            None => format!("function {}", frame.func_index()),
        };
        match names.last_mut() {
            Some((last, count)) if *last == name => *count += 1,
            _ => names.push((name, 1)),
        }
    }
    names
}

fn trace(frames: &[(String, usize)]) -> Option<String> {
    let line = |(name, count): &(String, usize)| match count {
        1 => format!("\n  {name}"),
        _ => format!("\n  {name} ({count} times)"),
    };
    let lines: String = frames.iter().map(line).collect();
    if lines.is_empty() { None } else { Some(format!("the plugin's stack, innermost first:{lines}")) }
}

fn recursion_help(function: Option<&str>) -> String {
    match function {
        Some(function) => format!("{function} calls itself too often; give the recursion an end, or use a loop"),
        None => "look for a recursion without an end in the plugin".to_owned(),
    }
}

/// Finds a function that called itself over and over, alone or through others.
fn recursion(frames: &[(String, usize)]) -> Option<&str> {
    let times = |name: &str| frames.iter().filter(|(other, _)| other == name).map(|(_, count)| count).sum::<usize>();
    frames.iter().map(|(name, _)| name.as_str()).find(|name| times(name) >= RECURSION)
}

/// Finds the text of the last Rust panic: `at src/lib.rs:1:2: message`.
fn panic_of(stderr: &str) -> Option<String> {
    let (_, panic) = stderr.rsplit_once(" panicked at ")?;
    let (place, message) = panic.split_once('\n').unwrap_or((panic, ""));
    let message = message.split("note: run with `RUST_BACKTRACE").next().unwrap_or_default().trim();
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(format!("at {} {message}", place.trim()).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn explained(error: wasmtime::Error, is_out_of_memory: bool, stderr: &str) -> LogicError {
        let limits = StepLimits { memory: Some(256 << 20), time_per_batch: Some(Duration::from_secs(5)) };
        let what = "function \"wc.count\"";
        explain(&error, &Circumstances { what, limits: &limits, is_out_of_memory, stderr: stderr.to_owned() })
    }

    #[test]
    fn a_trap_is_told_in_plain_words() {
        let panic = "\nthread '<unnamed>' (1) panicked at src/lib.rs:3:9:\nindex out of bounds\nnote: run with `RUST_BACKTRACE=1` …";
        for (trap, out_of_memory, stderr, expected) in [
            (Trap::Interrupt, false, "", "took longer than the time limit of 5s per batch"),
            (Trap::UnreachableCodeReached, true, "", "needed more than the memory limit of 256MiB"),
            (Trap::UnreachableCodeReached, false, "", "trapped: unreachable executed (panic or abort)"),
            (Trap::UnreachableCodeReached, false, panic, "panicked at src/lib.rs:3:9: index out of bounds"),
            (Trap::StackOverflow, false, "", "used more than its stack of 1MiB"),
            (Trap::IntegerDivisionByZero, false, "", "trapped: integer divide by zero"),
        ] {
            let error = explained(trap.into(), out_of_memory, stderr);
            assert_eq!(error.message, format!("function \"wc.count\" {expected}"));
            assert_eq!(error.domain, Domain::Plugin);
            assert!(error.help.is_some());
            assert_eq!(error.notes.len(), usize::from(!stderr.is_empty()));
        }
    }

    #[test]
    fn sizes_are_written_in_the_largest_unit_that_is_exact() {
        for (bytes, expected) in
            [(256 << 20, "256MiB"), (1 << 30, "1GiB"), (1536, "1536B"), (64 << 10, "64KiB"), (0, "0B")]
        {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn a_recursion_is_found_in_the_stack() {
        let frames = |names: &[(&str, usize)]| -> Vec<_> { names.iter().map(|&(n, c)| (n.to_owned(), c)).collect() };
        assert_eq!(recursion(&frames(&[("a", 1), ("b", 19)])), Some("b"));
        assert_eq!(recursion(&frames(&[("x", 1), ("a", 4), ("b", 1), ("a", 4)])), Some("a"));
        assert_eq!(recursion(&frames(&[("a", 3), ("b", 2)])), None);
        let shown = "the plugin's stack, innermost first:\n  a (3 times)\n  b";
        assert_eq!(trace(&frames(&[("a", 3), ("b", 1)])).as_deref(), Some(shown));
        assert_eq!(trace(&[]), None);
    }
}
