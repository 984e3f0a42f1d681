//! What timely carries: a batch, or nothing.

use super::wire;
use crate::data::batch::Batch;
use std::cell::OnceCell;
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;

/// The container of every stream. Its record count is the batch's number of rows, never zero for a batch that is sent.
#[derive(Default)]
pub struct Packet {
    batch: Option<Batch>,
    /// The byte form: timely asks for its length before it asks for the bytes.
    encoded: OnceCell<Vec<u8>>,
}

impl Packet {
    /// Takes the batch out.
    pub fn take(&mut self) -> Option<Batch> {
        self.encoded = OnceCell::new();
        self.batch.take()
    }

    fn encoded(&self) -> &[u8] {
        self.encoded.get_or_init(|| match &self.batch {
            Some(batch) => wire::encode(batch),
            None => Vec::new(),
        })
    }
}

impl From<Batch> for Packet {
    fn from(batch: Batch) -> Self {
        Packet { batch: Some(batch), encoded: OnceCell::new() }
    }
}

impl Clone for Packet {
    fn clone(&self) -> Self {
        Packet { batch: self.batch.clone(), encoded: OnceCell::new() }
    }
}

impl Accountable for Packet {
    fn record_count(&self) -> i64 {
        self.batch.as_ref().map_or(0, |batch| i64::try_from(batch.num_rows()).unwrap_or(i64::MAX))
    }
}

impl ContainerBytes for Packet {
    fn from_bytes(bytes: Bytes) -> Self {
        // A peer that sends what cannot be read is not a peer: the worker stops, and the execution with it.
        let batch = wire::decode(&bytes).expect("a peer sends whole batches of known schemas");
        Packet { batch, encoded: OnceCell::new() }
    }

    fn length_in_bytes(&self) -> usize {
        self.encoded().len()
    }

    fn into_bytes<W: std::io::Write>(&self, writer: &mut W) {
        writer.write_all(self.encoded()).expect("timely reserved as many bytes as it was told");
    }
}
