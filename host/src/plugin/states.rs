//! Encoded states on their way into a guest: many in one call, but not more than it can bear.

use super::bindings::types;
use crate::dataflow::error::LogicError;

/// How much of encoded states is handed over in one call.
const RESTORED: usize = 32 << 20;

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
