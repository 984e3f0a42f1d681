//! Drivers' lines to the recovery store, and the operator at their end that seals epochs.
//!
//! A driver holds a capability on a stream of its own until it has handed in what an epoch changed. Nothing ever comes on
//! these streams: their frontier is the news. Past an epoch, it tells every worker that all have handed in.

use super::build::{BuildCx, Stream};
use super::durable::{Changes, Recovery};
use super::epochs::Epochs;
use super::error::LogicError;
use super::failure::FailureSlot;
use super::packet::Packet;
use crate::data::ids::{PartitionId, StepId};
use crate::data::time::{Epoch, Tick};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::channels::pushers::Output;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// What steps that remember call the place in their input where they were told its end.
const END: &str = "end";

/// The epoch in which a step was told the end of its input, if no row came to it since.
///
/// # Errors
/// As for [`Recovery::load_sources`].
pub(super) fn told_end(recovery: &dyn Recovery, step: &StepId) -> Result<Option<Epoch>, LogicError> {
    let positions = recovery.load_sources(step)?;
    let told = positions.iter().find(|told| &*told.part.0 == END && told.position[..] == [1]);
    Ok(told.map(|told| told.epoch))
}

/// The streams of a worker's drivers.
#[derive(Clone, Default)]
pub struct HandIns<'s>(Rc<RefCell<Vec<Stream<'s>>>>);

/// A driver's line, with recovery.
pub struct HandIn {
    recovery: Arc<dyn Recovery>,
    epochs: Arc<Epochs>,
    step: StepId,
    /// Never sent on; it goes with the operator.
    _output: Output<u64, Packet>,
    /// None until the operator is built, and after its end.
    capability: Option<Capability<u64>>,
}

impl HandIn {
    /// Adds a line to an operator in the making, as its last output. None without recovery.
    pub fn of<'s>(cx: &BuildCx<'s>, builder: &mut OperatorBuilder<'s, u64>) -> Option<HandIn> {
        let recovery = cx.execution.recovery.clone()?;
        let (output, stream) = builder.new_output::<Packet>();
        cx.hand_ins.0.borrow_mut().push(stream);
        let epochs = cx.execution.epochs.clone();
        Some(HandIn { recovery, epochs, step: cx.step.clone(), _output: output, capability: None })
    }

    /// Takes the operator's last capability, which is the line's.
    pub fn begin(line: &mut Option<HandIn>, capabilities: &mut Vec<Capability<u64>>) {
        if let Some(line) = line {
            line.capability = capabilities.pop();
        }
    }

    /// The store.
    pub fn recovery(&self) -> &Arc<dyn Recovery> {
        &self.recovery
    }

    /// Hands in states, under the name of the step or of what it keeps besides those of its keys.
    ///
    /// # Errors
    /// As for [`Recovery::state`].
    pub fn state(&self, step: &StepId, epoch: Epoch, changes: &Changes) -> Result<(), LogicError> {
        self.recovery.state(step, epoch, changes)
    }

    /// Says that a step was told the end of its input with an epoch, or that rows came after it.
    ///
    /// # Errors
    /// As for [`Recovery::source`].
    pub fn told_end(&self, step: &StepId, epoch: Epoch, is_told: bool) -> Result<(), LogicError> {
        self.recovery.source(step, &END.into(), epoch, vec![u8::from(is_told)])
    }

    /// Hands in the position of a partition.
    ///
    /// # Errors
    /// As for [`Recovery::source`].
    pub fn source(&self, part: &PartitionId, epoch: Epoch, position: Vec<u8>) -> Result<(), LogicError> {
        self.recovery.source(&self.step, part, epoch, position)
    }

    /// Hands in what a partition staged.
    ///
    /// # Errors
    /// As for [`Recovery::sink`].
    pub fn sink(&self, part: &PartitionId, epoch: Epoch, manifest: Vec<u8>) -> Result<(), LogicError> {
        self.recovery.sink(&self.step, part, epoch, manifest)
    }

    /// Says that a partition has shown what it staged for an epoch.
    pub fn committed(&self, part: &PartitionId, epoch: Epoch) {
        self.recovery.committed(&self.step, part, epoch);
        self.epochs.note_shown(epoch);
    }

    /// Everything before this time has been handed in.
    pub fn advance(&mut self, time: u64) {
        if let Some(capability) = self.capability.as_mut().filter(|capability| *capability.time() < time) {
            capability.downgrade(&time);
        }
    }

    /// Everything has been handed in, or never will be.
    pub fn end(&mut self) {
        self.capability = None;
    }
}

/// Builds the operator that seals: on every worker, but only the first one's does it.
pub fn seal<'s>(scope: Scope<'s, u64>, hand_ins: HandIns<'s>, recovery: Arc<dyn Recovery>, failure: FailureSlot) {
    let streams = hand_ins.0.take();
    let mut builder = OperatorBuilder::new("seal".to_owned(), scope);
    let mut inputs: Vec<_> = streams.into_iter().map(|stream| builder.new_input(stream, Pipeline)).collect();
    let is_first = scope.index() == 0;
    builder.build(move |_capabilities| {
        let mut has_ended = false;
        move |frontiers| {
            for input in &mut inputs {
                input.for_each(|_, packet| drop(packet.take()));
            }
            // A worker that fails says so before it lets go of anything, so that an epoch of which a part was never
            // handed in is never taken for complete.
            if !is_first || has_ended || failure.is_set() {
                return;
            }
            let frontier = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
            if let Some(time) = frontier {
                // Everything before the epoch of the frontier is complete.
                if let Some(complete) = Tick(time).epoch().0.checked_sub(1) {
                    recovery.seal(Epoch(complete));
                }
                return;
            }
            has_ended = true;
            recovery.end();
        }
    });
}
