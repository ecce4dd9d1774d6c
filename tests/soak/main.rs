//! A soak: clients of many kinds work side by side, through the real proxy, on a private engine
//! whose daemon is restarted under them. It lasts `SOAK_SECONDS` (20).
//!
//! The soak works in rounds. A round draws operations from a shuffled deck, so every kind gets its
//! turn. At the end of a round all clients are gone, and the proxy must hold no more than before
//! the first one. `SOAK_SEED` repeats the choices of a run, as far as timing allows. Without root,
//! or without a Docker daemon to start, the soak is left out.

#![allow(unreachable_pub, reason = "nothing of a program is reachable")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "this is a test, although nothing has the attribute"
)]

mod builds;
mod client;
mod creates;
mod engine;
mod mischief;
mod operation;
mod random;
mod streams;
mod tally;
mod tar;
mod transfers;
mod watch;

use std::collections::HashMap;
use std::env;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::geteuid;
use support::{Program, Proxy, TempDir};

use client::{Done, Fail};
use engine::Engine;
use operation::Operation;
use random::Random;
use tally::{Tally, add};
use watch::Samples;

/// The proxy under test.
const PROXY: Program = Program::new(env!("CARGO_BIN_EXE_docker-label-proxy"));

/// The value of the second label.
const NOTE_VALUE: &str = r#"say "hi" 'there' \ $HOME a=b {{.Name}} %41+ # ünïcödé 🐳"#;

/// The longest that an operation may take.
const OPERATION: Duration = Duration::from_secs(300);
/// The longest that an operation with an image of more than 1 GB may take.
const LARGE_OPERATION: Duration = Duration::from_secs(900);

/// The number of clients that work side by side.
const N_WORKERS: usize = 6;

type Run = fn(&mut Operation<'_>) -> Done;
type Sort = (&'static str, Run);

const SORTS: &[Sort] = &[
    ("container, raw", creates::container_raw),
    ("container, command", creates::container_command),
    ("network", creates::network),
    ("volume", creates::volume),
    ("build, classic", builds::classic),
    ("build, BuildKit", builds::buildkit),
    ("build, command", builds::command),
    ("commit", builds::commit),
    ("attach", streams::attach),
    ("attach, command", streams::attach_command),
    ("exec", streams::exec),
    ("exec, command", streams::exec_command),
    ("logs", streams::logs),
    ("logs, command", streams::logs_command),
    ("events", streams::events),
    ("copy", transfers::copy),
    ("copy, command", transfers::copy_command),
    ("save and load", transfers::save_and_load),
    ("bad requests", mischief::bad_requests),
    ("idle connections", mischief::idle),
    ("vanishing clients", mischief::vanish),
    ("killed commands", mischief::killed),
    ("killed commands", mischief::killed),
];
const BUILDX: Sort = ("build, buildx", builds::buildx);
const LARGE: Sort = ("save and load, large", transfers::save_and_load_large);

type Doing = (&'static str, Instant, Duration);

/// A run of the soak.
struct Soak {
    seed: u64,
    /// The value of the first label, and the prefix of all names.
    job: String,
    engine: Engine,
    proxy: Proxy,
    dir: TempDir,
    tally: Tally,
    samples: Mutex<Samples>,
    is_long: bool,
    /// The largest data of an ordinary operation, in bytes.
    most_data: u64,
    /// The size of the large image, in bytes.
    large_image: u64,
    sorts: Vec<Sort>,
    deck: Mutex<Vec<Sort>>,
    /// What each worker does, since when, and how long it may take.
    doing: Vec<Mutex<Option<Doing>>>,
    count: AtomicU64,
    /// The signal that the daemon gets in this round, if any.
    signal: Mutex<Option<&'static str>>,
    is_interrupted: Arc<AtomicBool>,
}

fn main() -> ExitCode {
    let args = Arguments::from_args();
    // All threads leave these signals to the one that waits for them. Commands do not inherit it.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().expect("signals can be blocked");
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_interrupted);
    thread::spawn(move || {
        while signals.wait().is_ok() {
            flag.store(true, Ordering::Relaxed);
        }
    });

    let reason = left_out();
    if let (Some(reason), false) = (reason, args.list) {
        eprintln!("the soak is left out: {reason}");
    }
    let run = move || {
        if soak(&is_interrupted) {
            Ok(())
        } else {
            Err(Failed::without_message())
        }
    };
    let trials = vec![Trial::test("soak", run).with_ignored_flag(reason.is_some())];
    libtest_mimic::run(&args, trials).exit_code()
}

/// Returns why the soak has to be left out, if it has.
fn left_out() -> Option<&'static str> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    if env::var("ENGINE").is_ok_and(|engine| engine == "podman") {
        Some("Podman has no daemon to be restarted")
    } else if !geteuid().is_root() {
        Some("an engine of its own needs root")
    } else if !dirs.any(|dir| dir.join("dockerd").exists()) {
        Some("there is no dockerd")
    } else {
        None
    }
}

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is not a number")),
    )
}

/// Runs the soak. Returns whether it found nothing wrong.
fn soak(is_interrupted: &Arc<AtomicBool>) -> bool {
    let seconds = number("SOAK_SECONDS").unwrap_or(20);
    let is_long = seconds >= 300;
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seed = number("SOAK_SEED").unwrap_or(time.as_secs());
    println!("\nsoak: {seconds} s, SOAK_SEED={seed}");

    let engine = match Engine::start() {
        Ok(engine) => engine,
        Err(error) => {
            eprintln!("soak: {error}");
            return false;
        }
    };
    let job = format!("soak{}x", std::process::id());
    let dir = TempDir::new();
    let mut command = PROXY.command();
    command
        .arg("--daemon")
        .arg(engine.socket())
        .env("RUST_LOG", "warn");
    for label in [format!("soak.job={job}"), format!("soak.note={NOTE_VALUE}")] {
        command.args(["--label", &label]);
    }
    let mut sorts = SORTS.to_vec();
    if builds::has_buildx(&dir.join("docker-config")) {
        sorts.push(BUILDX);
    } else {
        println!("soak: no buildx here, so without it");
    }
    let soak = Soak {
        seed,
        job,
        proxy: Proxy::start_at(&dir.join("proxy.sock"), command),
        engine,
        dir,
        tally: Tally::default(),
        samples: Mutex::default(),
        is_long,
        most_data: if is_long { 4_000_000 } else { 300_000 },
        large_image: if is_long { 1_100_000_000 } else { 64_000_000 },
        sorts,
        deck: Mutex::default(),
        doing: (0..N_WORKERS).map(|_| Mutex::new(None)).collect(),
        count: AtomicU64::new(0),
        signal: Mutex::new(None),
        is_interrupted: Arc::clone(is_interrupted),
    };
    soak.find_base();
    soak.rounds(Duration::from_secs(seconds));
    soak.conclude()
}

impl Soak {
    /// Works in rounds until the time is over.
    fn rounds(&self, time: Duration) {
        let is_long = self.is_long;
        let start = Instant::now();
        let length = if is_long {
            Duration::from_secs(60)
        } else {
            time / 2
        };
        for n in 0.. {
            let left = time.saturating_sub(start.elapsed());
            // The short run always has a second round, in which the daemon restarts.
            let is_over = if is_long { left < length / 3 } else { n == 2 };
            let is_over = is_over || self.is_interrupted.load(Ordering::Relaxed);
            if is_over || self.tally.violations.lock().unwrap().len() >= 20 {
                break;
            }
            // The short run restarts the daemon once, the long one every third round.
            let restart = match (is_long, n) {
                (false, 1) => Some(*Random::new(self.seed).pick(&["KILL", "TERM"])),
                (true, n) if n % 3 == 1 => Some(if n % 2 == 1 { "KILL" } else { "TERM" }),
                _ => None,
            };
            let has_large = if is_long { n % 10 == 0 } else { n == 0 };
            let length = if is_long { length.min(left) } else { length };
            self.round(n, length, restart, has_large);
            self.rest();
            println!(
                "soak: {} s: {}",
                start.elapsed().as_secs(),
                self.tally.line()
            );
            println!("soak: {}", self.samples.lock().unwrap().line());
        }
    }

    fn round(&self, n: u64, time: Duration, restart: Option<&'static str>, has_large: bool) {
        let start = Instant::now();
        let end = start + time;
        let mut random = Random::new(self.seed ^ (n << 32));
        let restart_at = start + time.mul_f64(0.2 + random.below(50) as f64 / 100.0);
        *self.signal.lock().unwrap() = restart;
        let mut restart = restart;
        let mut seen = HashMap::new();
        let mut sweep_at = start + Duration::from_secs(1);
        let mut line_at = start + Duration::from_secs(10);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..N_WORKERS)
                .map(|worker| {
                    let random = Random::new(random.next());
                    let first = (has_large && worker == 0).then_some(LARGE);
                    scope.spawn(move || self.work(worker, random, first, end))
                })
                .collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                thread::sleep(Duration::from_millis(100));
                let now = Instant::now();
                if !self.sample() {
                    self.tally.violation("the proxy is gone");
                    self.give_up();
                }
                if now >= sweep_at {
                    self.sweep(&mut seen);
                    sweep_at = Instant::now() + Duration::from_secs(2);
                }
                if now >= line_at {
                    let doing = self.watch_workers();
                    println!(
                        "soak: round {n}, {} s: {}; {doing}",
                        start.elapsed().as_secs(),
                        self.tally.line()
                    );
                    line_at = now
                        + Duration::from_secs(if time > Duration::from_secs(30) {
                            20
                        } else {
                            10
                        });
                }
                if now >= restart_at
                    && let Some(signal) = restart.take()
                {
                    println!("soak: round {n}: the daemon gets SIG{signal}");
                    add(&self.tally.restarts, 1);
                    scope.spawn(move || {
                        if let Err(error) = self.engine.restart(signal) {
                            self.tally.violation(format!("the engine: {error}"));
                            self.give_up();
                        }
                    });
                }
            }
            for worker in workers {
                if worker.join().is_err() {
                    self.tally.violation("a worker panicked");
                }
            }
        });
    }

    /// Runs one client after the other until `end`, or until the large image has been transferred.
    fn work(&self, worker: usize, mut random: Random, mut first: Option<Sort>, end: Instant) {
        let large = || {
            self.doing[0]
                .lock()
                .unwrap()
                .is_some_and(|(sort, ..)| sort == LARGE.0)
        };
        while (Instant::now() < end || large()) && !self.is_interrupted.load(Ordering::Relaxed) {
            let (sort, run) = first.take().unwrap_or_else(|| self.draw(&mut random));
            let limit = if sort == LARGE.0 {
                LARGE_OPERATION
            } else {
                OPERATION
            };
            let start = Instant::now();
            *self.doing[worker].lock().unwrap() = Some((sort, start, limit));
            let count = self.count.fetch_add(1, Ordering::Relaxed);
            let mut operation = Operation {
                soak: self,
                random: Random::new(random.next()),
                name: format!("{}-{count}", self.job),
            };
            let result = run(&mut operation).map_err(|fail| fail.during(&operation.name));
            *self.doing[worker].lock().unwrap() = None;
            let is_excused = self.engine.was_away_since(start);
            if is_excused && matches!(result, Err(Fail::Broken(_))) {
                // The daemon is away. The pause keeps the deck from being used up in vain.
                thread::sleep(Duration::from_millis(300));
            }
            self.tally.count(sort, result, is_excused);
        }
    }

    /// Draws from the deck, which is filled and shuffled when it is empty.
    fn draw(&self, random: &mut Random) -> Sort {
        let mut deck = self.deck.lock().unwrap();
        if deck.is_empty() {
            deck.extend(&self.sorts);
            random.shuffle(&mut deck);
        }
        deck.pop().expect("it was filled")
    }

    /// Describes what the workers do. Gives up if one hangs, since it cannot be joined.
    fn watch_workers(&self) -> String {
        let mut doing = Vec::new();
        for worker in &self.doing {
            if let Some((sort, since, limit)) = *worker.lock().unwrap() {
                if since.elapsed() > limit {
                    self.tally
                        .violation(format!("{sort}: hangs since {:?}", since.elapsed()));
                    self.give_up();
                }
                doing.push(format!("{sort} {} s", since.elapsed().as_secs()));
            }
        }
        doing.join(", ")
    }

    /// Ends the process at once, with the findings so far.
    fn give_up(&self) -> ! {
        self.conclude();
        self.engine.stop();
        let _ = std::fs::remove_dir_all(self.engine.dir());
        let pid = i32::try_from(self.proxy.pid()).unwrap();
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        let _ = std::fs::remove_dir_all(self.dir.path());
        std::process::exit(1);
    }

    fn signal_in_round(&self) -> Option<&'static str> {
        *self.signal.lock().unwrap()
    }

    /// Prints the summary. Returns whether nothing was wrong.
    fn conclude(&self) -> bool {
        self.conclude_memory();
        let is_interrupted = self.is_interrupted.load(Ordering::Relaxed);
        if is_interrupted {
            self.tally.violation("interrupted");
        }
        let mut names: Vec<_> = self
            .sorts
            .iter()
            .map(|sort| sort.0)
            .chain([LARGE.0])
            .collect();
        names.dedup();
        self.tally.conclude(&names, self.is_long);
        let violations = self.tally.violations.lock().unwrap();
        if violations.is_empty() {
            println!("soak: no violation");
            return true;
        }
        println!(
            "soak: {} violations; SOAK_SEED={}",
            violations.len(),
            self.seed
        );
        for violation in violations.iter() {
            println!("soak: VIOLATION: {violation}");
        }
        let log = self.proxy.log();
        let lines: Vec<&str> = log.lines().collect();
        println!("soak: the end of the proxy's log:");
        for line in &lines[lines.len().saturating_sub(20)..] {
            println!("{line}");
        }
        let _ = std::io::stdout().flush();
        false
    }
}
