//! Percent-encoding (RFC 3986 section 2.1).

/// What `+` stands for: itself in a path, a space in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    Literal,
    Space,
}

/// Undoes percent-encoding; `None` where a `%` has no two hexadecimal digits (`net/url.unescape`).
pub(crate) fn decode(text: &[u8], plus: Plus) -> Option<Vec<u8>> {
    let hex = |byte: Option<&u8>| byte.and_then(|&b| char::from(b).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut i = 0;
    while i < text.len() {
        match text[i] {
            b'%' => {
                let (high, low) = (hex(text.get(i + 1))?, hex(text.get(i + 2))?);
                decoded.push((high << 4 | low) as u8);
                i += 2;
            }
            b'+' if plus == Plus::Space => decoded.push(b' '),
            byte => decoded.push(byte),
        }
        i += 1;
    }
    Some(decoded)
}

/// Percent-encodes all but the bytes that `keep` names.
pub(crate) fn encode(bytes: &[u8], keep: impl Fn(u8) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if keep(byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Whether the byte needs no encoding anywhere (RFC 3986 section 2.3).
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
