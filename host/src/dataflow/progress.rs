//! How far the dataflow is: the earliest time that is not finished at its ends.

use super::build::Stream;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::Activator;

/// How far a worker's dataflow is. The frontier is the cluster's: timely tells every worker of every other.
#[derive(Clone)]
pub struct Progress {
    frontier: Rc<Cell<u64>>,
    waiting: Rc<RefCell<Vec<Activator>>>,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { frontier: Rc::new(Cell::new(0)), waiting: Rc::default() }
    }
}

impl Progress {
    /// Whether everything at `time` is through the whole flow, its sinks included.
    pub fn is_past(&self, time: u64) -> bool {
        time < self.frontier.get()
    }

    /// Has an operator woken whenever the frontier moves.
    pub fn wake(&self, activator: Activator) {
        self.waiting.borrow_mut().push(activator);
    }

    /// Watches the ends of the dataflow: what sinks return, and streams that nobody takes.
    pub fn watch<'s>(&self, scope: Scope<'s, u64>, ends: Vec<Stream<'s>>) {
        let mut builder = OperatorBuilder::new("progress".to_owned(), scope);
        let mut inputs: Vec<_> = ends.into_iter().map(|end| builder.new_input(end, Pipeline)).collect();
        let this = self.clone();
        builder.build(move |_capabilities| {
            move |frontiers| {
                for input in &mut inputs {
                    input.for_each(|_, packet| drop(packet.take()));
                }
                let frontier = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
                let frontier = frontier.unwrap_or(u64::MAX);
                if this.frontier.replace(frontier) != frontier {
                    for activator in this.waiting.borrow().iter() {
                        activator.activate();
                    }
                }
            }
        });
    }
}
