//! The proxy's own socket: making it without a moment in which the wrong ones may connect,
//! accepting clients, and removing it at the end.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;

use crate::error::{Error, Reason, Refusal};
use crate::limits::{
    ACCEPT_PAUSE, MAX_PATH_BYTES, MAX_TURNED_AWAY, OTHER_DESCRIPTORS, STACK_BYTES,
};
use crate::proxy::connection;
use crate::proxy::log_throttle::LogThrottle;
use crate::proxy::settings::Settings;

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The permission bits of the socket; to connect takes write permission.
    pub mode: u32,
    /// Its owner, where it is not the user of the process.
    pub uid: Option<u32>,
    /// Its group, where it is not the group of the process.
    pub gid: Option<u32>,
}

/// The socket that clients connect to.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode, by which the socket is known again.
    identity: (u64, u64),
}

impl Listener {
    /// Makes the socket. One that a dead proxy has left behind is replaced.
    ///
    /// # Errors
    /// When something else is at the path, when somebody listens there, or when the system
    /// refuses; the error names the path.
    pub(crate) fn bind(path: &Path, access: Access) -> Result<Listener, Error> {
        let fail = |what: &str| Error::Failure(format!("cannot listen on {path:?}: {what}"));
        let n_bytes = path.as_os_str().len();
        if n_bytes > MAX_PATH_BYTES {
            return Err(fail(&format!(
                "the path has {n_bytes} bytes; a socket's has at most {MAX_PATH_BYTES}"
            )));
        }
        // Two proxies that start at once take turns, or the later one would remove the socket
        // that the earlier one has just made.
        let _lock = lock_directory(path).map_err(|what| fail(&what))?;
        remove_stale(path).map_err(|what| fail(&what))?;
        // No permission at all until owner and group are right. No other thread runs yet.
        let before = umask(Mode::from_bits_truncate(0o777));
        let bound = UnixListener::bind(path);
        umask(before);
        let socket = bound.map_err(|err| fail(&err.to_string()))?;
        match give_access(path, access) {
            Ok(identity) => Ok(Listener {
                socket,
                path: path.to_owned(),
                identity,
            }),
            Err(what) => {
                let _ = fs::remove_file(path);
                Err(fail(&what))
            }
        }
    }

    /// Accepts clients for good, each in a thread of its own, and serves as many at a time as
    /// `max_connections` says.
    pub(crate) fn serve(&self, settings: &Arc<Settings>, max_connections: usize) {
        let mut clients = Clients {
            settings: Arc::clone(settings),
            max_connections,
            served: Arc::default(),
            turned_away: Arc::default(),
            refused: LogThrottle::default(),
        };
        let mut failed = LogThrottle::default();
        for number in 1.. {
            let client = loop {
                match self.socket.accept() {
                    Ok((client, _)) => break Arc::new(client),
                    Err(err) => {
                        failed.occurred(|| log::error!("cannot accept a client: {err}"));
                        thread::sleep(ACCEPT_PAUSE);
                    }
                }
            };
            failed.may_be_over(|n| log::info!("clients are accepted again, after {n} failures"));
            clients.admit(client, number);
        }
    }

    /// Removes the socket, unless another one is at its path by now.
    pub(crate) fn remove(&self) {
        if identity(&self.path).ok() == Some(self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The clients that are connected.
struct Clients {
    settings: Arc<Settings>,
    max_connections: usize,
    served: Arc<AtomicUsize>,
    turned_away: Arc<AtomicUsize>,
    refused: LogThrottle,
}

impl Clients {
    /// Serves a client in a thread of its own, or turns it away where there is no place for it.
    fn admit(&mut self, client: Arc<UnixStream>, number: u64) {
        let Err(refusal) = self.serve(&client, number) else {
            let refused = &mut self.refused;
            refused.may_be_over(|n| log::info!("clients are served again; {n} were not"));
            return;
        };
        self.refused
            .occurred(|| log::warn!("clients are not served: {refusal}"));
        log::debug!("#{number} is not served");
        let (again, settings, why) = (
            Arc::clone(&client),
            Arc::clone(&self.settings),
            refusal.clone(),
        );
        let turn_away = move || connection::turn_away(again, number, &settings, &why);
        let is_told = Place::take(&self.turned_away, MAX_TURNED_AWAY)
            .is_some_and(|place| spawn(number, place, turn_away).is_ok());
        if !is_told {
            connection::turn_away_at_once(&client, &refusal);
        }
    }

    /// Starts to serve a client.
    ///
    /// # Errors
    /// When it is one too many, or there is no thread for it.
    fn serve(&self, client: &Arc<UnixStream>, number: u64) -> Result<(), Refusal> {
        let busy = |what| Refusal::new(Reason::Busy, what);
        let max_connections = self.max_connections;
        let place = Place::take(&self.served, max_connections).ok_or_else(|| {
            busy(format!(
                "{max_connections} clients are connected already, as many as are served at a time; \
                 close some, or raise --max-connections"
            ))
        })?;
        let (client, settings) = (Arc::clone(client), Arc::clone(&self.settings));
        let serve = move || connection::serve(client, number, &settings);
        spawn(number, place, serve).map_err(|err| {
            busy(format!(
                "cannot start a thread for a client: {err}; allow more (TasksMax=, ulimit -u)"
            ))
        })
    }
}

/// One of a limited number of connections, given back when dropped, also by a panic.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Option<Place> {
        // One thread takes places; others only give theirs back.
        (taken.load(Ordering::SeqCst) < limit).then(|| {
            taken.fetch_add(1, Ordering::SeqCst);
            Place(Arc::clone(taken))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs `serve` in a thread of its own, which a panic ends without touching others.
fn spawn(number: u64, place: Place, serve: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let run = move || {
        let _place = place;
        // The text of the panic is on stderr already, by the hook of std, with the thread's name.
        if catch_unwind(AssertUnwindSafe(serve)).is_err() {
            log::error!("#{number} ended by a panic, which is a bug; others are not affected");
        }
    };
    let thread = thread::Builder::new()
        .name(format!("client {number}"))
        .stack_size(STACK_BYTES);
    thread.spawn(run).map(drop)
}

/// Raises the limit of descriptors as far as it goes; how many connections can be served with
/// it, each with a descriptor for the client and one for the daemon, and at most `wanted`.
pub(crate) fn allow_connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, hard)| {
        match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(_) => soft,
        }
    });
    let Ok(limit) = limit else { return wanted };
    let possible = (limit.saturating_sub(OTHER_DESCRIPTORS) / 2).max(1);
    let possible = usize::try_from(possible).unwrap_or(usize::MAX);
    if possible < wanted {
        log::warn!(
            "serving {possible} clients at a time rather than {wanted}: \
             there are {limit} descriptors (LimitNOFILE=, ulimit -n)"
        );
    }
    possible.min(wanted)
}

/// Locks the directory of the socket at `path`, as long as the file is open.
fn lock_directory(path: &Path) -> Result<File, String> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err("it is not the path of a socket".to_owned()),
    };
    let lock = File::open(directory).and_then(|file| file.lock().map(|()| file));
    lock.map_err(|err| format!("directory {directory:?}: {err}"))
}

/// Lets those connect who may, and returns the identity of the socket.
fn give_access(path: &Path, access: Access) -> Result<(u64, u64), String> {
    chown(path, access.uid, access.gid)
        .map_err(|err| format!("cannot change its owner or group: {err}"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(access.mode))
        .map_err(|err| format!("cannot change its mode: {err}"))?;
    identity(path).map_err(|err| err.to_string())
}

/// Removes a socket on which nobody listens; leaves all else alone and says what it is.
fn remove_stale(path: &Path) -> Result<(), String> {
    let found = match fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err.to_string()),
        Ok(found) => found,
    };
    if !found.file_type().is_socket() {
        let what = "something that is not a socket is there; remove it or give another path";
        return Err(what.to_owned());
    }
    match UnixStream::connect(path) {
        Ok(_) => return Err("another process listens there".to_owned()),
        Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => (),
        // Left by a proxy that died in `bind` before anyone could connect: a proxy that is still
        // there holds the lock.
        Err(err)
            if err.kind() == io::ErrorKind::PermissionDenied
                && found.mode() & 0o777 == 0
                && found.uid() == geteuid().as_raw() => {}
        Err(err) => return Err(format!("the socket there cannot be tried: {err}")),
    }
    log::info!("replacing the stale socket {path:?}");
    fs::remove_file(path).map_err(|err| format!("the stale socket there cannot be removed: {err}"))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_panic_ends_its_own_connection_and_gives_the_place_back() {
        let taken = Arc::new(AtomicUsize::new(0));
        let (mut client, socket) = UnixStream::pair().unwrap();
        let place = Place::take(&taken, 1).unwrap();
        assert!(Place::take(&taken, 1).is_none());
        let (ended, is_ended) = std::sync::mpsc::channel::<()>();
        spawn(1, place, move || {
            let _held = (socket, ended);
            panic!("as a bug would");
        })
        .unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "its socket is closed");
        assert!(is_ended.recv().is_err());
        while taken.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
        assert!(Place::take(&taken, 1).is_some());
    }
}
