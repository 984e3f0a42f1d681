//! States: what folds and stateful functions keep for each key, and how it is saved.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::wxhost::plugin::types::VarSize;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::write::Bytes;

/// What is kept for a key, or for a key's window.
///
/// Derived by `#[derive(State)]`, which also derives serde's traits; the encoding is postcard's. A state starts as
/// `Default`, or from its configuration. Types inside of it derive `Saved`. Attributes:
///
/// - `#[state(version = 2)]`: the version of the encoding, 1 if not given. Raise it when the fields change.
/// - `#[state(migrate = path)]`: a function `fn(from_version: u32, bytes: &[u8]) -> Result<Self>` that reads states of
///   older versions, mostly by [`decode`] of a struct as it was.
/// - `#[state(config = Type)]`: the state starts as `From<&Type>`.
/// - `#[state(serde)]`: the type has serde's traits by other means.
pub trait State: Sized + 'static {
    /// The version of the encoding, from 1.
    const VERSION: u32;

    /// What the function with this state does, for `wxhost plugin list`.
    const DOC: &'static str;

    /// Whether `migrate` can read states of any older version.
    const MIGRATES: bool = true;

    /// What the flow configures.
    type Config: Config;

    /// Starts the state of a new key.
    fn new(config: &Self::Config) -> Self;

    /// Encodes the state.
    fn encode(&self, bytes: Vec<u8>) -> Result<Vec<u8>>;

    /// Decodes a state of the current version.
    fn decode(bytes: &[u8]) -> Result<Self>;

    /// Decodes a state of an older version.
    fn migrate(from_version: u32, bytes: &[u8]) -> Result<Self>;
}

/// Appends the encoding of a state or a position.
pub fn encode<T: Serialize>(value: &T, bytes: Vec<u8>) -> Result<Vec<u8>> {
    postcard::to_extend(value, bytes).map_err(|error| Error::internal(format!("cannot encode the state: {error}")))
}

/// Decodes a state or a position.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|error| {
        Error::user(format!("cannot decode the state: {error}; was the type changed without a new version?"))
    })
}

/// Says that there is no way from an older version.
pub fn no_migration<T>(from_version: u32, to_version: u32) -> Result<T> {
    Err(Error::user(format!(
        "a state of version {from_version} cannot become one of version {to_version}: \
         the function has no `migrate = ...` that reads it"
    )))
}

/// What a function of an attribute can keep as its state.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept as a state",
    note = "derive it with `#[derive(Saved)]`, or use a type that has serde's traits"
)]
pub trait Kept {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Kept for T {}

/// Says at compile time whether a type can be kept.
pub const fn can_be_kept<T: Kept>() {}

/// Returns the state that a function of an attribute has kept. One without does not outlive its call.
pub fn kept<T>(state: &Option<T>) -> Result<&T> {
    state.as_ref().ok_or_else(|| Error::internal("a key without a state was to be saved"))
}

/// Checks that a function that failed with `error` has not taken away the state.
#[cold]
pub fn still<T>(state: &Option<T>, error: Error) -> Error {
    match state {
        Some(_) => error,
        None => Error::internal(format!("took the state away and then failed, which must leave it as it was: {error}")),
    }
}

/// The states of groups, by their numbers.
pub(crate) struct Slab<T>(Vec<Option<T>>);

impl<T: State> Slab<T> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns the states that there are.
    pub(crate) fn states(&mut self) -> &mut [Option<T>] {
        &mut self.0
    }

    #[inline]
    pub(crate) fn slot(&mut self, group: u32) -> &mut Option<T> {
        let index = group as usize;
        if index >= self.0.len() {
            self.grow(index + 1);
        }
        &mut self.0[index]
    }

    #[cold]
    fn grow(&mut self, groups: usize) {
        self.0.resize_with(groups, || None);
    }

    pub(crate) fn get_or_new(&mut self, group: u32, config: &T::Config) -> &mut T {
        self.slot(group).get_or_insert_with(|| T::new(config))
    }

    pub(crate) fn get(&self, group: u32) -> Result<&T> {
        self.0.get(group as usize).and_then(Option::as_ref).ok_or_else(|| no_group(group))
    }

    pub(crate) fn get_mut(&mut self, group: u32) -> Result<&mut T> {
        self.0.get_mut(group as usize).and_then(Option::as_mut).ok_or_else(|| no_group(group))
    }

    pub(crate) fn take(&mut self, group: u32) -> Option<T> {
        self.0.get_mut(group as usize)?.take()
    }

    pub(crate) fn snapshot(&self, groups: &[u32]) -> Result<VarSize> {
        let mut states = Bytes::default();
        for group in groups {
            states.data = self.get(*group)?.encode(std::mem::take(&mut states.data))?;
            states.end_value();
        }
        Ok(states.into_var_size())
    }

    pub(crate) fn restore(&mut self, groups: &[u32], states: &VarSize) -> Result<()> {
        for (group, bytes) in groups.iter().zip(entries(states, groups.len())?) {
            *self.slot(*group) = Some(T::decode(bytes)?);
        }
        Ok(())
    }

    pub(crate) fn release(&mut self, groups: &[u32]) {
        for group in groups {
            self.take(*group);
        }
    }
}

#[cold]
fn no_group(group: u32) -> Error {
    Error::internal(format!("the host named the group {group}, which has no state"))
}

/// Turns states of an older version into the current one.
pub(crate) fn migrate<T: State>(from_version: u32, states: &VarSize) -> Result<VarSize> {
    if !T::MIGRATES {
        return no_migration(from_version, T::VERSION);
    }
    let mut migrated = Bytes::default();
    for bytes in entries(states, states.offsets.len().saturating_sub(1))? {
        let state = T::migrate(from_version, bytes)?;
        migrated.data = state.encode(std::mem::take(&mut migrated.data))?;
        migrated.end_value();
    }
    Ok(migrated.into_var_size())
}

/// Returns the entries of a list of states, checked to be as many as wanted.
fn entries(states: &VarSize, wanted: usize) -> Result<Vec<&[u8]>> {
    let bad = || Error::internal("the host sent a list of states that is cut off");
    if states.offsets.len() != wanted + 1 {
        return Err(bad());
    }
    let entry = |pair: &[i32]| states.data.get(pair[0] as usize..pair[1] as usize).ok_or_else(bad);
    states.offsets.windows(2).map(entry).collect()
}
