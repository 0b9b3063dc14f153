//! Claims about what is asked of the upstream and how its replies are merged. The same against a live server is in
//! tests/commands.rs.

use super::*;
use crate::command::append_info;
use crate::fca::append_docs;
use crate::resp::{ReplyScanner, elements};
use proptest::prelude::*;

fn words(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(str::as_bytes).collect()
}

fn asked(line: &str) -> Option<String> {
    let args = words(line);
    let request = Introspection::parse(&args).unwrap().upstream_request()?;
    Some(String::from_utf8(request.join(&b' ')).unwrap())
}

fn answered(line: &str, protocol: Protocol, upstream: Option<&str>) -> Vec<u8> {
    let args = words(line);
    let mut out = Vec::new();
    Introspection::parse(&args).unwrap().append_reply(&mut out, protocol, upstream.map(str::as_bytes));
    assert_eq!(ReplyScanner::default().scan(&out), Ok(Some(out.len())), "{line}: {}", out.escape_ascii());
    out
}

fn info_of(name: &str, protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    append_info(&mut out, protocol, command::find(name.as_bytes()).unwrap());
    out
}

fn docs_of(name: &str, protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    append_docs(&mut out, protocol, own(name.as_bytes()).unwrap());
    out
}

const RESP2: Protocol = Protocol::Resp2;
const RESP3: Protocol = Protocol::Resp3;

#[test]
fn the_upstream_is_asked_for_what_is_not_ours() {
    let cases = [
        ("command", Some("COMMAND")),
        ("COMMAND info", Some("COMMAND")),
        ("COMMAND INFO get FCA.GET nosuch", Some("COMMAND INFO get nosuch")),
        ("COMMAND INFO fca.get FCA.SET", None),
        ("COMMAND DOCS", Some("COMMAND DOCS")),
        ("COMMAND docs fca.get config|get", Some("COMMAND DOCS config|get")),
        ("COMMAND DOCS fca.get", None),
        ("COMMAND count", Some("COMMAND COUNT")),
        ("COMMAND LIST", Some("COMMAND LIST")),
        ("COMMAND LIST filterby aclcat fast", Some("COMMAND LIST FILTERBY ACLCAT fast")),
        ("COMMAND LIST FILTERBY colour red", Some("COMMAND LIST FILTERBY colour red")),
        ("COMMAND GETKEYS get k", Some("COMMAND GETKEYS get k")),
        ("COMMAND GETKEYS fca.get ns q", None),
        ("COMMAND GETKEYSANDFLAGS fca.get ns q", None),
        ("COMMAND GETKEYSANDFLAGS set k v", Some("COMMAND GETKEYSANDFLAGS set k v")),
        ("COMMAND HELP", Some("COMMAND HELP")),
        ("COMMAND newer stuff", Some("COMMAND newer stuff")),
    ];
    for (line, expected) in cases {
        assert_eq!(asked(line).as_deref(), expected, "{line}");
    }
}

#[test]
fn a_wrong_arity_is_refused_as_in_redis() {
    for (line, name) in [
        ("COMMAND COUNT x", "command|count"),
        ("COMMAND GETKEYS", "command|getkeys"),
        ("COMMAND GETKEYS fca.help", "command|getkeys"),
        ("COMMAND GETKEYSANDFLAGS get", "command|getkeysandflags"),
        ("COMMAND HELP me", "command|help"),
    ] {
        assert_eq!(Introspection::parse(&words(line)), Err(ReplyError::wrong_arity(name)), "{line}");
    }
}

#[test]
fn the_answers_of_info_stand_in_the_order_of_the_names() {
    for protocol in [RESP2, RESP3] {
        let upstream = "*3\r\n*1\r\n$1\r\na\r\n$-1\r\n*1\r\n$1\r\nb\r\n";
        let got = answered("COMMAND INFO a fca.get nosuch FCA.SET b", protocol, Some(upstream));
        let [a, get, nosuch, set, b] = elements(&got).unwrap()[..] else { panic!("not 5 elements") };
        assert_eq!((a, nosuch, b), (&b"*1\r\n$1\r\na\r\n"[..], &b"$-1\r\n"[..], &b"*1\r\n$1\r\nb\r\n"[..]));
        assert_eq!((get, set), (&info_of("fca.get", protocol)[..], &info_of("fca.set", protocol)[..]));
    }
}

#[test]
fn the_answers_of_docs_stand_in_the_order_of_the_names_without_the_unknown() {
    let upstream = "*6\r\n$1\r\na\r\n*0\r\n$1\r\nb\r\n*0\r\n$1\r\na\r\n*0\r\n";
    let got = answered("COMMAND DOCS A fca.get nosuch b fca.get a", RESP2, Some(upstream));
    let get = docs_of("fca.get", RESP2);
    let (a, b): (&[u8], &[u8]) = (b"$1\r\na\r\n*0\r\n", b"$1\r\nb\r\n*0\r\n");
    assert_eq!(got, [b"*10\r\n", a, &get, b, &get, a].concat());

    let upstream = "%1\r\n$3\r\nold\r\n%0\r\n";
    let got = answered("COMMAND DOCS renamed fca.get", RESP3, Some(upstream));
    let expected = [b"%2\r\n".as_slice(), &docs_of("fca.get", RESP3), b"$3\r\nold\r\n%0\r\n"].concat();
    assert_eq!(got, expected, "a command that was renamed keeps its pair");
}

#[test]
fn every_question_has_an_answer_without_an_upstream() {
    for protocol in [RESP2, RESP3] {
        for refusal in [None, Some("-NOPERM no\r\n"), Some("$-1\r\n"), Some("_\r\n"), Some("*-1\r\n")] {
            let table = answered("COMMAND", protocol, refusal);
            let entries = elements(&table).unwrap();
            assert_eq!(entries.len(), command::all().len());
            assert!(entries.contains(&info_of("get", protocol).as_slice()));
            assert!(entries.contains(&info_of("fca.get", protocol).as_slice()));
            let list = answered("COMMAND LIST", protocol, refusal);
            assert_eq!(elements(&list).unwrap().len(), command::all().len());
            assert_eq!(answered("COMMAND COUNT", protocol, refusal), b":252\r\n");
            let docs = answered("COMMAND DOCS", protocol, refusal);
            assert_eq!(elements(&docs).unwrap().len(), 2 * command::fca().len());
            let nil = encode::nil_frame(protocol);
            let info = answered("COMMAND INFO get nosuch fca.get", protocol, refusal);
            let expected = [b"*3\r\n", &info_of("get", protocol)[..], nil, &info_of("fca.get", protocol)].concat();
            assert_eq!(info, expected);
            let docs = answered("COMMAND DOCS get", protocol, refusal);
            assert_eq!(docs, if protocol == RESP2 { b"*0\r\n" } else { b"%0\r\n" });
        }
        let nil = String::from_utf8(encode::nil_frame(protocol).to_vec()).unwrap();
        for (line, expected) in [
            ("COMMAND LIST FILTERBY MODULE fca", "*0\r\n"),
            ("COMMAND LIST FILTERBY PATTERN FCA.*key", "*1\r\n$7\r\nfca.key\r\n"),
            (
                "COMMAND LIST FILTERBY ACLCAT hyperlogLOG",
                "*5\r\n$5\r\npfadd\r\n$7\r\npfcount\r\n$7\r\npfdebug\r\n$7\r\npfmerge\r\n$10\r\npfselftest\r\n",
            ),
            ("COMMAND LIST FILTERBY colour red", "-ERR syntax error\r\n"),
            ("COMMAND LIST x", "-ERR syntax error\r\n"),
            ("COMMAND nosuch", "-ERR unknown subcommand 'nosuch'. Try COMMAND HELP.\r\n"),
            ("COMMAND a\r\nb", "-ERR unknown subcommand 'a  b'. Try COMMAND HELP.\r\n"),
            ("COMMAND GETKEYS mset a 1 b 2", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
            ("COMMAND GETKEYS nosuch a", "-ERR Invalid command specified\r\n"),
            ("COMMAND GETKEYS publish a b", "-ERR The command has no key arguments\r\n"),
            ("COMMAND GETKEYS get a b", "-ERR Invalid number of arguments specified for command\r\n"),
            ("COMMAND GETKEYS eval s 0", &nil),
            ("COMMAND GETKEYS object freq k", &nil),
            ("COMMAND GETKEYSANDFLAGS get k", &nil),
            ("COMMAND GETKEYS fca.get ns q", "-ERR The command has no key arguments\r\n"),
            ("COMMAND GETKEYSANDFLAGS FCA.SET ns", "-ERR The command has no key arguments\r\n"),
        ] {
            let got = answered(line, protocol, None);
            assert_eq!(String::from_utf8(got).unwrap(), expected, "{line}");
        }
        let help = answered("COMMAND HELP", protocol, None);
        assert_eq!(
            elements(&help).unwrap()[0],
            b"+COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n"
        );
    }
}

#[test]
fn an_upstream_that_knows_the_family_does_not_double_it() {
    for protocol in [RESP2, RESP3] {
        for line in ["COMMAND", "COMMAND DOCS", "COMMAND LIST", "COMMAND LIST FILTERBY PATTERN fca.m*"] {
            let once = answered(line, protocol, Some("*0\r\n"));
            let twice = answered(line, protocol, Some(str::from_utf8(&once).unwrap()));
            assert_eq!(once, twice, "{line}");
        }
    }
}

#[test]
fn what_only_the_upstream_knows_is_passed_on() {
    for line in
        ["COMMAND GETKEYS x y", "COMMAND GETKEYSANDFLAGS x y", "COMMAND HELP", "COMMAND newer", "COMMAND LIST x"]
    {
        assert_eq!(answered(line, RESP3, Some("-ERR as it says\r\n")), b"-ERR as it says\r\n", "{line}");
    }
}

#[test]
fn docs_say_of_each_argument_what_redis_would() {
    let expected = "$9\r\nfca.flush\r\n%5\r\n$7\r\nsummary\r\n$33\r\nRemove all entries of a namespace\r\n\
        $5\r\nsince\r\n$5\r\n0.1.0\r\n$5\r\ngroup\r\n$3\r\nfca\r\n\
        $10\r\ncomplexity\r\n$50\r\nO(N) where N is the number of keys in the database\r\n\
        $9\r\narguments\r\n*2\r\n%2\r\n$4\r\nname\r\n$9\r\nnamespace\r\n$4\r\ntype\r\n$6\r\nstring\r\n\
        %4\r\n$4\r\nname\r\n$7\r\npattern\r\n$4\r\ntype\r\n$7\r\npattern\r\n$5\r\ntoken\r\n$5\r\nMATCH\r\n\
        $5\r\nflags\r\n~1\r\n+optional\r\n";
    assert_eq!(String::from_utf8(docs_of("fca.flush", RESP3)).unwrap(), expected);
    let flat = expected.replace("%5", "*10").replace("%2", "*4").replace("%4", "*8").replace("~1", "*1");
    assert_eq!(String::from_utf8(docs_of("fca.flush", RESP2)).unwrap(), flat);
}

/// Bytes that look like a reply here and there.
fn replies() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec!["*1\r\n", "*2\r\n", "%1\r\n", "~1\r\n", "$1\r\na\r\n", "$7\r\nfca.get\r\n", ":7\r\n", "_\r\n", "*-1\r\n", "|1\r\n"])
            .prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..3),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_the_upstream_says_the_client_gets_one_whole_reply(reply in replies(), three in any::<bool>()) {
        let protocol = if three { RESP3 } else { RESP2 };
        for line in ["COMMAND", "COMMAND COUNT", "COMMAND LIST", "COMMAND DOCS", "COMMAND DOCS a fca.get b", "COMMAND INFO a fca.get"] {
            let args = words(line);
            let mut out = Vec::new();
            Introspection::parse(&args).unwrap().append_reply(&mut out, protocol, Some(&reply));
            prop_assert_eq!(ReplyScanner::default().scan(&out), Ok(Some(out.len())), "{}: {}", line, out.escape_ascii());
        }
    }
}

#[test]
fn a_reply_that_nests_a_million_deep_harms_nothing() {
    let deep = [b"*1\r\n".repeat(1_000_000), b":1\r\n".to_vec()].concat();
    let got = answered("COMMAND", RESP2, Some(str::from_utf8(&deep).unwrap()));
    assert_eq!(elements(&got).unwrap().len(), 1 + command::fca().len());
}
