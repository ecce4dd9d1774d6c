//! The same bytes in other pieces, and damaged ones.

use super::*;

/// A conversation of a client, with all that matters to how it is cut into pieces.
fn conversation() -> Vec<u8> {
    let mut long = request("/pass/long");
    long.push("x", vec![b'x'; 16_000]);
    [
        PREFACE.to_vec(),
        settings(&[(setting::HEADER_TABLE_SIZE, 100)]),
        headers(1, "/edit/20"),
        frame(kind::DATA, 0, 1, &message(b"hello")[..3]),
        headers(3, "/pass/x"),
        frame(kind::DATA, flag::PADDED, 3, b"\x03abc..."),
        frame(kind::DATA, flag::END_STREAM, 1, &message(b"hello")[3..]),
        headers(5, "/refused"),
        head_frame(7, &long, false),
        frame(kind::DATA, 0, 5, b"late"),
        frame(kind::PING, 0, 0, b"12345678"),
        frame(kind::DATA, flag::END_STREAM, 3, &[7; 9000]),
        headers(2, "/even"),
    ]
    .concat()
}

/// What both ends get, and how it ends, when the client's bytes come in pieces of these sizes.
fn in_pieces(
    bytes: &[u8],
    mut size: impl FnMut() -> usize,
) -> (Vec<u8>, Vec<u8>, Option<ConnectionError>) {
    let rules = Rules::default();
    let mut connection = connection(&rules);
    connection.take_from_daemon(&settings(&[])).unwrap();
    let (mut from, mut to) = (0, 0);
    let mut error = None;
    while to < bytes.len() && error.is_none() {
        to = bytes.len().min(to + size());
        match connection.take_from_client(&bytes[from..to]) {
            Ok(n) => from += n,
            Err(what) => error = Some(what),
        }
    }
    let (to_client, to_daemon) = (&mut connection.to_client, &mut connection.to_daemon);
    (drain(to_client), drain(to_daemon), error)
}

#[test]
fn any_split_of_the_bytes_gives_the_same() {
    let bytes = conversation();
    let whole = in_pieces(&bytes, || usize::MAX / 2);
    assert_eq!(
        whole.2.as_ref().map(|error| error.code),
        Some(Code::Protocol)
    );
    assert!(whole.1.len() > 25_000);
    for size in 1..600 {
        assert!(in_pieces(&bytes, || size) == whole, "{size}");
    }
    for cut in 0..1000 {
        let mut sizes = [cut.max(1), usize::MAX / 2].into_iter().cycle();
        assert!(
            in_pieces(&bytes, || sizes.next().unwrap()) == whole,
            "{cut}"
        );
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % n
    }
}

/// Asserts that the daemon is sent whole frames behind the preface, and no message of an edited
/// call that has not been edited.
fn expect_edited(to_daemon: &[u8]) {
    let Some(frames) = to_daemon.strip_prefix(PREFACE) else {
        assert!(to_daemon.is_empty());
        return;
    };
    let mut reader = Reader::new();
    let mut calls: BTreeMap<u32, (usize, Unread)> = BTreeMap::new();
    for seen in reader.read(frames) {
        match seen {
            Seen::Head(id, _, fields) => {
                let mut fields = fields.iter();
                let path = fields.find_map(|(name, value)| (name == ":path").then_some(value));
                let growth = path.and_then(|path| path.strip_prefix("/edit/"));
                if let Some(growth) = growth {
                    calls.insert(id, (growth.parse().unwrap(), Unread::default()));
                }
            }
            Seen::Frame(kind::DATA, _, id, payload) => {
                let Some((growth, unread)) = calls.get_mut(&id) else {
                    continue;
                };
                unread.push(&payload);
                while let Some(message) = unread.next_message().unwrap() {
                    assert!(message.ends_with(&vec![b'+'; *growth]));
                }
            }
            Seen::Frame(..) => (),
        }
    }
    assert!(reader.bytes.is_empty());
}

/// Changes up to four bytes at random.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(400).min(bytes.len() - 1);
        match random.below(3) {
            0 => bytes[at] = random.below(256) as u8,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, random.below(256) as u8),
        }
    }
}

#[test]
fn damaged_bytes_do_no_harm() {
    let bytes = conversation();
    let mut random = Random(88_172_645_463_325_252);
    for _ in 0..2000 {
        let mut damaged = bytes.clone();
        damage(&mut damaged, &mut random);
        let whole = in_pieces(&damaged, || usize::MAX / 2);
        expect_edited(&whole.1);
        let pieces = in_pieces(&damaged, || 1 + random.below(50));
        assert!(pieces == whole);
    }
}

#[test]
fn a_damaged_answer_does_no_harm() {
    let mut out = FrameWriter::default();
    for id in [1, 3, 5] {
        out.headers(id, &request("/answer").encode(), false);
        out.raw(&frame(kind::DATA, flag::PADDED, id, b"\x02progress.."));
        out.raw(&window_update(id, 1000));
    }
    out.raw(&settings(&[
        (setting::INITIAL_WINDOW_SIZE, 3),
        (setting::MAX_FRAME_SIZE, 20_000),
    ]));
    out.raw(&window_update(0, 100));
    out.headers(1, &request("/end").encode(), true);
    out.raw(&frame(kind::RST_STREAM, 0, 3, &[0; 4]));
    out.raw(&frame(kind::GOAWAY, 0, 0, &[0; 8]));
    let bytes = drain(&mut out);
    let client = conversation();
    let mut random = Random(88_172_645_463_325_252);
    for _ in 0..2000 {
        let rules = Rules::default();
        let mut connection = connection(&rules);
        let mut damaged = bytes.clone();
        damage(&mut damaged, &mut random);
        let (mut from_client, mut from_daemon) = (&client[..], &damaged[..]);
        connection.take_from_daemon(&settings(&[])).unwrap();
        let mut goes_on = true;
        while goes_on && (!from_client.is_empty() || !from_daemon.is_empty()) {
            for (bytes, is_client) in [(&mut from_client, true), (&mut from_daemon, false)] {
                let n = 1 + random.below(30_000);
                let piece = &bytes[..bytes.len().min(n)];
                let result = if is_client {
                    connection.take_from_client(piece)
                } else {
                    connection.take_from_daemon(piece)
                };
                match result {
                    // A frame that is larger than the piece has to come in one.
                    Ok(0) if piece.len() == bytes.len() => *bytes = &[],
                    Ok(n) => *bytes = &bytes[n..],
                    Err(_) => goes_on = false,
                }
            }
        }
        expect_edited(&drain(&mut connection.to_daemon));
        let mut reader = Reader::new();
        reader.read(&drain(&mut connection.to_client));
        assert!(reader.bytes.is_empty());
    }
}
