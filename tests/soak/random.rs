//! Random numbers that a seed decides, and data that can be checked without being stored: the
//! receiver notices every byte that is lost, altered or moved.

use std::io::{self, Read};
use std::sync::OnceLock;

/// The generator SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, usize::try_from(self.below(n as u64 + 1)).unwrap());
        }
    }
}

/// The size of the noise that all data are cut from, in bytes.
const NOISE: usize = 1 << 18;
/// The size of a piece of data, in bytes: a stamp, and noise from a place that the stamp decides.
const PIECE: u64 = 1 << 16;

fn noise() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut random = Random::new(1);
        (0..NOISE / 8)
            .flat_map(|_| random.next().to_le_bytes())
            .collect()
    })
}

/// The `len` bytes that belong to `id`, to be sent or to be compared with what arrives.
#[derive(Clone)]
pub struct Data {
    id: u64,
    at: u64,
    len: u64,
}

impl Data {
    pub fn new(id: u64, len: u64) -> Data {
        Data { id, at: 0, len }
    }

    /// The number of bytes that are left.
    pub fn left(&self) -> u64 {
        self.len - self.at
    }

    /// All bytes that are left.
    pub fn bytes(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).expect("reading cannot fail");
        bytes
    }

    /// Compares `came` with the bytes that come next. Returns the first difference as an error.
    pub fn check(&mut self, mut came: &[u8]) -> Result<(), String> {
        let mut expected = vec![0; came.len().min(1 << 16)];
        while !came.is_empty() {
            let at = self.at;
            let n = self.read(&mut expected).expect("reading cannot fail");
            let n = n.min(came.len());
            if n == 0 {
                return Err(format!("{} bytes after the last, {at}", came.len()));
            }
            self.at = at + n as u64;
            if let Some(wrong) = (0..n).find(|&i| came[i] != expected[i]) {
                return Err(format!(
                    "byte {} of {} is another",
                    at + wrong as u64,
                    self.len
                ));
            }
            came = &came[n..];
        }
        Ok(())
    }
}

impl Read for Data {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (piece, within) = (self.at / PIECE, self.at % PIECE);
        let most = (PIECE - within).min(self.left());
        let n = buf.len().min(usize::try_from(most).unwrap());
        let from = (self.id.wrapping_mul(31).wrapping_add(piece * 977)) % (NOISE as u64 - PIECE);
        let start = usize::try_from(from + within).unwrap();
        buf[..n].copy_from_slice(&noise()[start..start + n]);
        let mut stamp = [0; 16];
        stamp[..8].copy_from_slice(&self.id.to_le_bytes());
        stamp[8..].copy_from_slice(&piece.to_le_bytes());
        let within = usize::try_from(within).unwrap();
        for (byte, stamped) in buf[..n].iter_mut().zip(stamp.iter().skip(within)) {
            *byte = *stamped;
        }
        self.at += n as u64;
        Ok(n)
    }
}
