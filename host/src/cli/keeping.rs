//! Where an execution is kept: flags, the environment, and `[recovery]` in the flow, which all say the same things.

use super::run::duration;
use crate::diag::Diagnostics;
use crate::recovery::block::SLICES;
use crate::recovery::store;
use crate::run::RecoveryOptions;
use crate::spec::{DurationText, Spanned, Spec, read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most files that a store has: each has a slice of the keys at least.
const MOST_PARTS: u64 = SLICES;

#[derive(Default, clap::Args)]
pub struct KeepingArgs {
    /// Keep states, and how far sources and sinks are, in this folder, and go on from there when started again
    #[arg(long, value_name = "DIR", env = "WXHOST_RECOVERY", hide_env_values = true)]
    pub recovery: Option<PathBuf>,

    /// Files of a new store, each written by a thread of its own; a store keeps their number [default: 8]
    #[arg(long, value_name = "N", env = "WXHOST_RECOVERY_PARTS", hide_env_values = true,
        value_parser = clap::value_parser!(u64).range(1..=MOST_PARTS))]
    pub recovery_parts: Option<u64>,

    /// For how long epochs before the newest one can still be gone back to, such as "1h": so far may the times be apart
    /// at which the files of a backup were copied [default: one epoch, which is the least]
    #[arg(long, value_name = "DURATION", env = "WXHOST_BACKUP_INTERVAL", hide_env_values = true, value_parser = duration)]
    pub backup_interval: Option<DurationText>,

    /// Drop the state of this step if the flow has changed so that it cannot be kept, or would be migrated. A state that
    /// goes on as it is stays, so that the same command can be given again. May be given more than once
    #[arg(long, value_name = "STEP")]
    pub drop_state: Vec<String>,
}

/// `[recovery]` in a flow.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub struct RecoverySpec {
    /// A path from the flow file's folder.
    pub dir: Option<Spanned<String>>,
    pub parts: Option<Spanned<u64>>,
    pub epoch: Option<Spanned<DurationText>>,
    pub backup_interval: Option<Spanned<DurationText>>,
}

impl RecoverySpec {
    /// Reads the table of a flow.
    ///
    /// # Errors
    /// It has unknown keys or wrong values.
    pub fn read(spec: &Spec) -> Result<RecoverySpec, Diagnostics> {
        let Some(table) = &spec.recovery else { return Ok(RecoverySpec::default()) };
        let found: RecoverySpec = read(&table.value, table.span.clone(), "[recovery]")?;
        if let Some(parts) = found.parts.as_ref().filter(|parts| !(1..=MOST_PARTS).contains(&parts.value)) {
            let message = format!("[recovery]: a store has from 1 to {MOST_PARTS} files, not {}", parts.value);
            return Err(crate::diag::Diagnostic::new("wrong-value", message).at(parts.span.clone()).into());
        }
        Ok(found)
    }
}

/// What flags and flow say together; a flag comes first. `base` is the flow file's folder.
pub fn options(args: &KeepingArgs, spec: &RecoverySpec, base: &Path) -> Option<RecoveryOptions> {
    let written = spec.dir.as_ref().map(|dir| base.join(&dir.value));
    let dir = args.recovery.clone().or(written)?;
    let parts = args.recovery_parts.or(spec.parts.as_ref().map(|parts| parts.value));
    let backup = args.backup_interval.or(spec.backup_interval.as_ref().map(|interval| interval.value));
    Some(RecoveryOptions {
        dir,
        parts: parts.unwrap_or(store::Options::default().parts),
        backup_interval: backup.map_or(Duration::ZERO, |interval| interval.0),
        drop_state: args.drop_state.iter().map(|step| step.as_str().into()).collect(),
    })
}
