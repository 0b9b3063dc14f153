//! Claims about the table, the look-up and the rules of blocking. The comparison with a live server is in
//! tests/commands.rs.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;
use std::time::Duration;

/// The obvious way to look a name up.
fn find_slowly(name: &[u8]) -> Option<&'static Command> {
    all().iter().find(|command| command.name.as_bytes().eq_ignore_ascii_case(name))
}

fn words(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(str::as_bytes).collect()
}

#[test]
fn every_name_is_found_in_every_case() {
    for command in all() {
        let upper = command.name.to_owned();
        let lower = upper.to_ascii_lowercase();
        let mixed: String =
            upper.chars().enumerate().map(|(at, c)| if at % 2 == 0 { c.to_ascii_lowercase() } else { c }).collect();
        for name in [upper, lower, mixed] {
            assert_eq!(find(name.as_bytes()).map(|found| found.name), Some(command.name), "{name}");
        }
    }
    assert_eq!(all().len(), 252);
}

#[test]
fn a_near_miss_is_not_found() {
    let names: HashSet<Vec<u8>> = all().iter().map(|command| command.name.as_bytes().to_vec()).collect();
    let mut missed = 0;
    for name in &names {
        for place in 0..=name.len() {
            let mut variants = Vec::new();
            for byte in [0, b' ', b'.', b'A', b'@', b'[', 0x80, b'G' | 0x80] {
                let mut longer = name.clone();
                longer.insert(place, byte);
                variants.push(longer);
                if let Some(old) = name.get(place) {
                    for byte in [byte, old ^ 0x80, old ^ 0x20, old ^ 1] {
                        let mut changed = name.clone();
                        changed[place] = byte;
                        variants.push(changed);
                    }
                    let mut shorter = name.clone();
                    shorter.remove(place);
                    variants.push(shorter);
                }
            }
            for variant in variants {
                assert_eq!(find(&variant), find_slowly(&variant), "{}", variant.escape_ascii());
                missed += usize::from(find(&variant).is_none());
            }
        }
    }
    assert!(missed > 10_000, "only {missed} near misses were tried");
}

#[test]
fn a_name_that_is_empty_or_too_long_is_unknown() {
    for length in [0, NAME_BYTES_MAX, NAME_BYTES_MAX + 1, 64, 100_000] {
        assert_eq!(find(&b"G".repeat(length)), None);
    }
}

proptest! {
    #[test]
    fn find_agrees_with_a_linear_search(name in proptest::collection::vec(any::<u8>(), 0..32)) {
        prop_assert_eq!(find(&name), find_slowly(&name));
    }

    #[test]
    fn find_agrees_with_a_linear_search_on_words(name in "[a-zA-Z.]{1,5}") {
        prop_assert_eq!(find(name.as_bytes()), find_slowly(name.as_bytes()));
    }
}

#[test]
fn each_command_has_the_kind_that_its_nature_asks_for() {
    let kind = |name: &str| find(name.as_bytes()).unwrap().kind;
    for name in ["GET", "SET", "PUBLISH", "SPUBLISH", "PUBSUB", "EVAL", "SCAN", "CONFIG", "CLUSTER"] {
        assert_eq!(kind(name), Kind::Forward, "{name}");
    }
    let blocking: Vec<&str> =
        all().iter().filter(|command| command.kind == Kind::Blocking).map(|command| command.name).collect();
    assert_eq!(
        blocking,
        [
            "BLMOVE",
            "BLMPOP",
            "BLPOP",
            "BRPOP",
            "BRPOPLPUSH",
            "BZMPOP",
            "BZPOPMAX",
            "BZPOPMIN",
            "WAIT",
            "XREAD",
            "XREADGROUP"
        ]
    );
    assert_eq!(kind("HELLO"), Kind::Local(Local::Hello));
    assert_eq!(kind("WATCH"), Kind::Transaction(Transaction::Watch));
    assert_eq!(kind("SSUBSCRIBE"), Kind::PubSub);
    assert_eq!(kind("MONITOR"), Kind::Monitor);
    assert_eq!(kind("PSYNC"), Kind::Refused);
    assert_eq!(kind("SHUTDOWN"), Kind::Admin);
    assert_eq!(kind("SCRIPT"), Kind::Script);
    assert_eq!(kind("READONLY"), Kind::ClusterClient);
    assert_eq!(kind("fca.stats"), Kind::Fca(Fca::Stats));
    assert_eq!(all().iter().filter(|command| command.kind != Kind::Forward).count(), 33 + 10 + 12);
    assert!(fca().iter().all(|command| matches!(command.kind, Kind::Fca(_))) && fca().len() == 12);
}

#[test]
fn each_command_of_the_family_stands_at_its_own_row() {
    for command in fca() {
        let Kind::Fca(fca) = command.kind else { panic!("{command:?}") };
        assert_eq!(fca.command(), command);
    }
}

#[test]
fn each_command_is_counted_under_one_family() {
    let cases = [
        ("FCA.GET", Family::FcaGet),
        ("FCA.KEY", Family::FcaOther),
        ("GET", Family::Read),
        ("SET", Family::Write),
        ("FLUSHALL", Family::Write),
        ("KEYS", Family::Read),
        ("EXEC", Family::Transaction),
        ("BLPOP", Family::Blocking),
        ("PUBLISH", Family::PubSub),
        ("PUBSUB", Family::PubSub),
        ("EVAL_RO", Family::Script),
        ("FUNCTION", Family::Script),
        ("PING", Family::Connection),
        ("CLIENT", Family::Connection),
        ("COMMAND", Family::Connection),
        ("CONFIG", Family::Admin),
        ("SHUTDOWN", Family::Admin),
        ("INFO", Family::Admin),
        ("XGROUP", Family::Write),
        ("TIME", Family::Other),
    ];
    for (name, family) in cases {
        assert_eq!(find(name.as_bytes()).unwrap().family, family, "{name}");
    }
    let containers: Vec<_> = all().iter().filter(|command| command.has_subcommands).collect();
    assert_eq!(containers.len(), 15);
    assert!(containers.iter().all(|command| command.family != Family::Other), "{containers:?}");
}

#[test]
fn a_request_blocks_by_its_arguments_as_redis_reads_them() {
    let forever = None;
    let cases = [
        ("BLPOP k 0", true, forever),
        ("BLPOP k 1.5", true, Some(Duration::from_millis(1500))),
        ("BLPOP k", false, None),
        ("BLMPOP 0.1 1 k LEFT", true, Some(Duration::from_millis(100))),
        ("BZMPOP x 1 k MIN", true, None),
        ("BLMOVE a b LEFT RIGHT 2", true, Some(Duration::from_secs(2))),
        ("WAIT 1 250", true, Some(Duration::from_millis(250))),
        ("WAIT 1 0", true, forever),
        ("WAIT 1", false, None),
        ("XREAD STREAMS s 0", false, None),
        ("XREAD block 250 STREAMS s $", true, Some(Duration::from_millis(250))),
        ("XREAD COUNT 2 BLOCK 0 STREAMS s $", true, forever),
        ("XREAD COUNT BLOCK STREAMS BLOCK 0", false, None),
        ("XREAD STREAMS BLOCK 0", false, None),
        ("XREAD BLOCK", false, None),
        ("XREAD BLOCK 5", false, None),
        ("XREAD NONSENSE BLOCK 5 STREAMS s 0", false, None),
        ("XREADGROUP GROUP BLOCK c STREAMS s >", false, None),
        ("XREADGROUP GROUP g c NOACK BLOCK 7 STREAMS s >", true, Some(Duration::from_millis(7))),
        ("GET BLOCK", false, None),
    ];
    for (line, expected, timeout) in cases {
        let args = words(line);
        let command = find(args[0]).unwrap();
        assert_eq!(blocks(command, &args), expected, "{line}");
        assert_eq!(blocking_timeout(command, &args), timeout, "{line}");
    }
}

#[test]
fn places_of_keys_are_those_that_redis_counts() {
    let places = |line: &str| {
        let args = words(line);
        find(args[0]).unwrap().keys.places(args.len()).collect::<Vec<_>>()
    };
    assert_eq!(places("GET k"), [1]);
    assert_eq!(places("MSET a 1 b 2"), [1, 3]);
    assert_eq!(places("DEL a b c"), [1, 2, 3]);
    assert_eq!(places("BLPOP a b 0"), [1, 2]);
    assert_eq!(places("BITOP AND d a b"), [2, 3, 4]);
    assert!(places("PING").is_empty());
    assert!(places("FCA.GET ns q").is_empty());
    assert!(places("GET").is_empty(), "a request that is too short has no key behind its end");
}

#[test]
fn arity_counts_the_name() {
    let takes = |name: &str, arguments| find(name.as_bytes()).unwrap().takes(arguments);
    assert!(takes("GET", 2) && !takes("GET", 1) && !takes("GET", 3));
    assert!(takes("FCA.GET", 3) && takes("FCA.GET", 9) && !takes("FCA.GET", 2));
}

#[test]
fn what_may_wait_for_nobody_knows_how_long_has_no_timeout() {
    for line in ["made.blpop", "made.blpop l 1", "made.blpop BLOCK 5 STREAMS x $"] {
        assert!(blocks(&UNKNOWN_BLOCKING, &words(line)), "{line}");
        assert_eq!(blocking_timeout(&UNKNOWN_BLOCKING, &words(line)), None, "{line}");
    }
    assert_eq!(find(UNKNOWN_BLOCKING.name.as_bytes()), None, "it stands for no command of that name");
}

#[test]
fn a_set_is_made_of_the_words_that_are_known() {
    let flags = Flags::of([b"readonly".as_slice(), b"made_up", b"blocking"]);
    assert!(flags.words().eq(["readonly", "blocking"]));
}
