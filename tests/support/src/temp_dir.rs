//! A temporary directory for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A new directory. Dropping it removes it with everything in it.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Creates the directory, with a name that no other test has.
    #[expect(
        clippy::new_without_default,
        reason = "it creates a directory, which no caller of default() would expect"
    )]
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dlp-test.{}.{n}", std::process::id()));
        fs::create_dir(&path).expect("a temporary directory can be created");
        TempDir(path)
    }

    /// The directory's own path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of `name` in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
