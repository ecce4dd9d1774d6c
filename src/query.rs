//! A query string, edited pair by pair: a pair that is not ours keeps its exact text. Reads
//! names and values as Go's `net/url.ParseQuery` does.

use crate::target::{Plus, decode, encode, is_unreserved};

/// The pairs of a query that the daemon reads.
#[derive(Debug)]
pub(crate) struct Query<'a>(Vec<Pair<'a>>);

#[derive(Debug)]
struct Pair<'a> {
    raw: &'a str,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl<'a> Query<'a> {
    /// Takes a query apart. What Go drops is dropped here: empty pairs, and pairs with a `;` or
    /// with invalid percent-encoding (before Go 1.17 a `;` parted pairs).
    pub(crate) fn parse(query: &'a str) -> Query<'a> {
        let pairs = query
            .split('&')
            .filter(|raw| !raw.is_empty() && !raw.contains(';'));
        Query(
            pairs
                .filter_map(|raw| {
                    let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
                    let name = decode(name.as_bytes(), Plus::Space)?;
                    let value = decode(value.as_bytes(), Plus::Space)?;
                    Some(Pair { raw, name, value })
                })
                .collect(),
        )
    }

    /// The value of the first pair with this name, which is the one that Go's `FormValue` gives.
    pub(crate) fn first(&self, name: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|pair| pair.name == name.as_bytes())
            .map(|pair| &*pair.value)
    }

    /// The query with a single pair for `name`, placed last. Names that differ only in case go
    /// too: Podman would take the last of them.
    pub(crate) fn with(&self, name: &str, value: &[u8]) -> String {
        let others = self
            .0
            .iter()
            .filter(|pair| !pair.name.eq_ignore_ascii_case(name.as_bytes()));
        let mut query: String = others.flat_map(|pair| [pair.raw, "&"]).collect();
        query.push_str(name);
        query.push('=');
        query.push_str(&encode(value, is_unreserved));
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts_however_its_name_is_written() {
        let query = Query::parse("a=1&&l%61bels=%7B%7D&labels=x&b=a+b%2B&c");
        assert_eq!(query.first("labels"), Some(&b"{}"[..]));
        assert_eq!(query.first("b"), Some(&b"a b+"[..]));
        assert_eq!(query.first("c"), Some(&b""[..]));
        assert_eq!(query.first("d"), None);
    }

    #[test]
    fn pairs_that_go_drops_are_not_read() {
        let query = Query::parse("a=%zz&labels=1;x=2&%gg=1&labels=3");
        assert_eq!(query.first("labels"), Some(&b"3"[..]));
        assert_eq!(query.first("a"), None);
    }

    #[test]
    fn one_value_is_set_and_the_other_pairs_keep_their_text() {
        let query = Query::parse("t=a%3Ab+c&labels=1&Labels=2&%4cabels=3&b=%7b%7D&x;y");
        assert_eq!(
            query.with("labels", b"{\"k\":\"v w\"}"),
            "t=a%3Ab+c&b=%7b%7D&labels=%7B%22k%22%3A%22v%20w%22%7D"
        );
        assert_eq!(Query::parse("").with("labels", b"{}"), "labels=%7B%7D");
    }
}
