//! The values that JSON text stands for.

use serde::de::Deserialize;

use super::error::Error;

/// What serde's error begins with where an object has a name that cannot be decoded.
pub(super) const NAME_NOT_UNICODE: &str = "a name that is not valid Unicode";

/// Decodes the JSON text of a value.
pub(crate) fn decode<'t, T: Deserialize<'t>>(text: &'t str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// Decodes the JSON text of a value that must be `expected`.
///
/// # Errors
/// When it is not, and when names or strings in it are not valid Unicode.
pub(super) fn decode_as<'t, T: Deserialize<'t>>(
    text: &'t str,
    expected: &'static str,
) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|err| match err.to_string() {
        why if why.starts_with(NAME_NOT_UNICODE) => Error::NameNotUnicode,
        // Half of a surrogate pair.
        why if why.contains("hex escape") => Error::StringNotUnicode,
        _ => Error::WrongType(expected),
    })
}
