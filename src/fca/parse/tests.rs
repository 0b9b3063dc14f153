//! Claims about what the FCA commands accept and refuse.

use super::*;
use crate::command::{self, Kind};
use proptest::prelude::*;

const ARITY: &str = "wrong arity";
const SYNTAX: &str = "ERR syntax error";
const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";
const EXPIRE: &str = "ERR invalid expire time in 'fca.set' command";
const NAMESPACE: &str = "ERR invalid namespace";

fn words(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(str::as_bytes).collect()
}

fn parse_words<'a>(args: &'a [&'a [u8]]) -> Result<Request<'a>, ReplyError> {
    let Some(Kind::Fca(fca)) = command::find(args[0]).map(|command| command.kind) else {
        panic!("no FCA command: {}", args[0].escape_ascii())
    };
    parse(fca, args)
}

fn assert_is(line: &str, expected: Request<'_>) {
    assert_eq!(parse_words(&words(line)), Ok(expected), "{line}");
}

const NS: &[u8] = b"faq";

#[test]
fn a_query_is_text_unless_the_last_word_is_params() {
    let text = Query::Text(b"q");
    let json = Query::Params(b"q");
    assert_is("FCA.GET faq q", Request::Get { namespace: NS, query: text });
    assert_is("fca.get faq q params", Request::Get { namespace: NS, query: json });
    assert_is("FCA.TTL faq q", Request::Ttl { namespace: NS, query: text });
    assert_is("FCA.TTL faq q PARAMS", Request::Ttl { namespace: NS, query: json });
    assert_is("FCA.PTTL faq q Params", Request::Pttl { namespace: NS, query: json });
    assert_is("FCA.KEY faq q PARAMS", Request::Key { namespace: NS, query: json });
    assert_is("FCA.GET faq params", Request::Get { namespace: NS, query: Query::Text(b"params") });
    assert_is("FCA.GET faq params PARAMS", Request::Get { namespace: NS, query: Query::Params(b"params") });
    assert_is("FCA.KEY faq ", Request::Key { namespace: NS, query: Query::Text(b"") });
}

#[test]
fn set_takes_its_options_in_any_order_and_case() {
    let set = |query, expiry| Request::Set { namespace: NS, query, value: b"v", expiry };
    let (text, json) = (Query::Text(b"q"), Query::Params(b"q"));
    assert_is("FCA.SET faq q v", set(text, None));
    assert_is("FCA.SET faq q v EX 60", set(text, Some(Expiry::Seconds(60))));
    assert_is("FCA.SET faq q v px 1500", set(text, Some(Expiry::Milliseconds(1500))));
    assert_is("FCA.SET faq q v PARAMS", set(json, None));
    assert_is("FCA.SET faq q v params Ex 1", set(json, Some(Expiry::Seconds(1))));
    assert_is("FCA.SET faq q v EX 1 PARAMS", set(json, Some(Expiry::Seconds(1))));
    assert_is(
        "FCA.SET faq q v PX 9223367638808264703",
        set(text, Some(Expiry::Milliseconds(9_223_367_638_808_264_703))),
    );
    assert_is("FCA.SET faq q v EX 9223367638808264", set(text, Some(Expiry::Seconds(9_223_367_638_808_264))));
    let value = Request::Set { namespace: NS, query: Query::Text(b"EX"), value: b"PARAMS", expiry: None };
    assert_is("FCA.SET faq EX PARAMS", value);
}

#[test]
fn several_queries_have_no_options_but_for_the_last_word_of_del() {
    let (one, two): (&[&[u8]], &[&[u8]]) = (&[b"params"], &[b"a", b"params"]);
    assert_is("FCA.MGET faq params", Request::Mget { namespace: NS, queries: one });
    assert_is("FCA.MGET faq a params", Request::Mget { namespace: NS, queries: two });
    assert_is("FCA.MSET faq a params", Request::Mset { namespace: NS, pairs: two });
    assert_is("FCA.MSET faq a 1 a params", Request::Mset { namespace: NS, pairs: &[b"a", b"1", b"a", b"params"] });
    assert_is("FCA.DEL faq params", Request::Del { namespace: NS, queries: one, form: Form::Text });
    assert_is("FCA.DEL faq params params", Request::Del { namespace: NS, queries: one, form: Form::Params });
    assert_is("FCA.DEL faq a PARAMS", Request::Del { namespace: NS, queries: &[b"a"], form: Form::Params });
    assert_is("FCA.DEL faq params a", Request::Del { namespace: NS, queries: &[b"params", b"a"], form: Form::Text });
}

#[test]
fn the_others_take_what_their_help_says() {
    assert_is("FCA.FLUSH faq", Request::Flush { namespace: NS, glob: None });
    assert_is("FCA.FLUSH faq match a*", Request::Flush { namespace: NS, glob: Some(b"a*") });
    assert_is("FCA.AVAILABLE", Request::Available);
    assert_is("FCA.STATS", Request::Stats { namespace: None });
    assert_is("FCA.STATS faq", Request::Stats { namespace: Some(NS) });
    assert_is("FCA.HELP", Request::Help);
}

#[test]
fn mistakes_are_answered_in_redis_own_words() {
    let cases = [
        ("FCA.GET", ARITY),
        ("FCA.GET faq", ARITY),
        ("FCA.GET faq q x", SYNTAX),
        ("FCA.GET faq q PARAMS PARAMS", SYNTAX),
        ("FCA.GET faq q EX 1", SYNTAX),
        ("FCA.GET f:q q", NAMESPACE),
        ("FCA.GET  q", NAMESPACE),
        ("FCA.GET {faq} q x", NAMESPACE),
        ("FCA.TTL faq", ARITY),
        ("FCA.PTTL faq q q", SYNTAX),
        ("FCA.KEY faq q PARAM", SYNTAX),
        ("FCA.SET faq q", ARITY),
        ("FCA.SET faq q v NX", SYNTAX),
        ("FCA.SET faq q v EX", SYNTAX),
        ("FCA.SET faq q v EX 1 EX 1", SYNTAX),
        ("FCA.SET faq q v EX 1 PX 1", SYNTAX),
        ("FCA.SET faq q v PX 1 EX 1", SYNTAX),
        ("FCA.SET faq q v PARAMS PARAMS", SYNTAX),
        ("FCA.SET faq q v EX x NX", SYNTAX),
        ("FCA.SET faq q v EX PARAMS", NOT_A_NUMBER),
        ("FCA.SET faq q v EX x", NOT_A_NUMBER),
        ("FCA.SET faq q v EX 1.5", NOT_A_NUMBER),
        ("FCA.SET faq q v EX +1", NOT_A_NUMBER),
        ("FCA.SET faq q v EX 01", NOT_A_NUMBER),
        ("FCA.SET faq q v EX -0", NOT_A_NUMBER),
        ("FCA.SET faq q v EX ", NOT_A_NUMBER),
        ("FCA.SET faq q v PX 9223372036854775808", NOT_A_NUMBER),
        ("FCA.SET faq q v EX 0", EXPIRE),
        ("FCA.SET faq q v PX 0", EXPIRE),
        ("FCA.SET faq q v EX -1", EXPIRE),
        ("FCA.SET faq q v EX -9223372036854775808", EXPIRE),
        ("FCA.SET faq q v EX 9223372036854775", EXPIRE),
        ("FCA.SET faq q v EX 9223372036854775807", EXPIRE),
        ("FCA.SET faq q v PX 9223372036854775807", EXPIRE),
        ("FCA.SET faq q v PX 9223367638808264704", EXPIRE),
        ("FCA.MGET faq", ARITY),
        ("FCA.MGET f/q q", NAMESPACE),
        ("FCA.MSET faq q", ARITY),
        ("FCA.MSET faq q v q", ARITY),
        ("FCA.DEL faq", ARITY),
        ("FCA.FLUSH", ARITY),
        ("FCA.FLUSH faq MATCH", SYNTAX),
        ("FCA.FLUSH faq x y", SYNTAX),
        ("FCA.FLUSH faq MATCH a MATCH b", SYNTAX),
        ("FCA.FLUSH * ", NAMESPACE),
        ("FCA.AVAILABLE faq", ARITY),
        ("FCA.STATS faq faq", ARITY),
        ("FCA.STATS f*", NAMESPACE),
        ("FCA.HELP me", ARITY),
    ];
    for (line, expected) in cases {
        let args = words(line);
        let expected = match expected {
            ARITY => format!(
                "ERR wrong number of arguments for '{}' command",
                line.split(' ').next().unwrap().to_lowercase()
            ),
            other => other.to_owned(),
        };
        let got = parse_words(&args).map_err(|error| error.to_string());
        assert_eq!(got, Err(expected), "{line}");
    }
}

#[test]
fn a_namespace_has_1_to_64_bytes_of_the_allowed_ones() {
    for byte in 0..=u8::MAX {
        let namespace = [b'a', byte];
        let allowed = byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        assert_eq!(parse(Fca::Get, &[b"FCA.GET", &namespace, b"q"]).is_ok(), allowed, "{byte:#x}");
    }
    for (length, allowed) in [(0, false), (1, true), (64, true), (65, false)] {
        assert_eq!(parse(Fca::Get, &[b"FCA.GET", &b"n".repeat(length), b"q"]).is_ok(), allowed, "{length}");
    }
}

/// A family's command, and arguments that are likely to mean something.
fn requests() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let names = command::fca().iter().map(|command| command.name.as_bytes().to_vec()).collect::<Vec<_>>();
    let word = prop_oneof![
        4 => prop::sample::select(vec!["faq", "q", "EX", "px", "PARAMS", "match", "1", "0", "-1", "99999999999999999999"])
            .prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    (prop::sample::select(names), prop::collection::vec(word, 0..8))
        .prop_map(|(name, args)| std::iter::once(name).chain(args).collect())
}

proptest! {
    #[test]
    fn no_arguments_panic_and_no_expiry_is_0(request in requests()) {
        let args: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
        if let Ok(Request::Set { expiry: Some(Expiry::Seconds(n) | Expiry::Milliseconds(n)), .. }) = parse_words(&args) {
            prop_assert!(n > 0);
        }
    }

    #[test]
    fn the_order_of_options_changes_nothing(
        expiry in prop::sample::select(vec!["EX", "PX", "ex"]),
        number in any::<i64>(),
        case in prop::sample::select(vec!["PARAMS", "params", "pArAmS"]),
    ) {
        let number = number.to_string();
        let head: [&[u8]; 4] = [b"FCA.SET", b"faq", b"q", b"v"];
        let (expiry, number, case) = (expiry.as_bytes(), number.as_bytes(), case.as_bytes());
        let before = [&head[..], &[expiry, number, case]].concat();
        let after = [&head[..], &[case, expiry, number]].concat();
        prop_assert_eq!(parse_words(&before), parse_words(&after));
    }
}
