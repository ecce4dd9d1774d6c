//! Streams: which are opened, and when they are forgotten.

use super::*;

#[test]
fn heads_that_open_no_stream_are_rejected() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let mut twice = request("/pass/x");
    twice.0.insert(0, (b":path".to_vec(), b"/pass/y".to_vec()));
    let seen = play.client(&head_frame(1, &twice, false));
    assert_eq!(seen, (vec![reset(1, Code::Protocol)], vec![]));

    // Trailers of the client.
    play.open(3, "/edit/0");
    let seen = play.client(&headers(3, "/edit/0"));
    let expected = (vec![reset(3, Code::Protocol)], vec![reset(3, Code::Cancel)]);
    assert_eq!(seen, expected);
    assert_eq!(play.client(&headers(3, "/pass/x")), (vec![], vec![]));
    assert_eq!(play.client(&headers(1, "/pass/x")), (vec![], vec![]));
}

#[test]
fn streams_end_and_are_forgotten() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let answer = |id| head_frame(id, &Fields::default(), true);
    let end = |id| frame(kind::DATA, flag::END_STREAM, id, b"");
    for id in (1..4000).step_by(4) {
        play.open(id, "/pass/x");
        play.open(id + 2, "/edit/0");
        play.client(&end(id));
        play.daemon(&answer(id));
        play.daemon(&answer(id + 2));
        play.client(&end(id + 2));
        assert_eq!(play.connection.streams.len(), 0);
    }
    for (id, by_client) in [(4001, true), (4003, false)] {
        play.open(id, "/pass/x");
        let bytes = frame(kind::RST_STREAM, 0, id, &[0, 0, 0, 8]);
        let (client, daemon) = if by_client {
            play.client(&bytes)
        } else {
            play.daemon(&bytes)
        };
        assert_eq!([client, daemon].concat(), [reset(id, Code::Cancel)]);
        assert_eq!(play.connection.streams.len(), 0);
    }
}

#[test]
fn there_are_only_so_many_streams() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let last = MAX_STREAMS as u32 * 2 + 1;
    for id in (1..last).step_by(2) {
        play.open(id, "/pass/x");
    }
    let seen = play.client(&headers(last, "/pass/x"));
    assert_eq!(seen, (vec![reset(last, Code::RefusedStream)], vec![]));
    play.client(&frame(kind::RST_STREAM, 0, 1, &[0; 4]));
    play.open(last + 2, "/pass/x");
}

#[test]
fn prior_knowledge_is_for_grpc_alone() {
    let rules = Rules::default();
    let mut connection = Connection::new(1, &rules, Start::PriorKnowledge);
    let hello = [PREFACE, &settings(&[])].concat();
    // A daemon that does not speak HTTP/2 gets nothing that it might take for a request.
    assert_eq!(connection.take_from_client(&hello), Ok(PREFACE.len()));
    assert!(!connection.listens_to_client());
    assert_eq!(drain(&mut connection.to_daemon), PREFACE);
    connection.take_from_daemon(&settings(&[])).unwrap();
    assert!(connection.listens_to_client());
    connection.take_from_client(&settings(&[])).unwrap();
    let mut play = Play {
        connection,
        client: Reader::new(),
        daemon: Reader::new(),
    };
    play.seen();
    for (id, kind) in [
        (1, Some("application/json")),
        (3, Some("Application/grpc")),
        (5, None),
    ] {
        let mut fields = request("/containers/create");
        fields.remove("content-type");
        if let Some(kind) = kind {
            fields.push("content-type", kind);
            fields.push("content-type", "application/grpc");
        }
        let seen = play.client(&head_frame(id, &fields, false));
        assert_eq!(seen, (vec![reset(id, Code::Http11Required)], vec![]));
    }
    play.open(7, "/pass/x");
    let (client, _) = play.client(&headers(9, "/containers/create"));
    assert_eq!(client, [head(9, true, &REFUSED), reset(9, Code::No)]);
}
