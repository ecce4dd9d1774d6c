//! What must hold at all times: the proxy lives, holds no more than its clients need, and
//! everything on the engine is labelled.

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Kind, Usage};

use crate::Soak;
use crate::client::{Done, Fail};
use crate::engine::Object;
use crate::tally::{add, read};

/// How long the proxy and the engine may take to notice that all clients have left.
const REST: Duration = Duration::from_secs(60);

/// How much the proxy's memory at rest may grow after the first rounds, in KiB.
const GROWTH_KIB: usize = 2048;

/// The most memory that the proxy may ever have, in KiB.
const PEAK_KIB: usize = 64 * 1024;

/// What the proxy was seen to hold.
#[derive(Default)]
pub struct Samples {
    pub base: Usage,
    pub least: Option<Usage>,
    pub most: Usage,
    pub last: Usage,
    /// Its memory each time that it was at rest, in KiB.
    pub at_rest_kib: Vec<usize>,
}

impl Samples {
    fn take(&mut self, usage: Usage) {
        let least = self.least.get_or_insert(usage);
        let most = &mut self.most;
        for (least, most, now) in [
            (&mut least.memory, &mut most.memory, usage.memory),
            (&mut least.threads, &mut most.threads, usage.threads),
            (
                &mut least.descriptors,
                &mut most.descriptors,
                usage.descriptors,
            ),
        ] {
            *least = now.min(*least);
            *most = now.max(*most);
        }
        self.last = usage;
    }

    pub fn line(&self) -> String {
        let least = self.least.unwrap_or_default();
        let of = |name: &str, number: fn(Usage) -> usize| {
            let (least, most, last) = (number(least), number(self.most), number(self.last));
            format!("{name} {least}..{most}, now {last}")
        };
        [
            of("RSS KiB", |usage| usage.memory / 1024),
            of("threads", |usage| usage.threads),
            of("descriptors", |usage| usage.descriptors),
        ]
        .join("; ")
    }
}

impl Soak {
    /// What the proxy holds now, or `None` if it is gone.
    fn usage(&self) -> Option<Usage> {
        Usage::of(self.proxy.pid())
    }

    /// Takes a sample. Returns false if the proxy is gone.
    pub fn sample(&self) -> bool {
        let Some(usage) = self.usage() else {
            return false;
        };
        self.samples.lock().unwrap().take(usage);
        true
    }

    /// Remembers what the proxy holds before the first client.
    pub fn find_base(&self) {
        self.samples.lock().unwrap().base = self.proxy.at_rest();
    }

    pub fn is_labelled(&self, labels: &Value) -> bool {
        labels["soak.job"] == *self.job && labels["soak.note"] == crate::NOTE_VALUE
    }

    /// Lists all objects of the engine without our labels.
    fn unlabelled(&self) -> Done<Vec<Object>> {
        let mut objects = self.engine.objects()?;
        add(&self.tally.checked, objects.len() as u64);
        objects.retain(|object| !self.is_labelled(&object.labels));
        Ok(objects)
    }

    /// Looks for unlabelled objects while the work goes on. An object seen once may still be in the
    /// making: the daemon lists a volume before it has stored its labels.
    pub fn sweep(&self, seen: &mut HashMap<String, u32>) {
        let start = Instant::now();
        let found = match self.unlabelled() {
            Ok(found) => found,
            Err(Fail::Stuck(what)) => return self.tally.violation(format!("the engine: {what}")),
            // Objects that are removed meanwhile can make a listing fail.
            Err(fail @ Fail::Declined(_)) => return self.tally.count("listing", Err(fail), true),
            Err(fail) if !self.engine.was_away_since(start) => {
                return self.tally.violation(format!("the engine: {fail}"));
            }
            Err(_) => return,
        };
        let ids: HashSet<&String> = found.iter().map(|object| &object.id).collect();
        seen.retain(|id, _| ids.contains(id));
        for object in &found {
            // Containers of build steps are checked at the end of the round.
            let times = seen.entry(object.id.clone()).or_default();
            *times += 1;
            if *times == 2 && !object.is_build_step && !self.is_excused(object) {
                self.tally
                    .violation(format!("unlabelled: {object}, {}", object.labels));
            }
        }
    }

    /// Whether the daemon is to blame. A daemon that is killed can leave a volume whose labels it
    /// has not stored yet, and whose client got no response. One that ends in any way can leave the
    /// containers of build steps.
    fn is_excused(&self, object: &Object) -> bool {
        match self.signal_in_round() {
            Some(_) if object.is_build_step => true,
            Some(signal) => signal == "KILL" && object.kind == Kind::Volume,
            None => false,
        }
    }

    /// Checks, after all clients have left, that the proxy has let go of everything, that no object
    /// of the engine is unlabelled, and that our label finds all of them. Removes them.
    pub fn rest(&self) {
        let base = self.samples.lock().unwrap().base;
        let start = Instant::now();
        loop {
            let Some(usage) = self.usage() else {
                return self.tally.violation("the proxy is gone");
            };
            if usage.threads <= base.threads && usage.descriptors <= base.descriptors {
                let mut samples = self.samples.lock().unwrap();
                samples.at_rest_kib.push(usage.memory / 1024);
                break;
            }
            if start.elapsed() > REST {
                self.tally.violation(format!(
                    "the proxy does not let go: {base:?} before, now {usage:?}"
                ));
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.sample();
        if self.proxy.log().contains("panicked") {
            self.tally.violation("a panic in the proxy's log");
        }
        if let Err(fail) = self.clean() {
            self.tally
                .violation(format!("the engine, all quiet: {fail}"));
        }
    }

    /// Removes what the label finds, and checks that nothing is left.
    fn clean(&self) -> Done {
        let filters = format!("filters={{%22label%22:[%22soak.job={}%22]}}", self.job);
        let (mut seen, mut excused) = (HashMap::new(), HashSet::new());
        let start = Instant::now();
        // Nothing must be found twice in a row: the daemon may still be creating objects of clients
        // that were killed.
        let mut times_clean = 0;
        while times_clean < 2 {
            let mut left = Vec::new();
            let objects = match self.engine.objects() {
                Err(Fail::Declined(_)) if start.elapsed() < REST => continue,
                objects => objects?,
            };
            for object in objects {
                let is_labelled = self.is_labelled(&object.labels);
                if is_labelled {
                    let (path, key) = match object.kind {
                        Kind::Container => (format!("/containers/json?all=1&{filters}"), "Id"),
                        Kind::Network => (format!("/networks?{filters}"), "Id"),
                        Kind::Volume => (format!("/volumes?{filters}"), "Name"),
                        Kind::Image => (format!("/images/json?{filters}"), "RepoTags"),
                    };
                    let found = self.engine.get(&path)?;
                    let found = if object.kind == Kind::Volume {
                        &found["Volumes"]
                    } else {
                        &found
                    };
                    let is_found = found.as_array().into_iter().flatten().any(|item| {
                        item[key] == *object.id
                            || item[key]
                                .as_array()
                                .is_some_and(|names| names.contains(&object.id.clone().into()))
                    });
                    // Otherwise it has vanished by itself, which the next listing shows.
                    if is_found {
                        self.engine.remove(&object)?;
                    }
                    left.push(object);
                    continue;
                }
                let times = seen.entry(object.id.clone()).or_insert(0);
                *times += 1;
                if self.is_excused(&object) {
                    if excused.insert(object.id.clone()) {
                        add(&self.tally.left_by_killed_daemon, 1);
                    }
                    self.engine.remove(&object)?;
                } else if !object.is_build_step && *times == 3 {
                    self.tally
                        .violation(format!("unlabelled: {object}, {}", object.labels));
                    self.engine.remove(&object)?;
                }
                left.push(object);
            }
            times_clean = if left.is_empty() { times_clean + 1 } else { 0 };
            if start.elapsed() > REST {
                for object in left {
                    self.tally
                        .violation(format!("left behind: {object}, {}", object.labels));
                }
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        // Removes the steps of builds and BuildKit's cache.
        for prune in ["/images/prune", "/build/prune"] {
            self.engine.connect()?.ask("POST", prune, None)?;
        }
        Ok(())
    }

    /// Checks that the memory at rest has not grown, and that the peak was low.
    pub fn conclude_memory(&self) {
        let samples = self.samples.lock().unwrap();
        println!("soak: the proxy: {}", samples.line());
        println!("soak: RSS at rest, KiB: {:?}", samples.at_rest_kib);
        // The first rounds load code and set up the allocator's arenas, which stay.
        let rounds = samples.at_rest_kib.get(2..).unwrap_or_default();
        let third = rounds.len() / 3;
        if third >= 3 {
            let median = |of: &[usize]| {
                let mut of = of.to_vec();
                of.sort_unstable();
                of[of.len() / 2]
            };
            let (first, last) = (
                median(&rounds[..third]),
                median(&rounds[rounds.len() - third..]),
            );
            println!("soak: median of the first third {first} KiB, of the last {last} KiB");
            if last > first + GROWTH_KIB {
                self.tally.violation(format!(
                    "the proxy's memory grows: {first} KiB, then {last} KiB"
                ));
            }
        }
        if let Some(usage) = self.usage() {
            let peak = usage.peak_memory / 1024;
            println!("soak: the most it ever had in memory: {peak} KiB");
            if peak > PEAK_KIB {
                self.tally
                    .violation(format!("the proxy had {peak} KiB in memory"));
            }
        }
        if read(&self.tally.compared) == 0 {
            self.tally.violation("nothing was compared");
        }
    }
}
