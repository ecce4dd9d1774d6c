//! Archives that are written and read piece by piece, so their content may have any size.

use std::io::{self, Cursor, ErrorKind, Read};

use tar::{Archive, Builder, Header};

use crate::client::{Done, wrong};
use crate::random::Data;

/// The size of a block of an archive, in bytes.
const BLOCK: u64 = 512;

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header
}

/// Returns a reader of an archive with some small files and then one of `data`, and its length.
pub fn archive(small: &[(&str, &str)], name: &str, data: Data) -> (impl Read + Send + use<>, u64) {
    let mut before = Builder::new(Vec::new());
    for (name, text) in small {
        let mut header = header(text.len() as u64);
        before
            .append_data(&mut header, name, text.as_bytes())
            .expect("memory takes all");
    }
    let mut before = std::mem::take(before.get_mut());
    let mut header = header(data.left());
    header.set_path(name).expect("a short name");
    header.set_cksum();
    before.extend(header.as_bytes());
    let after = data.left().next_multiple_of(BLOCK) - data.left() + 2 * BLOCK;
    let length = before.len() as u64 + data.left() + after;
    let reader = Cursor::new(before)
        .chain(data)
        .chain(io::repeat(0).take(after));
    (reader, length)
}

/// Reads an archive to the end, and checks that its only plain file is `data`.
pub fn check(archive: &mut impl Read, mut data: Data) -> Done {
    let mut archive = Archive::new(archive);
    let mut buf = vec![0; 1 << 16];
    let mut is_seen = false;
    for file in archive.entries()? {
        let mut file = file.or_else(no_archive)?;
        if !file.header().entry_type().is_file() {
            continue;
        }
        is_seen = true;
        loop {
            match file.read(&mut buf)? {
                0 => break,
                n => data.check(&buf[..n]).or_else(wrong)?,
            }
        }
    }
    io::copy(archive.into_inner(), &mut io::sink())?;
    if is_seen && data.left() == 0 {
        Ok(())
    } else {
        wrong(format!("{} bytes are missing in the archive", data.left()))
    }
}

/// Tells a malformed archive from a broken connection: the errors of the tar crate's own have these
/// kinds.
fn no_archive<T>(error: io::Error) -> Done<T> {
    match error.kind() {
        ErrorKind::Other | ErrorKind::InvalidData => wrong(error.to_string()),
        _ => Err(error.into()),
    }
}
