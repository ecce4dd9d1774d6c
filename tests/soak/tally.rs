//! The counts of what was done, what was excused and what was wrong.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::client::Fail;

/// The counts of one kind of operation.
#[derive(Default, Clone)]
struct Sort {
    succeeded: u64,
    /// Failed while the daemon was away.
    excused: u64,
    declined: u64,
}

#[derive(Default)]
pub struct Tally {
    sorts: Mutex<BTreeMap<&'static str, Sort>>,
    /// Refusals of the daemon, without the digits, which differ each time.
    declined: Mutex<BTreeMap<String, u64>>,
    pub violations: Mutex<Vec<String>>,
    /// Bytes that went through the proxy and were compared.
    pub compared: AtomicU64,
    pub killed: AtomicU64,
    pub checked: AtomicU64,
    pub left_by_killed_daemon: AtomicU64,
    pub restarts: AtomicU64,
}

pub fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Tally {
    pub fn violation(&self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("soak: VIOLATION: {what}");
        self.violations.lock().unwrap().push(what);
    }

    /// Counts an operation. `is_excused` means that the daemon was away meanwhile.
    pub fn count(&self, sort: &'static str, result: Result<(), Fail>, is_excused: bool) {
        let mut sorts = self.sorts.lock().unwrap();
        let entry = sorts.entry(sort).or_default();
        match result {
            Ok(()) => entry.succeeded += 1,
            Err(Fail::Broken(_) | Fail::Declined(_)) if is_excused => entry.excused += 1,
            Err(Fail::Declined(what)) => {
                entry.declined += 1;
                let words: String = what
                    .chars()
                    .filter(|c| !c.is_ascii_digit())
                    .take(120)
                    .collect();
                *self
                    .declined
                    .lock()
                    .unwrap()
                    .entry(format!("{sort}: {words}"))
                    .or_default() += 1;
            }
            Err(fail) => {
                drop(sorts);
                self.violation(format!("{sort}: {fail}"));
            }
        }
    }

    fn sum(&self, of: fn(&Sort) -> u64) -> u64 {
        self.sorts.lock().unwrap().values().map(of).sum()
    }

    pub fn line(&self) -> String {
        format!(
            "{} operations, {} excused, {} declined, {} restarts, {} clients killed, {} MB compared, {} objects checked",
            self.sum(|sort| sort.succeeded),
            self.sum(|sort| sort.excused),
            self.sum(|sort| sort.declined),
            read(&self.restarts),
            read(&self.killed),
            read(&self.compared) / 1_000_000,
            read(&self.checked),
        )
    }

    /// Prints the counts, and adds violations that only show in them. In a short run some kinds of
    /// operations may not have had their turn, which is fine.
    pub fn conclude(&self, sorts: &[&'static str], is_long: bool) {
        let counts = self.sorts.lock().unwrap().clone();
        println!(
            "soak: {:<22} {:>9} {:>9} {:>9}",
            "operations", "succeeded", "excused", "declined"
        );
        for sort in sorts {
            let Sort {
                succeeded,
                excused,
                declined,
            } = counts.get(sort).cloned().unwrap_or_default();
            println!("soak: {sort:<22} {succeeded:>9} {excused:>9} {declined:>9}");
            if succeeded == 0 && is_long {
                self.violation(format!("{sort}: not one succeeded"));
            }
            // The daemon has races of its own, but a faulty proxy would make it refuse every time.
            if declined > 3 + succeeded / 20 {
                self.violation(format!("{sort}: the daemon declined {declined}"));
            }
        }
        for (what, times) in self.declined.lock().unwrap().iter() {
            println!("soak: declined {times} times: {what}");
        }
        let left = read(&self.left_by_killed_daemon);
        if left > 0 {
            println!(
                "soak: {left} unlabelled objects were left by a daemon that was killed while making them"
            );
        }
        println!("soak: {}", self.line());
    }
}
