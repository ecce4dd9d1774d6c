//! Calls that are edited or refused.

use super::*;

#[test]
fn a_message_is_edited_when_it_is_whole() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/edit/3");
    let whole = message(b"hello");
    let (client, daemon) = play.client(&frame(kind::DATA, 0, 1, &whole[..7]));
    assert_eq!((client, daemon), (vec![raised(0, 7), raised(1, 7)], vec![]));
    let rest = [&whole[7..], &message(b"")].concat();
    let (client, daemon) = play.client(&frame(kind::DATA, flag::END_STREAM, 1, &rest));
    assert_eq!(client, [raised(0, 8)]);
    let edited = [message(b"hello+++"), message(b"+++")].concat();
    assert_eq!(daemon, [data(1, true, &edited)]);
    assert_eq!(*rules.edited.borrow(), [5, 0]);
    // The daemon gives back what the client never sent.
    assert_eq!(play.daemon(&window_update(0, 20)), (vec![], vec![]));
    assert_eq!(
        play.daemon(&window_update(0, 2)),
        (vec![raised(0, 1)], vec![])
    );
    assert_eq!(
        play.daemon(&window_update(1, 22)),
        (vec![raised(1, 1)], vec![])
    );
}

#[test]
fn a_notice_is_told_the_status_that_ends_its_call() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let answer = |id, pairs: &[(&str, &str)], ends| {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.push(name, *value);
        }
        head_frame(id, &fields, ends)
    };
    for (id, path, status) in [
        (1, "/edit/1", Some("0")),
        (3, "/edit/1", Some("13")),
        (5, "/edit/1", Some("much text")),
        (7, "/edit/1", None),
        (9, "/edit/2", Some("0")),
    ] {
        play.open(id, path);
        let text = vec![b'x'; id as usize];
        play.client(&frame(kind::DATA, flag::END_STREAM, id, &message(&text)));
        play.daemon(&answer(id, &[(":status", "200")], false));
        assert!(
            !rules
                .ended
                .borrow()
                .iter()
                .any(|(len, _)| *len == text.len())
        );
        let trailers = status.map(|status| ("grpc-status", status));
        play.daemon(&answer(id, trailers.as_slice(), true));
    }
    let expected = [(1, Some(0)), (3, Some(13)), (5, None), (7, None)];
    assert_eq!(*rules.ended.borrow(), expected);
}

#[test]
fn the_end_may_come_by_itself() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    for (id, path) in [(1, "/edit/0"), (3, "/pass/x")] {
        play.open(id, path);
        let (_, daemon) = play.client(&frame(kind::DATA, 0, id, &message(b"m")));
        assert_eq!(daemon, [data(id, false, &message(b"m"))]);
        let (_, daemon) = play.client(&frame(kind::DATA, flag::END_STREAM, id, b""));
        assert_eq!(daemon, [data(id, true, b"")]);
    }
    let (_, daemon) = play.client(&head_frame(5, &request("/edit/0"), true));
    assert!(matches!(daemon[..], [Seen::Head(5, true, _)]));
}

#[test]
fn a_refused_call_never_reaches_the_daemon() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let (client, daemon) = play.client(&headers(1, "/what"));
    assert_eq!(client, [head(1, true, &REFUSED), reset(1, Code::No)]);
    assert_eq!(daemon, []);
    // What was on its way already is swallowed, and the window given back.
    let more = [
        frame(kind::DATA, flag::END_STREAM, 1, b"12345"),
        window_update(1, 5),
        frame(kind::RST_STREAM, 0, 1, &[0; 4]),
    ];
    assert_eq!(play.client(&more.concat()), (vec![raised(0, 5)], vec![]));
    let (client, daemon) = play.client(&head_frame(3, &request("/what"), true));
    assert_eq!((client, daemon), (vec![head(3, true, &REFUSED)], vec![]));
    play.open(5, "/pass/x");
}

#[test]
fn a_refused_message_ends_the_call_at_both_ends() {
    let rules = Rules::default();
    let long = (MAX_MESSAGE_BYTES as u32 + 1).to_be_bytes();
    let long = [&[0][..], &long].concat();
    let cut = [&message(b"x")[..], &[0, 0]].concat();
    for (flags, bytes, status) in [
        (0, message(b"bad"), "3"),
        (flag::END_STREAM, message(b"bad"), "3"),
        (0, vec![1, 0, 0, 0, 0], "12"),
        (0, long, "8"),
        (flag::END_STREAM, cut, "3"),
    ] {
        let mut play = Play::new(&rules);
        play.open(1, "/edit/0");
        let (client, daemon) = play.client(&frame(kind::DATA, flags, 1, &bytes));
        assert_eq!(daemon, [reset(1, Code::Cancel)], "{bytes:?}");
        let Seen::Head(1, true, fields) = &client[1] else {
            panic!("{client:?}");
        };
        assert_eq!(fields[2], ("grpc-status".to_owned(), status.to_owned()));
        let rest: &[Seen] = if flags == 0 {
            &[reset(1, Code::No)]
        } else {
            &[]
        };
        assert_eq!(client[2..], *rest);
        // What the daemon says of it is too late, and its window is given back.
        let mut out = FrameWriter::default();
        out.headers(1, &Fields::default().encode(), false);
        out.raw(&frame(kind::DATA, 0, 1, b"1234"));
        out.raw(&window_update(1, 7));
        out.raw(&frame(kind::RST_STREAM, 0, 1, &[0; 4]));
        let seen = play.daemon(&drain(&mut out));
        assert_eq!(seen, (vec![], vec![raised(0, 4)]));
    }
}

#[test]
fn a_second_message_may_be_refused_behind_the_answer() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/edit/0");
    play.client(&frame(kind::DATA, 0, 1, &message(b"good")));
    play.daemon(&head_frame(1, &Fields::default(), false));
    let (client, daemon) = play.client(&frame(kind::DATA, 0, 1, &message(b"bad")));
    assert_eq!(daemon, [reset(1, Code::Cancel)]);
    let trailers = [
        ("grpc-status", "3"),
        ("grpc-message", "docker-label-proxy: bad message"),
    ];
    assert_eq!(client[1..], [head(1, true, &trailers), reset(1, Code::No)]);

    // Where the daemon has had the last word, there is nothing to answer.
    play.open(3, "/edit/0");
    play.daemon(&head_frame(3, &Fields::default(), true));
    let (client, _) = play.client(&frame(kind::DATA, 0, 3, &message(b"bad")));
    assert_eq!(client[1..], [reset(3, Code::No)]);
}

#[test]
fn an_interim_answer_does_not_take_the_place_of_the_status() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    play.open(1, "/edit/0");
    let mut interim = Fields::default();
    interim.push(":status", "100");
    play.daemon(&head_frame(1, &interim, false));
    let (to_client, _) = play.client(&frame(kind::DATA, 1, 1, &message(b"bad")));
    let Some(Seen::Head(1, true, fields)) =
        to_client.iter().find(|seen| matches!(seen, Seen::Head(..)))
    else {
        panic!("no answer: {to_client:?}")
    };
    assert_eq!(fields[0], (":status".to_owned(), "200".to_owned()));
}

#[test]
fn an_edited_call_has_no_length() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let mut fields = request("/edit/1");
    fields.push("content-length", "6");
    let (_, daemon) = play.client(&head_frame(1, &fields, false));
    assert_eq!(daemon, Reader::new().read(&headers(1, "/edit/1")));
}
