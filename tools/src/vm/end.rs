//! The end of a machine, as threads wait for it that would otherwise have to end the machine themselves.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Whether a machine has ended.
#[derive(Debug, Default)]
pub struct End {
    is_over: Mutex<bool>,
    changed: Condvar,
}

impl End {
    /// Says that the machine has ended.
    pub fn set(&self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits until the machine has ended, at most for `limit`. Returns whether it has.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> bool {
        let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(is_over, limit, |is_over| !*is_over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Barrier};
    use std::thread;

    #[test]
    fn it_wakes_those_who_wait() {
        let end = Arc::new(End::default());
        assert!(!end.wait(Duration::ZERO));
        let (sender, receiver) = channel();
        let start = Arc::new(Barrier::new(2));
        let (waiter, begin) = (Arc::clone(&end), Arc::clone(&start));
        thread::spawn(move || {
            begin.wait();
            sender.send(waiter.wait(Duration::MAX)).unwrap();
        });
        start.wait();
        end.set();
        assert!(receiver.recv_timeout(Duration::from_secs(60)).expect("it hangs"));
        assert!(end.wait(Duration::ZERO));
    }
}
