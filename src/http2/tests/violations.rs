//! Peers that break the rules of RFC 9113.

use super::*;

#[test]
fn hostile_frames_end_the_connection() {
    let rules = Rules::default();
    let data = |stream, len| frame(kind::DATA, 0, stream, &vec![0; len]);
    let block = |flags, stream, bytes: &[u8]| frame(kind::HEADERS, flags, stream, bytes);
    let opened = headers(1, "/pass/x");
    let flood = [
        block(0, 1, b""),
        frame(kind::CONTINUATION, 0, 1, &[0; 16_000]).repeat(5),
    ];
    let empty_flood = [
        block(0, 1, b""),
        frame(kind::CONTINUATION, 0, 1, &[]).repeat(8000),
    ];
    let bomb = [&b"\x40\x01a\x7f\x80\x1e"[..], &[b'x'; 3967], &[0xbe; 1000]];
    let full = [&opened[..], &data(1, 16_384).repeat(4)].concat();
    for (what, bytes, expected) in [
        ("even stream", headers(2, "/pass/x"), Code::Protocol),
        ("stream 0", headers(0, "/pass/x"), Code::Protocol),
        ("idle data", data(1, 1), Code::Protocol),
        (
            "even data",
            [&headers(3, "/pass/x")[..], &data(2, 1)].concat(),
            Code::Protocol,
        ),
        (
            "idle reset",
            frame(kind::RST_STREAM, 0, 1, &[0; 4]),
            Code::Protocol,
        ),
        ("idle window", window_update(1, 1), Code::Protocol),
        ("no increment", window_update(0, 0), Code::Protocol),
        (
            "push",
            frame(kind::PUSH_PROMISE, 4, 1, &[0; 8]),
            Code::Protocol,
        ),
        (
            "continuation",
            frame(kind::CONTINUATION, 4, 1, b""),
            Code::Protocol,
        ),
        (
            "within a block",
            [block(0, 1, b""), settings(&[])].concat(),
            Code::Protocol,
        ),
        ("long frame", data(1, 16_385), Code::FrameSize),
        (
            "short ping",
            frame(kind::PING, 0, 0, b"1234567"),
            Code::FrameSize,
        ),
        (
            "settings",
            frame(kind::SETTINGS, 0, 0, b"12345"),
            Code::FrameSize,
        ),
        (
            "frame size",
            settings(&[(setting::MAX_FRAME_SIZE, 1)]),
            Code::Protocol,
        ),
        (
            "window",
            settings(&[(setting::INITIAL_WINDOW_SIZE, u32::MAX)]),
            Code::FlowControl,
        ),
        (
            "padding",
            [&opened[..], &frame(kind::DATA, flag::PADDED, 1, b"\x05...")].concat(),
            Code::Protocol,
        ),
        (
            "padded head",
            block(flag::PADDED | flag::END_HEADERS, 1, b"\x05..."),
            Code::Protocol,
        ),
        (
            "bad block",
            block(flag::END_HEADERS, 1, b"\xff"),
            Code::Compression,
        ),
        ("flood", flood.concat(), Code::EnhanceYourCalm),
        ("empty flood", empty_flood.concat(), Code::EnhanceYourCalm),
        (
            "bomb",
            block(flag::END_HEADERS, 1, &bomb.concat()),
            Code::EnhanceYourCalm,
        ),
        ("overrun", full, Code::FlowControl),
        (
            "behind the end",
            [opened, frame(kind::DATA, 1, 1, b""), data(1, 0)].concat(),
            Code::StreamClosed,
        ),
    ] {
        let mut play = Play::new(&rules);
        assert_eq!(play.client_error(&bytes), Some(expected), "{what}");
        let error = ConnectionError::new(expected, "why");
        drain(&mut play.connection.to_client);
        play.connection.fail(&error);
        let seen = play.client.read(&drain(&mut play.connection.to_client));
        let code = (expected as u32).to_be_bytes();
        let last = play.connection.last_stream.to_be_bytes();
        let payload = [&last[..], &code, b"why"].concat();
        assert_eq!(seen, [Seen::Frame(kind::GOAWAY, 0, 0, payload)]);
    }
}

#[test]
fn a_wrong_beginning_ends_the_connection() {
    let rules = Rules::default();
    for hello in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r".to_vec(),
        [PREFACE, &frame(kind::PING, 0, 0, b"12345678")].concat(),
        [PREFACE, &frame(kind::SETTINGS, flag::ACK, 0, b"")].concat(),
    ] {
        let mut connection = connection(&rules);
        let result = connection.take_from_client(&hello);
        assert_eq!(code(result), Some(Code::Protocol));
    }
}

#[test]
fn a_daemon_that_breaks_the_rules_ends_the_connection() {
    let rules = Rules::default();
    for (bytes, expected) in [
        (head_frame(3, &Fields::default(), false), Code::Protocol),
        (frame(kind::PUSH_PROMISE, 4, 1, &[0; 8]), Code::Protocol),
        (window_update(0, MAX_WINDOW as u32), Code::FlowControl),
        (frame(kind::DATA, 0, 1, &[0; 16_385]), Code::FrameSize),
        (settings(&[]).repeat(101), Code::EnhanceYourCalm),
    ] {
        let mut play = Play::new(&rules);
        play.open(1, "/pass/x");
        let result = play.connection.take_from_daemon(&bytes);
        assert_eq!(code(result), Some(expected));
    }
    let mut connection = connection(&rules);
    let ping = frame(kind::PING, 0, 0, b"12345678");
    let result = connection.take_from_daemon(&ping);
    assert_eq!(code(result), Some(Code::Protocol));
}
