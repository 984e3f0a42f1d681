//! End-to-end tests: the real program on real files.

// What the others share: temporary folders, the program, plugins built once.
mod support;

// Commands other than run.
mod cli;
// Flows that were changed, and plugins with newer states, that go on from what was kept.
#[cfg(unix)]
mod changed_flows;
// The example flows.
mod examples;
// `wxhost check` on every flow of tests/check, compared with the text beside it.
mod check;
// Every folder of tests/flows as a flow, with one worker and with three.
mod flows;
// Each of them once more, with recovery, and run again.
mod kept_flows;
// Disks that are full or read-only.
#[cfg(target_os = "linux")]
mod full_disk;
// Kills at random moments, and at every call of the file system.
#[cfg(target_os = "linux")]
mod kill_points;
mod kills;
// What a flow takes from the machine while it waits, as Linux counts it.
#[cfg(target_os = "linux")]
mod memory;
// `wxhost new`: what it refuses.
mod new;
// `wxhost plan`: what a changed flow keeps.
mod plan;
// A plugin in Python beside one in Rust.
mod polyglot;
// Flows that are kept, stopped and gone on with.
#[cfg(unix)]
mod recovery;
// Projects outside of this workspace.
mod project;
// What other programs read of what was written.
mod readers;
// Plugins that are none.
mod refused_plugins;
// SIGINT and SIGTERM to sources without an end.
mod signals;
// `wxhost test`: which tests it runs, and what it tells.
mod test_command;
// A sink of a plugin that is killed at every step.
mod test_sink;
// Who may import whom, how long files are, what every declaration has.
mod tidy;
