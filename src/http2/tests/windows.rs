//! Windows, between a client that sends as much as it may and a daemon that is strict.

use super::*;

/// A client that sends as much as it may, and a daemon that lets no byte more than that pass.
struct Strict {
    connection: i64,
    first: i64,
    streams: BTreeMap<u32, i64>,
}

impl Strict {
    fn new() -> Strict {
        Strict {
            connection: DEFAULT_WINDOW,
            first: DEFAULT_WINDOW,
            streams: BTreeMap::new(),
        }
    }

    fn stream(&mut self, id: u32) -> &mut i64 {
        self.streams.entry(id).or_insert(self.first)
    }

    fn raise(&mut self, id: u32, increment: i64) {
        let window = match id {
            0 => &mut self.connection,
            id => self.stream(id),
        };
        *window += increment;
        assert!(*window <= MAX_WINDOW);
    }

    fn resize(&mut self, first: i64) {
        let change = first - std::mem::replace(&mut self.first, first);
        for window in self.streams.values_mut() {
            *window += change;
        }
    }

    fn use_up(&mut self, id: u32, n: usize) {
        self.connection -= n as i64;
        *self.stream(id) -= n as i64;
        let is_right = n == 0 || self.connection >= 0 && *self.stream(id) >= 0;
        assert!(is_right, "stream {id} is overrun");
    }
}

/// Plays calls through windows of 64 KiB until nothing moves any more; `lazy` is how much the
/// daemon lets come together before it gives a window back. What the daemon has got is returned.
fn play_calls(calls: &[(&str, Vec<u8>)], lazy: i64, resizes: &[u32]) -> BTreeMap<u32, Vec<u8>> {
    let rules = Rules::default();
    let mut connection = connection(&rules);
    let (mut client, mut daemon) = (Strict::new(), Strict::new());
    let (mut client_reader, mut daemon_reader) = (Reader::new(), Reader::new());
    let mut unsent: BTreeMap<u32, &[u8]> = BTreeMap::new();
    let mut got: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut kept: BTreeMap<u32, i64> = BTreeMap::new();
    let mut resizes = resizes.iter();

    connection
        .take_from_client(&[PREFACE, &settings(&[])].concat())
        .unwrap();
    connection.take_from_daemon(&settings(&[])).unwrap();
    drain(&mut connection.to_daemon);
    let mut ids = (1..).step_by(2);
    for (path, bytes) in calls {
        let id = ids.next().unwrap();
        connection.take_from_client(&headers(id, path)).unwrap();
        unsent.insert(id, bytes);
    }
    loop {
        let mut moved = false;
        // The client sends a frame on each stream.
        for (&id, rest) in &mut unsent {
            let room = client.connection.min(*client.stream(id)).clamp(0, 16_384) as usize;
            let n = rest.len().min(room);
            if n == 0 {
                continue;
            }
            moved = true;
            client.use_up(id, n);
            let flags = u8::from(n == rest.len());
            let bytes = frame(kind::DATA, flags, id, &rest[..n]);
            *rest = &rest[n..];
            assert_eq!(connection.take_from_client(&bytes), Ok(bytes.len()));
        }
        // The daemon reads, and gives windows back.
        let mut answer = Vec::new();
        for seen in daemon_reader.read(&drain(&mut connection.to_daemon)) {
            let Seen::Frame(kind::DATA, _, id, payload) = seen else {
                continue;
            };
            moved = true;
            assert!(payload.len() <= MIN_MAX_PAYLOAD);
            daemon.use_up(id, payload.len());
            got.entry(id).or_default().extend(&payload);
            for id in [0, id] {
                *kept.entry(id).or_default() += payload.len() as i64;
            }
        }
        for (&id, kept) in &mut kept {
            if *kept > lazy {
                answer.extend(window_update(id, *kept as u32));
                daemon.raise(id, std::mem::take(kept));
            }
        }
        if let Some(&first) = resizes.next() {
            answer.extend(settings(&[(setting::INITIAL_WINDOW_SIZE, first)]));
            daemon.resize(i64::from(first));
            moved = true;
        }
        assert_eq!(connection.take_from_daemon(&answer), Ok(answer.len()));
        // The client learns of its windows.
        for seen in client_reader.read(&drain(&mut connection.to_client)) {
            match seen {
                Seen::Frame(kind::WINDOW_UPDATE, _, id, payload) => {
                    let increment = u32::from_be_bytes(payload.try_into().unwrap());
                    client.raise(id, i64::from(increment));
                }
                Seen::Frame(kind::SETTINGS, 0, _, payload) => {
                    if let Ok(pair) = <[u8; 6]>::try_from(payload) {
                        let first = u32::from_be_bytes(pair[2..].try_into().unwrap());
                        client.resize(i64::from(first));
                    }
                    let ack = frame(kind::SETTINGS, flag::ACK, 0, b"");
                    connection.take_from_client(&ack).unwrap();
                }
                seen => panic!("{seen:?}"),
            }
        }
        if !moved {
            break;
        }
    }
    assert!(
        unsent.values().all(|rest| rest.is_empty()),
        "the client is stuck"
    );
    assert!(!connection.has_waiting(), "the proxy is stuck");
    // All windows are again what they were but for what the daemon keeps.
    let kept = kept.get(&0).copied().unwrap_or_default();
    assert_eq!(daemon.connection, DEFAULT_WINDOW - kept);
    assert!(client.connection >= daemon.connection);
    assert!(client.connection <= DEFAULT_WINDOW);
    got
}

#[test]
fn large_messages_flow_through_small_windows() {
    let large: Vec<u8> = (0..MAX_MESSAGE_BYTES).map(|i| (i / 251) as u8).collect();
    let passed = vec![9; 1_000_000];
    let edited = |growth| [&large[..], &vec![b'+'; growth]].concat();
    let calls = [
        ("/pass/1", passed.clone()),
        ("/edit/1000000", message(&large)),
        ("/edit/0", message(&large)),
        ("/pass/2", passed.clone()),
    ];
    for lazy in [0, 65_534] {
        let got = play_calls(&calls, lazy, &[]);
        assert!(got[&1] == passed && got[&7] == passed);
        assert!(got[&3] == message(&edited(1_000_000)));
        assert!(got[&5] == message(&large));
    }
}

#[test]
fn small_messages_may_grow_beyond_the_window() {
    let small = [message(b"a"), message(b"b"), message(b"c")].concat();
    let calls = [("/edit/100000", small), ("/pass/1", vec![1; 70_000])];
    for lazy in [0, 65_534] {
        let got = play_calls(&calls, lazy, &[]);
        assert_eq!(got[&1].len(), 3 * 100_006);
        assert_eq!(got[&3].len(), 70_000);
    }
}

#[test]
fn windows_may_change_on_the_way() {
    let calls = [
        ("/edit/100000", message(&vec![5; 300_000])),
        ("/pass/1", vec![1; 300_000]),
    ];
    for resizes in [
        &[0, 100_000][..],
        &[1_000_000, 10, 65_535],
        &[0, 0, 0, 1],
        &[200_000, 1, 100, 65_535, 20_000],
    ] {
        let got = play_calls(&calls, 0, resizes);
        assert_eq!(got[&1].len(), 400_005);
        assert_eq!(got[&3].len(), 300_000);
    }
}

#[test]
fn a_stream_that_ends_gives_back_what_waits_on_it() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/edit/65535");
    play.open(3, "/pass/x");
    play.client(&frame(kind::DATA, flag::END_STREAM, 1, &message(b"")));
    // The daemon's window is used up, the client's is not.
    let (client, daemon) = play.client(&frame(kind::DATA, 0, 3, &[1; 1000]));
    assert_eq!((client, daemon), (vec![], vec![]));
    let bytes = frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]);
    let (client, daemon) = play.client(&bytes);
    assert_eq!(
        (client, daemon),
        (vec![raised(0, 1000)], vec![reset(3, Code::Cancel)])
    );
    let (client, daemon) = play.daemon(&window_update(0, 65_535));
    assert_eq!(client, []);
    assert_eq!(daemon, []);
    // Five bytes of the message are left for want of a window of the stream.
    let (_, daemon) = play.daemon(&window_update(1, 5));
    assert_eq!(daemon, [data(1, true, b"+++++")]);
}

#[test]
fn frames_are_as_large_as_the_daemon_takes_them() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/edit/30000");
    play.daemon(&settings(&[(setting::MAX_FRAME_SIZE, 20_000)]));
    let (_, daemon) = play.client(&frame(kind::DATA, flag::END_STREAM, 1, &message(b"")));
    let lens = daemon.iter().map(|seen| match seen {
        Seen::Frame(kind::DATA, _, 1, payload) => payload.len(),
        seen => panic!("{seen:?}"),
    });
    assert_eq!(lens.collect::<Vec<_>>(), [20_000, 10_005]);
    // And the client may send them as large.
    play.open(3, "/pass/x");
    let large = frame(kind::DATA, 0, 3, &[1; 20_000]);
    assert_eq!(play.client(&large).1, [data(3, false, &[1; 20_000])]);
}

#[test]
fn both_windows_hold_the_client() {
    let rules = Rules::default();
    for (raised, ids) in [(0, [1, 1]), (1, [1, 3])] {
        // The window that is not tested is wide open.
        let mut play = Play::new(&rules);
        play.open(1, "/pass/x");
        play.open(3, "/pass/x");
        play.daemon(&window_update(raised, 1_000_000));
        for id in [ids[0], ids[0], ids[1]] {
            play.client(&frame(kind::DATA, 0, id, &[0; 16_384]));
        }
        play.client(&frame(kind::DATA, 0, ids[1], &[0; 16_383]));
        let one_more = frame(kind::DATA, 0, ids[1], b"x");
        assert_eq!(
            play.client_error(&one_more),
            Some(Code::FlowControl),
            "{raised}"
        );
    }
}

#[test]
fn a_lower_window_holds_the_client_once_it_knows_of_it() {
    let rules = Rules::default();
    for (acknowledged, expected) in [(false, None), (true, Some(Code::FlowControl))] {
        let mut play = Play::new(&rules);
        play.client(&frame(kind::SETTINGS, flag::ACK, 0, b""));
        play.open(1, "/edit/0");
        play.daemon(&settings(&[(setting::INITIAL_WINDOW_SIZE, 10)]));
        if acknowledged {
            play.client(&frame(kind::SETTINGS, flag::ACK, 0, b""));
        }
        play.open(3, "/edit/0");
        for id in [1, 3] {
            let bytes = frame(kind::DATA, 0, id, &message(&[1; 10])[..11]);
            assert_eq!(play.client_error(&bytes), expected, "{id}");
        }
    }
}
