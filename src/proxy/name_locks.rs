//! Locks on names: requests of this proxy that touch the same volumes go one after the other.
//! Knows nothing of requests; who waits, and for how long, is left to the caller.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits::HOLD_PAUSE;

/// The names that are locked now.
#[derive(Debug, Default)]
pub(crate) struct NameLocks {
    locked: Mutex<HashSet<String>>,
    unlocked: Condvar,
}

/// Why names are not locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LockError {
    /// This name was still locked at the deadline.
    Timeout(String),
    /// Nobody wants them any more.
    Unwanted,
}

/// Names that are locked until this is dropped.
#[derive(Debug)]
pub(crate) struct Locked<'l> {
    locks: &'l NameLocks,
    names: Vec<String>,
}

impl NameLocks {
    /// Locks all `names`, each as soon as it is free, in sorted order: so two callers never wait
    /// for each other. `is_wanted` is asked every 100 ms of waiting.
    ///
    /// # Errors
    /// When a name is not free at the `deadline`, or the wait is not wanted any more. Nothing
    /// stays locked then.
    pub(crate) fn lock(
        &self,
        names: BTreeSet<String>,
        deadline: Instant,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Locked<'_>, LockError> {
        let mut taken = Locked {
            locks: self,
            names: Vec::new(),
        };
        let mut locked = self.names();
        for name in names {
            while locked.contains(&name) {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    drop(locked);
                    return Err(LockError::Timeout(name));
                }
                let wait = self.unlocked.wait_timeout(locked, left.min(HOLD_PAUSE));
                locked = wait.unwrap_or_else(PoisonError::into_inner).0;
                if !is_wanted() {
                    drop(locked);
                    return Err(LockError::Unwanted);
                }
            }
            locked.insert(name.clone());
            taken.names.push(name);
        }
        drop(locked);
        Ok(taken)
    }

    /// A panic elsewhere leaves a set of names, which is as good as before.
    fn names(&self) -> MutexGuard<'_, HashSet<String>> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let mut locked = self.locks.names();
        for name in &self.names {
            locked.remove(name);
        }
        drop(locked);
        self.locks.unlocked.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_locked_name_is_waited_for() {
        let locks = NameLocks::default();
        let (told, order) = mpsc::channel();
        thread::scope(|scope| {
            let first = locks.lock(set(&["a", "b"]), soon(), || true).unwrap();
            let second = told.clone();
            let locks = &locks;
            scope.spawn(move || {
                let _locked = locks.lock(set(&["b", "c"]), soon(), || true).unwrap();
                second.send("second").unwrap();
            });
            // Another name is free meanwhile.
            drop(locks.lock(set(&["d"]), soon(), || true).unwrap());
            told.send("first").unwrap();
            drop(first);
        });
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["first", "second"]);
        assert!(locks.names().is_empty());
    }

    #[test]
    fn a_wait_that_ends_leaves_nothing_locked() {
        let locks = NameLocks::default();
        let held = locks.lock(set(&["b"]), soon(), || true).unwrap();
        let late = locks.lock(set(&["a", "b"]), Instant::now(), || true);
        assert_eq!(late.unwrap_err(), LockError::Timeout("b".to_owned()));
        let unwanted = locks.lock(set(&["a", "b"]), soon(), || false);
        assert_eq!(unwanted.unwrap_err(), LockError::Unwanted);
        drop(locks.lock(set(&["a"]), Instant::now(), || true).unwrap());
        drop(held);
        assert!(locks.names().is_empty());
    }
}
