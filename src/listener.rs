//! The proxy's own socket: making it without a moment in which the wrong ones may connect,
//! accepting clients, and removing it at the end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;

use crate::connection::{self, Settings};
use crate::error::{Error, Refusal};
use crate::exchange::STACK_BYTES;
use crate::reply::{self, Then};

/// The longest path of a socket, in bytes (`sun_path` of unix(7) without its NUL).
const MAX_PATH_BYTES: usize = 107;

/// How long to wait before the next accept when the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
        let directory = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Err(fail("this is no path of a socket")),
        };
        // Two proxies that start at once take turns, or the later one would remove the socket
        // that the earlier one has just made.
        let lock = File::open(directory)
            .map_err(|err| fail(&format!("directory {directory:?}: {err}")))?;
        lock.lock()
            .map_err(|err| fail(&format!("directory {directory:?}: {err}")))?;
        remove_stale(path).map_err(|what| fail(&what))?;

        // No permission at all until owner and group are right. No other thread runs yet.
        let before = umask(Mode::from_bits_truncate(0o777));
        let bound = UnixListener::bind(path);
        umask(before);
        let socket = bound.map_err(|err| fail(&err.to_string()))?;
        let admitted = chown(path, access.uid, access.gid)
            .map_err(|err| format!("cannot change its owner or group: {err}"))
            .and_then(|()| {
                fs::set_permissions(path, fs::Permissions::from_mode(access.mode))
                    .map_err(|err| format!("cannot change its mode: {err}"))
            })
            .and_then(|()| identity(path).map_err(|err| err.to_string()));
        match admitted {
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

    /// Accepts clients for good, each in a thread of its own.
    pub(crate) fn serve(&self, settings: &Arc<Settings>) {
        for number in 1.. {
            let client = loop {
                match self.socket.accept() {
                    Ok((client, _)) => break client,
                    Err(err) => {
                        log::error!("cannot accept a client: {err}");
                        thread::sleep(ACCEPT_PAUSE);
                    }
                }
            };
            spawn(client, number, Arc::clone(settings));
        }
    }

    /// Removes the socket, unless another one is at its path by now.
    pub(crate) fn remove(&self) {
        if identity(&self.path).ok() == Some(self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn spawn(client: UnixStream, number: u64, settings: Arc<Settings>) {
    // A second handle, since the thread takes the first one with it even if it cannot start.
    let answer = client.try_clone();
    let thread = thread::Builder::new()
        .name(format!("client {number}"))
        .stack_size(STACK_BYTES);
    if let Err(err) = thread.spawn(move || connection::serve(client, number, &settings)) {
        log::error!("#{number} cannot be served: {err}");
        let refusal = Refusal::new(503, format!("cannot start a thread: {err}"));
        if let Ok(mut client) = answer {
            let _ = client.write_all(&reply::refusal(&refusal, "", Then::Close));
        }
    }
}

/// Removes a socket on which nobody listens; leaves all else alone and says what it is.
fn remove_stale(path: &Path) -> Result<(), String> {
    let found = match fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err.to_string()),
        Ok(found) => found,
    };
    if !found.file_type().is_socket() {
        let what = "something that is no socket is there; remove it or give another path";
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
