//! The line from a thread of input or output back to its operator.

use crossbeam::channel::{Receiver, Sender, unbounded};
use timely::scheduling::SyncActivator;

/// The thread's end. However the thread ends, by a panic too, its operator is woken and finds the line cut.
pub struct Answers<T> {
    // Dropped in this order: who is woken must find the line cut.
    sender: Sender<T>,
    wake: Wake,
}

struct Wake(SyncActivator);

/// Makes a line. It is not bounded: an operator asks for every answer, and for a few at a time.
pub fn answers<T>(activator: SyncActivator) -> (Answers<T>, Receiver<T>) {
    let (sender, receiver) = unbounded();
    (Answers { sender, wake: Wake(activator) }, receiver)
}

impl<T> Answers<T> {
    /// Sends an answer and wakes the operator; false if nobody waits for it any more.
    pub fn send(&self, answer: T) -> bool {
        let taken = self.sender.send(answer).is_ok();
        self.wake.wake();
        taken
    }
}

impl Wake {
    fn wake(&self) {
        // The worker may be gone already, and then there is nobody to wake.
        self.0.activate().ok();
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.wake();
    }
}
