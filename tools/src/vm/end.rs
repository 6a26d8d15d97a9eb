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
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn it_wakes_those_who_wait() {
        // In most rounds the other thread waits before the end.
        for _ in 0..100 {
            let end = Arc::new(End::default());
            assert!(!end.wait(Duration::ZERO));
            let (sender, receiver) = channel();
            let waiter = Arc::clone(&end);
            thread::spawn(move || {
                sender.send(None).unwrap();
                sender.send(Some(waiter.wait(Duration::MAX))).unwrap();
            });
            assert_eq!(receiver.recv(), Ok(None));
            thread::sleep(Duration::from_millis(1));
            end.set();
            assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Ok(Some(true)), "it hangs");
            assert!(end.wait(Duration::ZERO));
        }
    }
}
