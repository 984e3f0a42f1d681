//! Ids of sessions of keys that were forgotten, so that none is given out twice to a key.
//!
//! They are counted by group of keys, which is what moves to another worker as a whole. A key that is forgotten has no
//! state in the recovery store any more, so what is known of its group stays there as a *memo*: in place of the state of
//! one such key, the one with the greatest ids.

use crate::data::key::group_of;
use std::collections::BTreeMap;

/// The least ids that no session of a forgotten key has.
#[derive(Default)]
pub(super) struct Forgotten {
    groups: BTreeMap<u64, Ids>,
    is_tracking: bool,
    /// Keys that had a memo and no longer have.
    stale: Vec<Box<str>>,
}

#[derive(Default)]
struct Ids {
    next: i64,
    /// The key in whose place the memo stands. None: there is none, since a key that has state says as much.
    memo: Option<Box<str>>,
}

impl Forgotten {
    /// From now on there are memos.
    pub fn track(&mut self) {
        self.is_tracking = true;
    }

    /// The first id for the sessions of a key with this hash.
    pub fn next_id(&self, hash: u64) -> i64 {
        self.groups.get(&group_of(hash)).map_or(0, |ids| ids.next)
    }

    /// A key is forgotten whose next session would have had an id.
    pub fn forget(&mut self, hash: u64, key: &str, next_id: i64) {
        // Other windows than sessions are not counted.
        if next_id == 0 {
            return;
        }
        let ids = self.groups.entry(group_of(hash)).or_default();
        if next_id < ids.next || next_id == ids.next && ids.memo.is_some() {
            return;
        }
        ids.next = next_id;
        if self.is_tracking && ids.memo.as_deref() != Some(key) {
            self.stale.extend(ids.memo.replace(key.into()));
        }
    }

    /// Takes in what the state of a key with this hash says, or its `memo`, if that is what stands in its place.
    pub fn restore(&mut self, hash: u64, next_id: i64, memo: Option<&str>) {
        if next_id == 0 {
            return;
        }
        let ids = self.groups.entry(group_of(hash)).or_default();
        ids.next = ids.next.max(next_id);
        if let Some(key) = memo {
            ids.memo = Some(key.into());
        }
    }

    /// The memo that stands in the place of a key that has no state, if one does.
    pub fn memo(&self, key: &str) -> Option<i64> {
        if self.groups.is_empty() {
            return None;
        }
        let ids = self.groups.get(&group_of(crate::data::key::hash(key)))?;
        (ids.memo.as_deref() == Some(key)).then_some(ids.next)
    }

    /// Takes the keys that had a memo and no longer have.
    pub fn take_stale(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.stale)
    }
}
