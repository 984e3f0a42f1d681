//! How batches move between workers.

use super::packet::Packet;
use crate::data::batch::Batch;
use crate::data::key::worker_of;
use timely::communication::Push;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pushers::exchange::Distributor;

/// Sends each row to the worker that owns its key, and marks to all workers.
///
/// Keys are hashed once. A batch is shared between the workers of a process, each of which gets the numbers of its rows
/// (half the cost of filtering it once for each); the byte form for another process holds only the rows selected.
pub struct ByKey {
    rows: Vec<Vec<u32>>,
}

impl ByKey {
    /// Makes a distributor over `workers`.
    pub fn new(workers: usize) -> Self {
        ByKey { rows: vec![Vec::new(); workers] }
    }
}

impl Distributor<Packet> for ByKey {
    fn partition<T: Clone, P: Push<Message<T, Packet>>>(&mut self, packet: &mut Packet, time: &T, pushers: &mut [P]) {
        let Some(batch) = packet.take() else { return };
        if batch.mark().is_some() {
            // Behind the rows that came before it, on every way.
            pushers.iter_mut().for_each(|pusher| push(batch.clone(), time, pusher));
            return;
        }
        let keys = batch.keys().expect("only keyed streams are exchanged by key");
        let hashes = keys.hashes();
        let workers = pushers.len();
        match batch.selection() {
            Some(selection) => {
                for (row, &held) in (0..).zip(selection) {
                    self.rows[worker_of(hashes[held as usize], workers)].push(row);
                }
            }
            None => {
                for (row, &hash) in (0..).zip(hashes) {
                    self.rows[worker_of(hash, workers)].push(row);
                }
            }
        }
        for (rows, pusher) in self.rows.iter_mut().zip(pushers) {
            if rows.len() == batch.num_rows() {
                push(batch.clone(), time, pusher);
            } else if !rows.is_empty() {
                push(batch.select(rows), time, pusher);
            }
            rows.clear();
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Packet>>>(&mut self, _time: &T, _pushers: &mut [P]) {}
}

/// Sends whole batches to all workers in turn.
pub struct InTurn {
    next: usize,
}

impl InTurn {
    /// Makes a distributor that begins with a worker, best a different one on each sender.
    pub fn new(first: usize) -> Self {
        InTurn { next: first }
    }
}

impl Distributor<Packet> for InTurn {
    fn partition<T: Clone, P: Push<Message<T, Packet>>>(&mut self, packet: &mut Packet, time: &T, pushers: &mut [P]) {
        let Some(batch) = packet.take() else { return };
        push(batch, time, &mut pushers[self.next % pushers.len()]);
        self.next = (self.next + 1) % pushers.len();
    }

    fn flush<T: Clone, P: Push<Message<T, Packet>>>(&mut self, _time: &T, _pushers: &mut [P]) {}
}

/// Sends everything to one worker.
pub struct ToOne(pub usize);

impl Distributor<Packet> for ToOne {
    fn partition<T: Clone, P: Push<Message<T, Packet>>>(&mut self, packet: &mut Packet, time: &T, pushers: &mut [P]) {
        let Some(batch) = packet.take() else { return };
        push(batch, time, &mut pushers[self.0 % pushers.len()]);
    }

    fn flush<T: Clone, P: Push<Message<T, Packet>>>(&mut self, _time: &T, _pushers: &mut [P]) {}
}

fn push<T: Clone, P: Push<Message<T, Packet>>>(batch: Batch, time: &T, pusher: &mut P) {
    Message::push_at(&mut Packet::from(batch), time.clone(), pusher);
}

/// Sends each row to the worker that writes its key's partition: partition `p` belongs to worker `p` modulo workers.
pub struct ByPart {
    parts: usize,
    rows: Vec<Vec<u32>>,
}

impl ByPart {
    /// Makes a distributor of `parts` partitions over `workers`.
    pub fn new(parts: usize, workers: usize) -> Self {
        ByPart { parts, rows: vec![Vec::new(); workers] }
    }

    /// The partition of a key with this hash.
    pub fn part_of(hash: u64, parts: usize) -> usize {
        usize::try_from(hash % parts as u64).expect("a partition's number fits a usize")
    }
}

impl Distributor<Packet> for ByPart {
    fn partition<T: Clone, P: Push<Message<T, Packet>>>(&mut self, packet: &mut Packet, time: &T, pushers: &mut [P]) {
        let Some(batch) = packet.take() else { return };
        let hashes = batch.keys().expect("only keyed streams are divided by key").hashes();
        let held = |row: u32| batch.selection().map_or(row, |selection| selection[row as usize]);
        let count = u32::try_from(batch.num_rows()).expect("a batch has fewer than 2^32 rows");
        for row in 0..count {
            let part = Self::part_of(hashes[held(row) as usize], self.parts);
            self.rows[part % pushers.len()].push(row);
        }
        for (rows, pusher) in self.rows.iter_mut().zip(pushers) {
            if !rows.is_empty() {
                push(batch.select(rows), time, pusher);
            }
            rows.clear();
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Packet>>>(&mut self, _time: &T, _pushers: &mut [P]) {}
}
