//! Drives sinks as the driver with recovery does, and dies wherever a test wants.

use super::Place;
use crate::data::batch::Batch;
use crate::data::ids::{PartitionId, WorkerIndex};
use crate::data::time::Epoch;
use crate::dataflow::durable::Manifest;
use crate::dataflow::env::Env;
use crate::dataflow::error::LogicError;
use crate::dataflow::sink::{Job, PartWriter, Routing, SinkParts, Staged, Start};
use crate::dataflow::user_fn::InstanceCx;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is durable.
#[derive(Clone, Debug, Default)]
pub(in crate::connectors) struct Store {
    pub manifests: Vec<Manifest>,
    /// Epochs that are.
    pub epochs: u64,
    /// How often it was gone on from.
    pub executions: u64,
}

/// An execution of a flow with one sink.
pub(in crate::connectors) struct Execution<'a> {
    pub parts: &'a dyn SinkParts,
    /// The batches of each epoch, from the first one on.
    pub input: &'a [Vec<Batch>],
    pub workers: usize,
    /// How many epochs are durable before the first of them is committed.
    pub lag: u64,
    /// Whether the input ends; else the execution is stopped.
    pub ends: bool,
    pub env: Env,
}

/// Counts down to a crash.
pub(in crate::connectors) struct Fuel(pub usize);

impl Fuel {
    pub fn endless() -> Fuel {
        Fuel(usize::MAX)
    }

    fn burn(&mut self) -> Option<()> {
        self.0 = self.0.checked_sub(1)?;
        Some(())
    }
}

/// What an instance is told of an execution of a store.
pub(in crate::connectors) fn cx(execution: u64, worker: usize, env: &Env) -> InstanceCx {
    InstanceCx {
        step: "out".into(),
        worker: WorkerIndex(worker),
        run_id: format!("5t0rex{execution}").into(),
        env: env.clone(),
        meter: Arc::default(),
        migration: None,
    }
}

impl Execution<'_> {
    /// Runs to the end, or dies where the fuel runs out: None. What is durable by then is in the store.
    pub fn run(&self, store: &mut Store, fuel: &mut Fuel) -> Result<Option<()>, LogicError> {
        store.executions += 1;
        let mut opened = BTreeMap::new();
        let done = self.go(store, fuel, &mut opened);
        // Whoever dies closes nothing.
        opened.into_values().for_each(|(part, _)| std::mem::forget(part));
        done
    }

    fn go(
        &self,
        store: &mut Store,
        fuel: &mut Fuel,
        opened: &mut BTreeMap<PartitionId, (PartWriter, usize)>,
    ) -> Result<Option<()>, LogicError> {
        macro_rules! step {
            ($done:expr) => {{
                if fuel.burn().is_none() {
                    return Ok(None);
                }
                $done
            }};
        }
        let run = store.executions;
        let names: Vec<PartitionId> = match self.parts.routing()? {
            Routing::PerWorker => (0..self.workers).map(|n| n.to_string().as_str().into()).collect(),
            Routing::One(name) => vec![name],
            Routing::ByKey(names) => names,
        };
        self.parts.verify(&store.manifests)?;
        step!(self.parts.resume(&cx(run, 0, &self.env), &store.manifests)?);
        let newest = |part: &PartitionId| store.manifests.iter().rev().find(|manifest| manifest.part == *part).cloned();
        let gone: std::collections::BTreeSet<_> =
            store.manifests.iter().map(|manifest| &manifest.part).filter(|part| !names.contains(part)).collect();
        let gone: Vec<Manifest> = gone.into_iter().filter_map(newest).collect();
        let first = store.epochs + 1;
        for (worker, name) in names.iter().enumerate() {
            let last = newest(name);
            let orphans = if worker == 0 { &gone[..] } else { &[] };
            let start = Start::Kept { first: Epoch(first), last: last.as_ref(), orphans };
            let part = self.parts.open(&cx(run, worker, &self.env), name, &start)?;
            opened.insert(name.clone(), (part, worker));
        }
        let mut uncommitted: Vec<Manifest> = Vec::new();
        // An input that ended before has an end that is not new.
        let last = self.input.len() as u64;
        for epoch in first..=last {
            let mut staged = Vec::new();
            for (name, (part, worker)) in opened.iter_mut() {
                let mut jobs = Vec::new();
                let batches = self.input[epoch as usize - 1].iter().enumerate();
                for (_, batch) in batches.filter(|(n, _)| n % names.len() == *worker) {
                    assert_eq!(part.encoder.encode(batch, &mut jobs)?, []);
                }
                if epoch == last && self.ends {
                    part.encoder.on_eof(&mut jobs)?;
                }
                part.encoder.on_epoch(&mut jobs)?;
                let adopts = epoch == first && *worker == 0 && !gone.is_empty();
                let stages = !jobs.is_empty() || adopts || epoch == last;
                for job in jobs {
                    step!(part.writer.run(job)?);
                }
                if !stages {
                    continue;
                }
                match step!(part.writer.stage(Epoch(epoch))?) {
                    Some(what) => {
                        let manifest = step!(flushed(what)?);
                        staged.push(Manifest { part: name.clone(), epoch: Epoch(epoch), manifest });
                    }
                    None => assert!(!adopts, "orphans are taken over"),
                }
            }
            step!(());
            store.epochs = epoch;
            store.manifests.retain(|manifest| !gone.iter().any(|gone| gone.part == manifest.part));
            store.manifests.extend(staged.iter().cloned());
            uncommitted.extend(staged);
            let due = uncommitted.iter().take_while(|manifest| manifest.epoch.0 + self.lag <= epoch).count();
            for manifest in uncommitted.drain(..due).collect::<Vec<_>>() {
                if self.commit(store, opened, manifest, fuel)?.is_none() {
                    return Ok(None);
                }
            }
        }
        for manifest in uncommitted {
            if self.commit(store, opened, manifest, fuel)?.is_none() {
                return Ok(None);
            }
        }
        for (part, _) in opened.values_mut() {
            step!(part.writer.close()?);
        }
        Ok(Some(()))
    }

    fn commit(
        &self,
        store: &mut Store,
        opened: &mut BTreeMap<PartitionId, (PartWriter, usize)>,
        manifest: Manifest,
        fuel: &mut Fuel,
    ) -> Result<Option<()>, LogicError> {
        if fuel.burn().is_none() {
            return Ok(None);
        }
        let (part, _) = opened.get_mut(&manifest.part).expect("who staged is open");
        if let Some(flush) = part.writer.commit(manifest.epoch, &manifest.manifest)? {
            flush()?;
        }
        if fuel.burn().is_none() {
            return Ok(None);
        }
        store.manifests.retain(|other| other.part != manifest.part || other.epoch >= manifest.epoch);
        Ok(Some(()))
    }
}

/// Runs until the end, however often it dies on the way, each time after `fuel` and a little more. Looks at the place
/// after each death.
pub(in crate::connectors) fn run_through(
    place: &Place,
    fuel: usize,
    execution: &Execution<'_>,
    look: &dyn Fn(&Place),
) -> Store {
    let mut store = Store::default();
    for more in 0.. {
        let done = execution.run(&mut store, &mut Fuel(fuel + 3 * more)).unwrap();
        look(place);
        if done.is_some() {
            break;
        }
    }
    store
}

/// The jobs of a batch in one epoch.
pub(in crate::connectors) fn write(part: &mut PartWriter, batch: &Batch) {
    let mut jobs: Vec<Job> = Vec::new();
    part.encoder.encode(batch, &mut jobs).unwrap();
    part.encoder.on_epoch(&mut jobs).unwrap();
    jobs.into_iter().for_each(|job| drop(part.writer.run(job).unwrap()));
}

/// Waits for the disk, and gives the manifest that counts then.
pub fn flushed(staged: Staged) -> Result<Vec<u8>, LogicError> {
    staged.flush.map_or(Ok(()), |flush| flush())?;
    Ok(staged.manifest)
}
