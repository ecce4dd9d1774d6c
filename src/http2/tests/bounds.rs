//! Bounds on what the proxy holds.

use super::*;

#[test]
fn a_client_waits_once_its_frames_have_become_many_bytes() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let sent: Vec<u8> = (0..1000)
        .flat_map(|n| headers(2 * n + 1, &format!("/{}", "x".repeat(8000))))
        .collect();
    let mut rest = &sent[..];
    let mut waits = 0;
    while !rest.is_empty() {
        let used = play.connection.take_from_client(rest).unwrap();
        assert!(used > 0);
        rest = &rest[used..];
        waits += usize::from(!rest.is_empty());
        play.seen();
    }
    assert_eq!(waits, 0, "short answers need no waiting");

    let sent: Vec<u8> = (0..100)
        .flat_map(|n| headers(2 * n + 2001, &format!("/pass/{}", "x".repeat(8000))))
        .collect();
    let mut rest = &sent[..];
    while !rest.is_empty() {
        let used = play.connection.take_from_client(rest).unwrap();
        assert!(used > 0);
        assert!(play.connection.to_daemon.len() < 150 * 1024);
        rest = &rest[used..];
        waits += usize::from(!rest.is_empty());
        play.seen();
    }
    assert!(waits > 3, "{waits}");
}

#[test]
fn held_messages_are_bounded() {
    let rules = Rules::default();
    let mut play = Play::new(&rules);
    let start = [0, 0, 0xff, 0xff, 0xff];
    let mut held = 0;
    'all: for id in (1..).step_by(2) {
        play.open(id, "/edit/0");
        play.client(&frame(kind::DATA, 0, id, &start));
        for _ in 0..1023 {
            let (client, daemon) = play.client(&frame(kind::DATA, 0, id, &[0; 16_384]));
            held += 16_384;
            if !daemon.is_empty() {
                assert_eq!(daemon, [reset(id, Code::Cancel)]);
                let is_8 = |(name, value): &(String, String)| name == "grpc-status" && value == "8";
                assert!(
                    matches!(&client[1], Seen::Head(_, true, fields) if fields.iter().any(is_8))
                );
                break 'all;
            }
        }
    }
    assert!((63 << 20..65 << 20).contains(&held), "{held}");
}
