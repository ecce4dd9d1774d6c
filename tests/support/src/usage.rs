//! What the proxy uses, read from /proc: threads, descriptors, memory and processor time.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::{PATIENCE, Proxy, wait_until};

/// What a process holds at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Its threads.
    pub threads: usize,
    /// Its open descriptors.
    pub descriptors: usize,
    /// Its resident memory (VmRSS), in bytes.
    pub memory: usize,
    /// The most resident memory that it has had so far (VmHWM), in bytes.
    pub peak_memory: usize,
}

impl Usage {
    /// Returns the usage of the process with this id, or `None` once it has ended.
    pub fn of(pid: u32) -> Option<Usage> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |name: &str| -> Option<usize> {
            let value = field(&status, name)?;
            value.trim_end_matches("kB").trim().parse().ok()
        };
        Some(Usage {
            threads: number("Threads:")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
            memory: number("VmRSS:")? * 1024,
            peak_memory: number("VmHWM:")? * 1024,
        })
    }
}

impl Proxy {
    /// What the proxy holds now.
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid()).expect("the proxy runs")
    }

    /// Waits until the proxy serves nobody, and returns what it holds then.
    pub fn at_rest(&self) -> Usage {
        let mut usage = self.usage();
        wait_until("the connection that tried the new proxy is over", || {
            self.wait_idle();
            usage = self.usage();
            usage.threads == 2
        });
        usage
    }

    /// Waits until the proxy holds as many threads and descriptors as `before`.
    pub fn expect_at_rest(&self, before: Usage) {
        let held = |usage: Usage| (usage.threads, usage.descriptors);
        wait_until(&format!("what it holds is {before:?} again"), || {
            held(self.usage()) == held(before)
        });
    }

    /// The processor time that the proxy has used so far.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let stat = stat.expect("the proxy runs");
        // proc(5): utime and stime are fields 14 and 15. Field 2, the name, is in parentheses.
        let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|n| n.parse::<u64>().expect("a number")).sum();
        // USER_HZ is 100 on Linux.
        Duration::from_millis(ticks * 10)
    }

    /// Returns once the proxy has handled everything that it was sent, and sleeps. What has not
    /// happened by then does not happen by itself any more.
    ///
    /// # Panics
    /// If it is still busy after [`PATIENCE`].
    pub fn wait_idle(&self) {
        let start = Instant::now();
        let mut before = None;
        loop {
            let now = sleep_counts(self.pid());
            if now.is_some() && now == before {
                return;
            }
            before = now;
            assert!(start.elapsed() < PATIENCE, "the proxy is still busy");
            thread::sleep(Duration::from_micros(100));
        }
    }
}

/// Returns how often each thread has gone to sleep, or `None` unless all of them sleep. A thread
/// that waits for bytes is awake by the time that the call which sends them returns.
fn sleep_counts(pid: u32) -> Option<Vec<String>> {
    let mut counts = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let status = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        if !field(&status, "State:")?.starts_with('S') {
            return None;
        }
        counts.push(field(&status, "voluntary_ctxt_switches:")?.to_owned());
    }
    Some(counts)
}

/// The value of a line in /proc/PID/status.
fn field<'s>(status: &'s str, name: &str) -> Option<&'s str> {
    let mut lines = status.lines();
    lines
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}
