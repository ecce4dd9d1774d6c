//! Frames that pass.

use super::*;

#[test]
fn frames_pass_as_they_come() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/pass/x");
    for bytes in [
        frame(kind::DATA, 0, 1, b"\0\0\0\0\x05he"),
        frame(kind::DATA, flag::END_STREAM, 1, b"llo"),
        frame(kind::PING, 0, 0, b"12345678"),
        frame(kind::PRIORITY, 0, 9, b"12345"),
        window_update(0, 10),
        window_update(1, 10),
        settings(&[(setting::INITIAL_WINDOW_SIZE, 10), (77, 1)]),
        frame(kind::SETTINGS, flag::ACK, 0, b""),
        frame(kind::GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0bye"),
    ] {
        assert_eq!(play.connection.take_from_client(&bytes), Ok(bytes.len()));
        assert_eq!(drain(&mut play.connection.to_daemon), bytes);
        assert!(play.connection.to_client.is_empty());
    }
    let answer = [(":status", "200"), ("x", "y")];
    let mut fields = Fields::default();
    answer
        .iter()
        .for_each(|(name, value)| fields.push(name, *value));
    let (client, daemon) = play.daemon(&head_frame(1, &fields, false));
    assert_eq!((client, daemon), (vec![head(1, false, &answer)], vec![]));
    for bytes in [
        frame(kind::DATA, flag::PADDED, 1, b"\x02progress.."),
        frame(kind::PING, flag::ACK, 0, b"12345678"),
        settings(&[(setting::INITIAL_WINDOW_SIZE, 70_000)]),
        window_update(0, 10),
        window_update(1, 10),
        frame(kind::GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0"),
        frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 0]),
    ] {
        assert_eq!(play.connection.take_from_daemon(&bytes), Ok(bytes.len()));
        assert_eq!(drain(&mut play.connection.to_client), bytes);
        assert!(play.connection.to_daemon.is_empty());
    }
}

#[test]
fn unknown_frames_are_discarded() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/pass/x");
    let bytes = frame(0x10, 0xff, 1, b"anything");
    assert_eq!(play.client(&bytes), (vec![], vec![]));
    assert_eq!(play.daemon(&bytes), (vec![], vec![]));
}

#[test]
fn padding_of_the_client_is_dropped_and_its_window_given_back() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/pass/x");
    let padded = frame(kind::DATA, flag::PADDED, 1, b"\x03abc...");
    let (client, daemon) = play.client(&padded);
    assert_eq!(client, [raised(1, 4), raised(0, 4)]);
    assert_eq!(daemon, [data(1, false, b"abc")]);
}
