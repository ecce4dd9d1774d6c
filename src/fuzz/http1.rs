//! Bytes of HTTP/1.1: heads, targets and bodies.

use super::reference::{self, Read, chunks, unescape};
use crate::http1::Body;
use crate::http1::chunked::Chunked;
use crate::http1::head::{HeadEnd, RequestHead, ResponseHead};
use crate::http1::target::Target;

/// A request head, or a response head: it ends in the same place however it arrives; one that is
/// taken is taken by a strict reader too, and says the same when it is written again.
pub fn head(bytes: &[u8]) {
    let whole = HeadEnd::default().find(bytes);
    let mut end = HeadEnd::default();
    let pieces = (0..=bytes.len()).map(|n| end.find(&bytes[..n]));
    let first = pieces.into_iter().find(|found| *found != Ok(None));
    assert_eq!(whole, first.unwrap_or(Ok(None)));
    let Ok(Some(len)) = whole else { return };
    response_head(&bytes[..len], &bytes[len..]);
    let Ok(head) = RequestHead::parse(&bytes[..len]) else {
        return;
    };
    let strict = reference::Request::parse(&bytes[..len]).expect("a strict reader takes it");
    let mut written = Vec::new();
    head.write(&mut written);
    assert_eq!(reference::Request::parse(&written), Some(strict.clone()));
    assert_eq!(HeadEnd::default().find(&written), Ok(Some(written.len())));
    assert_eq!(RequestHead::parse(&written).as_ref(), Ok(&head));
    let (lengths, codings) = (
        strict.all("content-length"),
        strict.all("transfer-encoding"),
    );
    match Body::of_request(&head) {
        Err(_) => assert!(lengths.len() + codings.len() > 0),
        Ok(Body::Length(0)) if lengths.is_empty() => assert!(codings.is_empty()),
        Ok(Body::Length(length)) => {
            assert!(codings.is_empty() && lengths.len() == 1);
            let digits = String::from_utf8_lossy(lengths[0]);
            assert_eq!(digits.trim_start_matches('0').parse().unwrap_or(0), length);
            assert!(digits.bytes().all(|b| b.is_ascii_digit()) && length < 1 << 63);
        }
        Ok(Body::Chunked(_)) => {
            assert!(lengths.is_empty() && codings.len() == 1 && strict.minor_version == 1);
            assert!(codings[0].eq_ignore_ascii_case(b"chunked"));
        }
        Ok(Body::UntilClose) => panic!("a request that ends with the connection"),
    }
    target(&head.target);
}

/// A target means the same when it is written in origin form, and what it is redirected to is
/// clean and can stand in a header.
fn target(text: &str) {
    let Ok(target) = Target::parse(text) else {
        return;
    };
    assert_eq!(
        Some(&target.path),
        unescape(target.raw_path.as_bytes()).as_ref()
    );
    match target.redirect() {
        None => {
            assert!(target.path.starts_with(b"/"));
            let path = String::from_utf8_lossy(&target.path).into_owned();
            let middle = path.strip_suffix('/').unwrap_or(&path);
            let mut elements = middle.split('/').skip(1);
            assert!(elements.all(|e| !matches!(e, "" | "." | "..")), "{path:?}");
            assert_eq!(Target::parse(&target.origin_form()), Ok(target));
        }
        Some(location) => {
            assert!(!location.contains(['\r', '\n', ' ']));
            let there = Target::parse(&location).expect("a target");
            assert_eq!((there.redirect(), &there.query), (None, &target.query));
        }
    }
}

/// The body of a response is the same however it arrives.
fn response_head(head: &[u8], body: &[u8]) {
    let Ok(head) = ResponseHead::parse(head) else {
        return;
    };
    assert!((100..1000).contains(&head.status), "{head:?}");
    let Ok(mut whole) = Body::of_response(&head, "GET") else {
        return;
    };
    let (mut passing, mut bytewise) = (whole.clone(), whole.clone());
    let mut content = Vec::new();
    let Ok(used) = whole.read(body, &mut content) else {
        assert!(passing.pass(body).is_err());
        return;
    };
    assert_eq!(passing.pass(body), Ok(used));
    let (mut at, mut pieces) = (0, Vec::new());
    while at < body.len() && !bytewise.is_done() {
        let piece = &body[at..at + 1];
        at += bytewise.read(piece, &mut pieces).expect("as before");
    }
    assert_eq!((at, &pieces), (used, &content));
    assert_eq!(bytewise, whole);
    assert_eq!(passing, whole);
}

/// A chunked body: it is the same however it arrives, and a strict reader finds the same in it.
pub fn chunked(bytes: &[u8]) {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut body = Body::Chunked(Chunked::default());
        let (mut content, mut used) = (Vec::new(), 0);
        for piece in pieces {
            used += body.read(piece, &mut content).map_err(|_| ())?;
        }
        Ok((content, used, body.is_done()))
    };
    let whole = read(&mut [bytes].into_iter());
    let step = bytes.iter().fold(0, |sum, b| sum + usize::from(*b)) % 7 + 1;
    assert_eq!(whole, read(&mut bytes.chunks(1)));
    assert_eq!(whole, read(&mut bytes.chunks(step)));
    match (chunks(bytes), whole) {
        (Read::Whole(content, used), Ok(read)) => assert_eq!((content, used, true), read),
        (Read::Whole(..), Err(())) => assert!(bytes.len() > 4096, "a good body is refused"),
        (Read::Partial, read) => assert!(read.is_err() || read.is_ok_and(|read| !read.2)),
        (Read::Malformed, read) => assert_eq!(read, Err(())),
    }
}
