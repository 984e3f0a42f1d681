//! Driver of steps that remember nothing between batches.

use super::build::{BuildCx, Stream};
use super::emit::Emit;
use super::error::LogicError;
use super::exchange::InTurn;
use super::packet::Packet;
use crate::data::batch::Batch;
use crate::data::time::Tick;
use timely::dataflow::channels::pact::{DistributorPact, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

/// A step that handles each batch by itself.
pub trait Stateless: 'static {
    /// Handles a batch of the input port `input`. The batch is not compact.
    ///
    /// # Errors
    /// The step failed, which stops the flow. Rows that fail go to [`Emit::fail`].
    fn on_batch(&mut self, input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError>;
}

/// Builds an operator with an output for each port of the step (`ports` of its own, and `errors` if it has it).
pub fn stateless<'s>(cx: &BuildCx<'s>, ups: Vec<Stream<'s>>, ports: usize, logic: impl Stateless) -> Vec<Stream<'s>> {
    build(cx, ups, ports, || Pipeline, logic)
}

/// As [`stateless`], on batches spread over all workers in turn. Their schema must be registered with
/// [`super::wire::register`].
pub fn redistributed<'s>(cx: &BuildCx<'s>, up: Stream<'s>, ports: usize, logic: impl Stateless) -> Vec<Stream<'s>> {
    let first = cx.worker().0;
    build(cx, vec![up], ports, || DistributorPact(move |_| InTurn::new(first)), logic)
}

fn build<'s, P: ParallelizationContract<u64, Packet>>(
    cx: &BuildCx<'s>,
    ups: Vec<Stream<'s>>,
    ports: usize,
    pact: impl Fn() -> P,
    mut logic: impl Stateless,
) -> Vec<Stream<'s>> {
    let mut builder = OperatorBuilder::new(cx.operator_name(), cx.scope);
    let mut inputs: Vec<_> = ups.into_iter().map(|up| builder.new_input(up, pact())).collect();
    for input in 0..inputs.len() {
        // Frontiers mean nothing to it; not being woken for them is a good part of what timely costs.
        builder.set_notify_for(input, FrontierInterest::Never);
    }
    let ports = ports + usize::from(cx.row_errors.port.is_some());
    let (mut outputs, streams): (Vec<_>, Vec<_>) = (0..ports).map(|_| builder.new_output()).unzip();
    let (reporter, row_errors) = (cx.reporter(), cx.row_errors.clone());
    let (takes, gives) = (cx.takes(), cx.gives());
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut given = Vec::new();
        move |_frontiers| {
            for (port, input) in inputs.iter_mut().enumerate() {
                input.for_each(|time, packet| {
                    let Some(batch) = packet.take().filter(|_| !reporter.is_stopped()) else { return };
                    if let Some(meter) = &takes {
                        meter.took(batch.num_rows() as u64);
                    }
                    let mut out = Emit::new(&mut given, &row_errors).at(Tick(*time.time()).epoch());
                    if let Err(error) = logic.on_batch(port, batch, &mut out) {
                        reporter.fail(error);
                    }
                    for (port, batch) in given.drain(..) {
                        if let Some(meter) = gives.as_ref().filter(|_| Some(port) != row_errors.port) {
                            meter.gave(batch.num_rows() as u64);
                        }
                        outputs[port].activate().give(&time, &mut Packet::from(batch));
                    }
                });
            }
        }
    });
    streams
}
