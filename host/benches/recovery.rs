//! What recovery costs: the encoding of an epoch's changes on a worker, until they are durable, and the load of a state.
//!
//! 100,000 keys of 1,000,000 change in an epoch; a state has 32 or 100 bytes.

use arrow::array::{BinaryArray, StringArray};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;
use wxhost::data::key::{KEY_GROUPS, Keys};
use wxhost::data::time::Epoch;
use wxhost::dataflow::durable::{Changes, Recovery};
use wxhost::dataflow::env::real;
use wxhost::dataflow::failure::FailureSlot;
use wxhost::dataflow::writers::Writers;
use wxhost::recovery::block;
use wxhost::recovery::catalogue::Step;
use wxhost::recovery::encode::Encoder;
use wxhost::recovery::resume::Wanted;
use wxhost::recovery::store::{ClaimedStore, Options, Store};

const CHANGED: u64 = 100_000;
const KEYS: u64 = 1_000_000;

fn changes(keys: impl Iterator<Item = u64>, size: usize) -> Changes {
    let keys: Vec<u64> = keys.collect();
    let names: StringArray = keys.iter().map(|key| Some(format!("user-{key:08}"))).collect();
    let mut value = vec![0; size];
    let values: BinaryArray = keys
        .iter()
        .map(|key| {
            // Half of a state is noise, half of it is not.
            let noise = key.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
            value[..size / 2].iter_mut().zip(noise.iter().cycle()).for_each(|(byte, noise)| *byte = *noise);
            Some(value.clone())
        })
        .collect();
    Changes::of_some(Keys::new(names), values)
}

fn claim(folder: &Path, writers: &Writers) -> ClaimedStore {
    let (env, step) = (real::env(), Step { id: "sum".into(), kind: "fold".to_owned(), fingerprint: Vec::new() });
    let store = Store::open(
        folder,
        &Wanted { flow: &"bench".into(), steps: &[step.into()], drops: &[] },
        Options::default(),
        &env,
    )
    .expect("a store is made");
    store.claim(1, &env, &FailureSlot::default(), writers).expect("the store is claimed")
}

fn seal(store: &ClaimedStore, epoch: u64, changes: &Changes) {
    store.state(&"sum".into(), Epoch(epoch), changes).expect("the changes are taken");
    store.seal(Epoch(epoch));
    while store.durable().newest() < Epoch(epoch) {
        std::thread::yield_now();
    }
}

fn epochs(c: &mut Criterion) {
    let mut group = c.benchmark_group("epoch of 100k keys");
    group.throughput(Throughput::Elements(CHANGED));
    for size in [32, 100] {
        // Keys are hashed anew each time, as those of a batch are.
        let all = changes((0..CHANGED).map(|n| n * 7919 % KEYS), size);
        let fresh = || Changes::of_some(Keys::new(all.keys.values().clone()), all.values.clone());
        let mut encoder = Encoder::new().expect("an encoder");
        group.bench_function(format!("encode {size} bytes"), |b| {
            b.iter_batched(
                fresh,
                |changes| black_box(encoder.encode(&changes, 0..block::SLICES, || {})),
                BatchSize::LargeInput,
            );
        });
        let (folder, writers) = (tempfile::tempdir().expect("a folder"), Writers::default());
        let (store, mut epoch) = (claim(folder.path(), &writers), 0);
        group.bench_function(format!("encode and seal {size} bytes"), |b| {
            b.iter_batched(
                fresh,
                |changes| {
                    epoch += 1;
                    seal(&store, epoch, &changes);
                },
                BatchSize::LargeInput,
            );
        });
        drop(store);
        writers.wait(Duration::from_secs(60));
    }
    group.finish();
}

fn load(c: &mut Criterion) {
    let mut group = c.benchmark_group("load of 1M keys");
    group.throughput(Throughput::Elements(KEYS)).sample_size(10);
    let (folder, writers) = (tempfile::tempdir().expect("a folder"), Writers::default());
    let store = claim(folder.path(), &writers);
    seal(&store, 1, &changes(0..KEYS, 32));
    // Some layers above the first one.
    (2..6).for_each(|epoch| seal(&store, epoch, &changes((0..CHANGED).map(|n| n * epoch * 7919 % KEYS), 32)));
    drop(store);
    writers.wait(Duration::from_secs(60));
    let store = claim(folder.path(), &writers);
    group.bench_function("32 bytes", |b| {
        b.iter(|| {
            let mut keys = 0;
            let each = &mut |batch: Keys, values: BinaryArray| {
                keys += batch.hashes().len();
                black_box(values);
                Ok(())
            };
            store.load_state(&"sum".into(), 0..KEY_GROUPS, each).expect("the state is sound");
            assert_eq!(keys as u64, KEYS);
        });
    });
    group.finish();
}

criterion_group!(benches, epochs, load);
criterion_main!(benches);
