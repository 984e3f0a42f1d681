//! What functions with states have in common: what they say of themselves, and states on their way into a guest.

use super::bindings::types;
use super::instance::Guest;
use super::open::Target;
use super::schema::{self, Visible};
use super::validate::{self, Lie, lie};
use crate::dataflow::error::LogicError;
use arrow::array::{Array, AsArray, BinaryArray};
use arrow::compute::concat;
use arrow::datatypes::SchemaRef;

/// How much of encoded states is handed over in one call: many, but not more than a guest can bear.
const RESTORED: usize = 32 << 20;

/// What a function said of itself when it was opened.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) output: SchemaRef,
    pub(super) reads: Vec<usize>,
    pub(super) state_version: u32,
}

impl Shape {
    /// Checks what a function, which is `a` fold or the like, said: its output, the columns it reads, the version of its
    /// states.
    ///
    /// # Errors
    /// It cannot be so.
    pub(super) fn of(
        a: &str,
        (output, reads, state_version): (types::Schema, &[u32], u32),
        visible: &Visible,
    ) -> Result<Shape, Lie> {
        if state_version == 0 {
            return lie!("the state version 0 for a {a}; they start at 1");
        }
        Ok(Shape { output: schema::schema(output)?, reads: visible.reads(reads)?, state_version })
    }
}

/// What all instances of an opened function share.
pub(super) struct Shared {
    pub(super) target: Target,
    pub(super) visible: Visible,
    pub(super) shape: Shape,
}

/// Hands states over, with the groups that they are of, in as many calls as it takes.
///
/// # Errors
/// A call failed, or a state is too large for any.
pub(super) fn in_calls(
    groups: &[u32],
    states: &BinaryArray,
    mut call: impl FnMut(&[u32], types::VarSize) -> Result<(), LogicError>,
) -> Result<(), LogicError> {
    assert_eq!(groups.len(), states.len(), "every group has a state");
    let offsets = states.value_offsets();
    let mut start = 0;
    while start < groups.len() {
        // As many as may go over in one call, and at least one.
        let most = i64::from(offsets[start]) + RESTORED as i64;
        let count = offsets[start + 1..].iter().take_while(|&&end| i64::from(end) <= most).count().max(1);
        call(&groups[start..start + count], pack(states, start, count))?;
        start += count;
    }
    Ok(())
}

/// Has a guest turn states of an older version into the current one, in as many calls as it takes. If there are none, it is
/// asked all the same: whether it could.
///
/// # Errors
/// As for `in_calls`; or the guest returns another number of states.
pub(super) fn migrate(
    guest: &mut Guest,
    states: &BinaryArray,
    mut call: impl FnMut(&mut Guest, types::VarSize) -> Result<types::VarSize, LogicError>,
) -> Result<BinaryArray, LogicError> {
    if states.is_empty() {
        let none = call(guest, types::VarSize { offsets: vec![0], data: Vec::new() })?;
        return validate::states(none, 0).map_err(|lie| guest.caught(lie));
    }
    let groups: Vec<u32> = (0..).take(states.len()).collect();
    let mut migrated: Vec<BinaryArray> = Vec::new();
    in_calls(&groups, states, |groups, states| {
        let states = call(guest, states)?;
        migrated.push(validate::states(states, groups.len()).map_err(|lie| guest.caught(lie))?);
        Ok(())
    })?;
    let arrays: Vec<&dyn Array> = migrated.iter().map(|states| states as &dyn Array).collect();
    Ok(concat(&arrays)?.as_binary().clone())
}

/// Some states as they go over.
fn pack(states: &BinaryArray, start: usize, count: usize) -> types::VarSize {
    let offsets = &states.value_offsets()[start..=start + count];
    let data = &states.value_data()[offsets[0] as usize..offsets[count] as usize];
    types::VarSize { offsets: offsets.iter().map(|offset| offset - offsets[0]).collect(), data: data.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_restored_in_calls_of_bounded_size() {
        let half = vec![0; RESTORED / 2];
        let states = [half.clone(), half.clone(), vec![1], vec![0; RESTORED + 1], vec![2]];
        let states: BinaryArray = states.iter().map(|state| Some(state.as_slice())).collect();
        let mut calls = Vec::new();
        in_calls(&[7, 8, 9, 3, 4], &states, |groups, packed| {
            assert_eq!((packed.offsets[0], *packed.offsets.last().unwrap() as usize), (0, packed.data.len()));
            assert_eq!(packed.offsets.len(), groups.len() + 1);
            calls.push(groups.to_vec());
            Ok(())
        })
        .unwrap();
        assert_eq!(calls, [vec![7, 8], vec![9], vec![3], vec![4]]);
    }
}
