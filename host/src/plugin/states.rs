//! What functions with states have in common: what they say of themselves, and states on their way into a guest.

use super::bindings::types;
use super::open::Target;
use super::schema::{self, Visible};
use super::validate::{Lie, lie};
use crate::dataflow::error::LogicError;
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
    mut groups: &[u32],
    mut states: &[Vec<u8>],
    mut call: impl FnMut(&[u32], &types::VarSize) -> Result<(), LogicError>,
) -> Result<(), LogicError> {
    assert_eq!(groups.len(), states.len(), "every group has a state");
    while !groups.is_empty() {
        let (count, packed) = pack(states)?;
        let (now, later) = groups.split_at(count);
        call(now, &packed)?;
        (groups, states) = (later, &states[count..]);
    }
    Ok(())
}

/// Puts the first states together, as many as may go over in one call and at least one.
fn pack(states: &[Vec<u8>]) -> Result<(usize, types::VarSize), LogicError> {
    let mut packed = types::VarSize { offsets: vec![0], data: Vec::new() };
    for state in states {
        if packed.offsets.len() > 1 && packed.data.len() + state.len() > RESTORED {
            break;
        }
        packed.data.extend(state);
        let end = i32::try_from(packed.data.len());
        packed.offsets.push(end.map_err(|_| LogicError::user("the state of a key is larger than 2 GiB"))?);
    }
    Ok((packed.offsets.len() - 1, packed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_restored_in_calls_of_bounded_size() {
        let half = vec![0; RESTORED / 2];
        let states = [half.clone(), half.clone(), vec![1], vec![0; RESTORED + 1], vec![2]];
        let mut calls = Vec::new();
        in_calls(&[7, 8, 9, 3, 4], &states, |groups, packed| {
            assert_eq!(*packed.offsets.last().unwrap() as usize, packed.data.len());
            assert_eq!(packed.offsets.len(), groups.len() + 1);
            calls.push(groups.to_vec());
            Ok(())
        })
        .unwrap();
        assert_eq!(calls, [vec![7, 8], vec![9], vec![3], vec![4]]);
    }
}
