//! Archives as they are written and read piece by piece, for contents of any size.

use std::io::Read;

use crate::client::{Done, broken};
use crate::random::Data;

/// What stands before the content of a file.
pub fn header(name: &str, size: u64) -> Vec<u8> {
    let mut header = vec![0; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// How many bytes fill the last block of a content.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(512) - size
}

/// An archive to be read: small files first, then one of data. Also its length.
pub fn archive(small: &[(&str, &str)], name: &str, data: Data) -> (impl Read + Send + use<>, u64) {
    let mut before = Vec::new();
    for (name, text) in small {
        before.extend(header(name, text.len() as u64));
        before.extend(text.as_bytes());
        before.resize(before.len().next_multiple_of(512), 0);
    }
    before.extend(header(name, data.left()));
    let after = padding(data.left()) + 1024;
    let length = before.len() as u64 + data.left() + after;
    let reader = std::io::Cursor::new(before)
        .chain(data)
        .chain(std::io::repeat(0).take(after));
    (reader, length)
}

/// Reads an archive to the end; its one plain file must hold exactly `data`.
pub fn check(archive: &mut impl Read, mut data: Data) -> Done {
    let mut header = [0; 512];
    let mut buf = vec![0; 1 << 16];
    let mut is_seen = false;
    loop {
        archive.read_exact(&mut header)?;
        if header.iter().all(|&byte| byte == 0) {
            break;
        }
        let digits = String::from_utf8_lossy(&header[124..135]).into_owned();
        let Ok(size) = u64::from_str_radix(digits.trim_matches(['\0', ' ']), 8) else {
            return crate::client::wrong(format!("no header of an archive: size {digits:?}"));
        };
        let is_file = matches!(header[156], 0 | b'0');
        let mut left = size;
        while left > 0 {
            let most = buf.len().min(usize::try_from(left).unwrap());
            let n = archive.read(&mut buf[..most])?;
            if n == 0 {
                return broken("the archive ended within a file");
            }
            if is_file {
                data.check(&buf[..n]).or_else(crate::client::wrong)?;
            }
            left -= n as u64;
        }
        is_seen |= is_file;
        let mut rest = vec![0; usize::try_from(padding(size)).unwrap()];
        archive.read_exact(&mut rest)?;
    }
    while archive.read(&mut buf)? > 0 {}
    match is_seen && data.left() == 0 {
        true => Ok(()),
        false => crate::client::wrong(format!("{} bytes are missing in the archive", data.left())),
    }
}
