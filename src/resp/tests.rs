//! What both scanners promise, checked against each other way of looking at the same bytes.

use super::*;
use proptest::prelude::*;

const LIMITS: RequestLimits = RequestLimits { args_max: 1024, bytes_max: 1 << 20 };

fn scan_request(bytes: &[u8]) -> Result<Request, ProtocolError> {
    RequestScanner::default().scan(bytes, &LIMITS)
}

#[test]
fn a_request_is_found_with_its_arguments() {
    let bytes = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\nhello\r\nworld\r\n*1\r\n";
    let mut scanner = RequestScanner::default();
    assert_eq!(scanner.scan(bytes, &LIMITS), Ok(Request::Multibulk(39)));
    let arguments = scanner.arguments(&bytes[..39]);
    assert_eq!(arguments.iter().collect::<Vec<_>>(), [&b"SET"[..], b"k", b"hello\r\nworld"]);
    assert_eq!(&arguments[1], b"k");
    assert_eq!(arguments.at(3), None);
}

#[test]
fn bad_requests_are_refused_in_redis_words() {
    let cases: &[(&[u8], &str)] = &[
        (b"*2000000000\r\n", "Protocol error: invalid multibulk length"),
        (b"*x\r\n", "Protocol error: invalid multibulk length"),
        (b"*1\r\n$-2\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$9999999999\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n:5\r\n", "Protocol error: expected '$', got ':'"),
        (b"*1\r\n*1\r\n", "Protocol error: expected '$', got '*'"),
        (b"*1\r\n$1\r\nabc", "Protocol error: expected CRLF after bulk"),
        (b"*1\r\n$1048576\r\n", "Protocol error: request exceeds limits.request_bytes_max"),
    ];
    for (bytes, expected) in cases {
        let error = scan_request(bytes).expect_err(&bytes.escape_ascii().to_string());
        assert_eq!(error.to_string(), *expected);
    }
    assert_eq!(scan_request(&[b'x'; 70_000]), Err(ProtocolError::TooBigInline));
}

#[test]
fn what_asks_for_nothing_gets_no_reply() {
    for (bytes, length) in [(&b"*0\r\nPING"[..], 4), (b"*-1\r\n", 5), (b"\r\nPING", 2), (b"  \n", 3)] {
        assert_eq!(scan_request(bytes), Ok(Request::Nothing(length)), "{}", bytes.escape_ascii());
    }
    assert_eq!(scan_request(b"PING\r\nX"), Ok(Request::Inline(6)));
    assert_eq!(scan_request(b""), Ok(Request::Partial));
}

#[test]
fn a_declared_length_is_known_before_its_bytes() {
    let mut scanner = RequestScanner::default();
    assert_eq!(scanner.scan(b"*2\r\n$3\r\nSET\r\n$1000\r\nabc", &LIMITS), Ok(Request::Partial));
    assert_eq!(scanner.declared(), 13 + 7 + 1000 + 2);
    let mut scanner = ReplyScanner::default();
    assert_eq!(scanner.scan(b"$1000\r\nabc"), Ok(None));
    assert_eq!(scanner.declared(), 7 + 1000 + 2);
}

#[test]
fn replies_of_every_type_are_found() {
    let replies: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":12\r\n",
        b"$5\r\nhello\r\n",
        b"$0\r\n\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
        b"_\r\n",
        b"#t\r\n",
        b",1.5\r\n",
        b"(123456789012345678901234567890\r\n",
        b"=8\r\ntxt:some\r\n",
        b"!5\r\nERR x\r\n",
        b"%1\r\n+a\r\n*1\r\n:1\r\n",
        b"~2\r\n:1\r\n:2\r\n",
        b">2\r\n+invalidate\r\n_\r\n",
        b"|1\r\n+ttl\r\n:3600\r\n$1\r\nx\r\n",
        b"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n",
    ];
    for reply in replies {
        let mut bytes = reply.to_vec();
        bytes.extend_from_slice(b"+next\r\n");
        assert_eq!(ReplyScanner::default().scan(&bytes), Ok(Some(reply.len())), "{}", reply.escape_ascii());
    }
    for bad in [&b"hello\r\n"[..], b"$-2\r\n", b"$5\r\nhelloXX", b"*x\r\n", b"$?\r\n", b"+a\rb\r\n", b"*-2\r\n"] {
        assert!(ReplyScanner::default().scan(bad).is_err(), "{}", bad.escape_ascii());
    }
}

#[test]
fn nesting_costs_a_counter() {
    let mut bytes = b"*1\r\n".repeat(1_000_000);
    assert_eq!(ReplyScanner::default().scan(&bytes), Ok(None));
    bytes.extend_from_slice(b":1\r\n");
    assert_eq!(ReplyScanner::default().scan(&bytes), Ok(Some(4_000_004)));
    let huge = b"*9223372036854775807\r\n".repeat(3);
    assert_eq!(ReplyScanner::default().scan(&huge), Err(BadReply::TooManyElements));
}

#[test]
fn an_aggregate_is_split_into_its_elements() {
    assert_eq!(elements(b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n"), Some(vec![&b"$1\r\na\r\n"[..], b"*1\r\n:1\r\n"]));
    assert_eq!(elements(b"%1\r\n+a\r\n:1\r\n"), Some(vec![&b"+a\r\n"[..], b":1\r\n"]));
    // What Redis 7.0 pushes to a client while EXEC is answered goes with the element behind it.
    assert_eq!(elements(b"*2\r\n+a\r\n>1\r\n+p\r\n:1\r\n"), Some(vec![&b"+a\r\n"[..], b">1\r\n+p\r\n:1\r\n"]));
    assert_eq!(elements(b"*1\r\n>1\r\n+p\r\n"), None);
    assert_eq!(elements(b"*2\r\n:1\r\n"), None);
    assert_eq!(elements(b"*1\r\n:1\r\n:2\r\n"), None);
    assert_eq!(elements(b"*-1\r\n"), None);
    assert_eq!(elements(b"+OK\r\n"), None);
}

#[test]
fn the_text_of_a_string_is_what_it_holds() {
    assert_eq!(payload(b"$5\r\nhello\r\n"), Some(&b"hello"[..]));
    assert_eq!(payload(b"$0\r\n\r\n"), Some(&b""[..]));
    assert_eq!(payload(b"=8\r\ntxt:some\r\n"), Some(&b"some"[..]));
    for other in [&b"$-1\r\n"[..], b"_\r\n", b":1\r\n", b"+OK\r\n", b"*0\r\n", b""] {
        assert_eq!(payload(other), None, "{}", other.escape_ascii());
    }
}

/// Any well-formed reply, nested a few levels.
fn any_reply() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|n| format!(":{n}\r\n").into_bytes()),
        "[a-z ]{0,12}".prop_map(|s| format!("+{s}\r\n").into_bytes()),
        "[a-z ]{0,12}".prop_map(|s| format!("-ERR {s}\r\n").into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| {
            let mut out = Vec::new();
            encode::bulk(&mut out, &bytes);
            out
        }),
        Just(b"$-1\r\n".to_vec()),
        Just(b"_\r\n".to_vec()),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        proptest::collection::vec(inner, 0..5).prop_map(|items| {
            let mut out = format!("*{}\r\n", items.len()).into_bytes();
            items.iter().for_each(|item| out.extend_from_slice(item));
            out
        })
    })
}

/// Feeds the bytes in pieces and gives back the lengths of the replies found.
fn in_pieces(bytes: &[u8], cuts: &[usize]) -> Vec<usize> {
    let (mut scanner, mut start, mut found) = (ReplyScanner::default(), 0, Vec::new());
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    for end in ends {
        while start < end {
            let Some(length) = scanner.scan(&bytes[start..end]).unwrap() else { break };
            found.push(length);
            start += length;
        }
    }
    assert_eq!(start, bytes.len());
    found
}

proptest! {
    #[test]
    fn replies_are_found_wherever_the_bytes_are_cut(
        replies in proptest::collection::vec(any_reply(), 1..6),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
    ) {
        let bytes = replies.concat();
        let lengths: Vec<usize> = replies.iter().map(Vec::len).collect();
        prop_assert_eq!(in_pieces(&bytes, &cuts), lengths);
    }

    #[test]
    fn replies_end_where_redis_protocol_says(reply in any_reply()) {
        let length = ReplyScanner::default().scan(&reply).unwrap();
        // The oracle takes a RESP3 null for RESP3 only; both decoders together know every type generated here.
        let resp2 = redis_protocol::resp2::decode::decode_range(&reply).ok().flatten().map(|(_, n)| n);
        let resp3 = redis_protocol::resp3::decode::complete::decode_range(&reply).ok().flatten().map(|(_, n)| n);
        if let Some(expected) = resp2.or(resp3) {
            prop_assert_eq!(length, Some(expected));
        }
    }

    #[test]
    fn requests_are_found_wherever_the_bytes_are_cut(
        arguments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..9),
        cut in any::<usize>(),
    ) {
        let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let mut bytes = Vec::new();
        encode::command(&mut bytes, &slices);
        let mut scanner = RequestScanner::default();
        let cut = cut % bytes.len();
        prop_assert_eq!(scanner.scan(&bytes[..cut], &LIMITS), Ok(Request::Partial));
        prop_assert_eq!(scanner.scan(&bytes, &LIMITS), Ok(Request::Multibulk(bytes.len())));
        prop_assert_eq!(scanner.arguments(&bytes).iter().collect::<Vec<_>>(), slices);
    }

    #[test]
    fn no_bytes_make_a_scanner_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
        let mut scanner = RequestScanner::default();
        let _ = scanner.scan(&bytes[..cut.min(bytes.len())], &LIMITS);
        if let Ok(Request::Multibulk(length)) = scanner.scan(&bytes, &LIMITS) {
            let _ = scanner.arguments(&bytes[..length]).iter().count();
        }
        let mut scanner = ReplyScanner::default();
        if scanner.scan(&bytes[..cut.min(bytes.len())]).is_ok() {
            let _ = scanner.scan(&bytes);
        }
        let _ = elements(&bytes);
        let _ = split_inline(&bytes);
    }

    #[test]
    fn hostile_headers_never_panic(kind in "[*$%~>|=!+-:]", number in "-?[0-9]{0,21}", tail in "[\r\n*$a0]{0,8}") {
        let bytes = format!("{kind}{number}\r\n{tail}").into_bytes();
        let _ = RequestScanner::default().scan(&bytes, &LIMITS);
        let _ = ReplyScanner::default().scan(&bytes);
        let _ = elements(&bytes);
    }
}
