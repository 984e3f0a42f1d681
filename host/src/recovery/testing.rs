//! Parts in memory, and a small flow's worth of changes, for tests.

use super::block::{Block, SLICES};
use super::catalogue::{BlockRow, Catalogue, Identity, Layer, Step};
use super::compact::damaged;
use super::compare::FlowStep;
use super::encode::Encoder;
use super::error::{StoreError, Trouble};
use super::part::{PartStore, Transaction};
use super::resume::{Wanted, file_name};
use super::store::{Options, Store};
use crate::data::ids::FlowId;
use crate::data::key::Keys;
use crate::data::time::{Epoch, Instant};
use crate::dataflow::durable::{Changes, Recovery};
use crate::dataflow::env::{Env, scripted};
use crate::dataflow::failure::FailureSlot;
use crate::dataflow::writers::Writers;
use arrow::array::{BinaryArray, StringArray};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// Storage in memory; what has been committed outlives the part, as a disk does.
pub struct MemoryPart {
    catalogue: Catalogue,
    blocks: BTreeMap<(Layer, i64), Vec<u8>>,
    disk: Disk,
}

/// What a crash leaves of a part.
pub type Disk = Arc<Mutex<Option<Kept>>>;
type Kept = (Catalogue, BTreeMap<(Layer, i64), Vec<u8>>);

impl MemoryPart {
    /// Opens what is on a disk, or makes a new part on it.
    pub fn open(disk: &Disk, part: u64, parts: u64) -> MemoryPart {
        let identity = Identity { store: "s".to_owned(), flow: "test".into(), part, parts };
        let kept = disk.lock().unwrap().clone();
        let (catalogue, blocks) = kept.unwrap_or_else(|| (Catalogue::new(file_name(part), identity), BTreeMap::new()));
        MemoryPart { catalogue, blocks, disk: disk.clone() }
    }
}

impl PartStore for MemoryPart {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError> {
        let on_disk = self.disk.lock().unwrap().as_ref().map_or(0, |kept| kept.0.execution());
        if on_disk != transaction.fence {
            let message = "another execution has taken the store over";
            return Err(StoreError::new(Trouble::Refused, &self.catalogue.file, message));
        }
        self.catalogue.apply(&transaction);
        transaction.removed_blocks.iter().for_each(|id| drop(self.blocks.remove(id)));
        self.blocks.extend(transaction.blocks.into_iter().map(|(row, bytes)| ((row.layer, row.id), bytes)));
        *self.disk.lock().unwrap() = Some((self.catalogue.clone(), self.blocks.clone()));
        Ok(())
    }

    fn read(&self, block: &BlockRow) -> Result<Vec<u8>, StoreError> {
        let bytes = self.blocks.get(&(block.layer, block.id)).cloned();
        let bytes = bytes.filter(|bytes| block.checksum(bytes) == block.crc);
        bytes.ok_or_else(|| damaged(&self.catalogue, block, "its checksum is wrong"))
    }

    fn rest(&mut self, _were_last: bool) -> Result<(), StoreError> {
        Ok(())
    }

    fn examine(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What a flow called "test" wants to keep of some steps.
pub fn wanted(steps: &[FlowStep]) -> Wanted<'_> {
    static FLOW: LazyLock<FlowId> = LazyLock::new(|| "test".into());
    Wanted { flow: &FLOW, steps, drops: &[] }
}

/// A step called `id`.
pub fn step(id: &str) -> FlowStep {
    let step = Step { id: id.into(), kind: "fold".to_owned(), fingerprint: vec![1] };
    step.into()
}

/// Changes of keys to bytes; none discards.
pub fn bytes(rows: &[(String, Option<Vec<u8>>)]) -> Changes {
    let keys: StringArray = rows.iter().map(|(key, _)| Some(key.as_str())).collect();
    let values: BinaryArray = rows.iter().map(|(_, value)| value.as_deref()).collect();
    Changes::of_some(Keys::new(keys), values)
}

/// Blocks of all that changed.
pub fn encoded(changes: &Changes) -> Vec<Block> {
    Encoder::new().unwrap().encode(changes, 0..SLICES, || {}).unwrap()
}

/// Changes of keys to numbers; none discards.
pub fn changes(rows: &[(&str, Option<u64>)]) -> Changes {
    let keys: StringArray = rows.iter().map(|(key, _)| Some(*key)).collect();
    let values: Vec<_> = rows.iter().map(|(_, value)| value.map(u64::to_le_bytes)).collect();
    let values: BinaryArray = values.iter().map(|value| value.as_ref().map(|value| &value[..])).collect();
    Changes::of_some(Keys::new(keys), values)
}

/// The surroundings of stores in tests.
pub fn env() -> Env {
    scripted::env(Instant(1_700_000_000_000_000))
}

/// Has a flow run on a store of two files for some epochs, and end. It counts, for keys `a` to `c`, how often they were
/// seen (each in every epoch, `c` not in even ones, `b` not after epoch 3, in which it ends), remembers texts, reads a
/// partition and writes one.
pub fn run_sample(folder: &Path, epochs: RangeInclusive<u64>) {
    let kinds = [("count", "fold"), ("last", "stateful"), ("in", "input"), ("out", "output")];
    let steps = kinds.map(|(id, kind)| FlowStep::from(Step { kind: kind.to_owned(), ..step(id).step }));
    let (writers, failure) = (Writers::default(), FailureSlot::default());
    let wanted = Wanted { flow: &"sample".into(), steps: &steps, drops: &[] };
    let store = Store::open(folder, &wanted, Options { parts: 2, retention: 99 }, &env()).unwrap();
    let store = store.claim(3, &env(), &failure, &writers).unwrap();
    assert_eq!(store.first_epoch(), Epoch(*epochs.start()));
    for n in epochs {
        let epoch = Epoch(n);
        let mut rows = vec![("a", Some(n))];
        rows.extend((n <= 3).then_some(("b", (n < 3).then_some(n))));
        rows.extend((n % 2 == 1).then_some(("c", Some(n / 2))));
        store.state(&"count".into(), epoch, &changes(&rows)).unwrap();
        let text = format!("line {n}");
        let values = BinaryArray::from_vec(vec![text.as_bytes()]);
        store.state(&"last".into(), epoch, &Changes::of_some(changes(&rows[..1]).keys, values)).unwrap();
        store.source(&"in".into(), &"in.txt".into(), epoch, format!("offset {}", 10 * n).into_bytes()).unwrap();
        store.sink(&"out".into(), &"0".into(), epoch, vec![0xff, u8::try_from(n).unwrap()]).unwrap();
        store.seal(epoch);
    }
    store.end();
    drop(store);
    writers.wait(Duration::from_secs(60));
    assert_eq!(failure.get(), None);
}
