//! Values that are made once per process and shared by its tests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Paths by name. Each is made by its first caller; only callers of the same name wait.
pub(crate) struct Once(Mutex<BTreeMap<String, Arc<OnceLock<PathBuf>>>>);

impl Once {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Returns the path of this name. When making it panics, the next caller tries again.
    pub(crate) fn get(&self, name: &str, make: impl FnOnce() -> PathBuf) -> PathBuf {
        let cell = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(name.to_owned()).or_default())
        };
        cell.get_or_init(make).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn a_path_is_made_once_and_other_names_do_not_wait() {
        let once = Once::new();
        let both = Barrier::new(2);
        let make = |name: &'static str| {
            let (once, both) = (&once, &both);
            move || {
                once.get(name, || {
                    both.wait();
                    name.into()
                })
            }
        };
        thread::scope(|scope| {
            let one = scope.spawn(make("one"));
            assert_eq!(make("two")(), PathBuf::from("two"));
            assert_eq!(one.join().unwrap(), PathBuf::from("one"));
        });
        assert_eq!(once.get("one", || unreachable!()), PathBuf::from("one"));
        assert!(thread::scope(|scope| scope.spawn(|| once.get("three", || panic!("no room"))).join()).is_err());
        assert_eq!(once.get("three", || "3".into()), PathBuf::from("3"));
    }
}
