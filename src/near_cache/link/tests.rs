//! Claims about the link: what it asks, what it hears, when it is silent, and in which order fences are reached.

use super::{Link, LinkError, LinkEvent, PUSH_BYTES_MAX};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(1);

/// An event that owns its key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Tracking(Instant),
    Key(Vec<u8>),
    All,
    Answered(Instant, Option<u64>),
}

impl From<LinkEvent<'_>> for Heard {
    fn from(event: LinkEvent<'_>) -> Self {
        match event {
            LinkEvent::Tracking { sent } => Self::Tracking(sent),
            LinkEvent::Invalidate(key) => Self::Key(key.to_vec()),
            LinkEvent::InvalidateAll => Self::All,
            LinkEvent::Answered { sent, fence } => Self::Answered(sent, fence),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's time has to begin somewhere")]
fn start() -> Instant {
    Instant::now()
}

/// All that these bytes say.
fn hear(link: &mut Link, bytes: &[u8]) -> Result<Vec<Heard>, LinkError> {
    link.handle_bytes(bytes);
    let mut heard = Vec::new();
    while let Some(event) = link.poll_event()? {
        heard.push(event.into());
    }
    Ok(heard)
}

/// A link whose tracking runs since `now`, with nothing in flight but the first PING.
fn tracking(now: Instant) -> Link {
    let mut link = Link::new(&[b"fca:".to_vec()], TIMEOUT, now);
    link.handle_turn(now, 0);
    assert!(link.poll_transmit().is_some());
    assert_eq!(hear(&mut link, b"+OK\r\n:-2\r\n+OK\r\n"), Ok(vec![Heard::Tracking(now)]));
    link
}

/// How many PINGs are to be sent.
fn pings(link: &mut Link) -> usize {
    let sent = link.poll_transmit().unwrap_or_default();
    assert!(sent.len().is_multiple_of(PING.len()) && sent.chunks(PING.len()).all(|ping| ping == PING));
    sent.len() / PING.len()
}

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

fn invalidate(keys: &[&[u8]]) -> Vec<u8> {
    let mut push = format!(">2\r\n$10\r\ninvalidate\r\n*{}\r\n", keys.len()).into_bytes();
    for key in keys {
        push.extend_from_slice(format!("${}\r\n", key.len()).as_bytes());
        push.extend_from_slice(key);
        push.extend_from_slice(b"\r\n");
    }
    push
}

#[test]
fn it_asks_for_every_prefix_and_a_first_answer() {
    let now = start();
    let mut link = Link::new(&[b"a:".to_vec(), b"b:".to_vec()], TIMEOUT, now);
    link.handle_turn(now, 7);
    let sent = String::from_utf8(link.poll_transmit().unwrap()).unwrap();
    let words: Vec<&str> = sent.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
    assert_eq!(
        words.join(" "),
        "CLIENT SETNAME fca-proxy-link PTTL a: CLIENT TRACKING ON BCAST PREFIX a: PREFIX b: PING"
    );
    assert_eq!(link.poll_transmit(), None);
    let heard = hear(&mut link, b"-NOPERM no\r\n:-2\r\n+OK\r\n+PONG\r\n");
    assert_eq!(heard, Ok(vec![Heard::Tracking(now), Heard::Answered(now, None)]));
}

#[test]
fn pushes_are_told_key_by_key_among_the_answers() {
    let now = start();
    let mut link = tracking(now);
    let bytes = [
        invalidate(&[b"fca:faq:1", b"", b"fca:\r\n$3"]).as_slice(),
        b"+PONG\r\n",
        b">2\r\n$10\r\ninvalidate\r\n_\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*0\r\n",
        b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
        &invalidate(&[b"x"]),
    ]
    .concat();
    let key = |key: &[u8]| Heard::Key(key.to_vec());
    let told = vec![key(b"fca:faq:1"), key(b""), key(b"fca:\r\n$3"), Heard::Answered(now, None), Heard::All, key(b"x")];
    assert_eq!(hear(&mut link, &bytes), Ok(told));
}

#[test]
fn four_pings_go_out_before_silence_is_an_end() {
    let now = start();
    let mut link = tracking(now);
    let mut sent = 0;
    let mut at = now;
    while link.handle_timeout(at).is_ok() {
        link.handle_turn(at, 0);
        sent += pings(&mut link);
        assert!(link.poll_timeout() > at, "the task would spin");
        at = link.poll_timeout();
    }
    // The first was on its way before.
    assert_eq!((sent, at), (3, now + TIMEOUT));
    assert_eq!(link.handle_timeout(at), Err(LinkError::Silent));
}

#[test]
fn an_answer_counts_from_when_its_ping_was_sent() {
    let now = start();
    let mut link = tracking(now);
    let later = now + TIMEOUT / 2;
    link.handle_turn(later, 0);
    assert_eq!(hear(&mut link, b"+PONG\r\n"), Ok(vec![Heard::Answered(now, None)]));
    assert_eq!(link.handle_timeout(now + TIMEOUT), Ok(()));
    assert_eq!(link.handle_timeout(later + TIMEOUT), Err(LinkError::Silent));
    assert_eq!(hear(&mut link, b"+PONG\r\n"), Ok(vec![Heard::Answered(later, None)]));
}

#[test]
fn a_fence_is_reached_by_the_second_of_two_pings_that_were_sent_behind_it() {
    let now = start();
    let mut link = tracking(now);
    let at = |ms| now + Duration::from_millis(ms);
    link.handle_turn(at(1), 3);
    assert_eq!(pings(&mut link), 1);
    // One at a time: the next asks for all that were wanted meanwhile.
    link.handle_turn(at(2), 4);
    link.handle_turn(at(3), 5);
    assert_eq!(pings(&mut link), 0);
    assert_eq!(hear(&mut link, b"+PONG\r\n"), Ok(vec![Heard::Answered(now, None)]));
    link.handle_turn(at(4), 5);
    assert_eq!(pings(&mut link), 0);
    assert_eq!(hear(&mut link, b"+PONG\r\n"), Ok(vec![Heard::Answered(at(1), None)]));
    link.handle_turn(at(5), 5);
    assert_eq!(pings(&mut link), 1);
    assert_eq!(hear(&mut link, b"+PONG\r\n"), Ok(vec![Heard::Answered(at(5), Some(3))]));
    link.handle_turn(at(6), 5);
    assert_eq!(pings(&mut link), 1);
    assert_eq!(hear(&mut link, b"+PONG\r\n"), Ok(vec![Heard::Answered(at(6), None)]));
    link.handle_turn(at(7), 5);
    assert_eq!(hear(&mut link, b"+PONG\r\n"), Ok(vec![Heard::Answered(at(7), Some(5))]));
    assert_eq!(pings(&mut link), 1);
    link.handle_turn(at(8), 5);
    assert_eq!(pings(&mut link), 0);
}

#[test]
fn a_server_that_cannot_track_is_told_from_one_that_cannot_now() {
    let said = |replies: &[u8]| hear(&mut Link::new(&[], TIMEOUT, start()), &[b"+OK\r\n", replies].concat());
    let words = "NOPERM this user has no permissions to run the 'pttl' command";
    assert_eq!(said(format!("-{words}\r\n").as_bytes()), Err(LinkError::Refused(words.to_owned())));
    for words in [
        "NOPERM this user has no permissions to access one of the keys used as arguments",
        "NOPERM No permissions to access a key",
        "NOPERM User app has no permissions to access the 'fca:' key",
    ] {
        let heard = said(format!("-{words}\r\n+OK\r\n").as_bytes());
        assert!(matches!(heard.as_deref(), Ok([Heard::Tracking(_)])), "{words}: {heard:?}");
    }
    let said = |replies: &[u8]| said(&[b":-2\r\n", replies].concat());
    for words in ["ERR unknown subcommand 'TRACKING'", "NOPERM this user has no permissions", "ERR Prefix overlaps"] {
        assert_eq!(said(format!("-{words}\r\n").as_bytes()), Err(LinkError::Refused(words.to_owned())));
    }
    for words in ["LOADING Redis is loading", "BUSY Redis is busy running a script"] {
        assert_eq!(said(format!("-{words}\r\n").as_bytes()), Err(LinkError::NotServed(words.to_owned())));
    }
    assert_eq!(said(b":1\r\n"), Err(LinkError::Unexpected));
}

#[test]
fn a_ping_that_is_refused_for_a_reason_of_ours_is_answered_and_no_other() {
    let now = start();
    let words = "NOPERM no permissions to run the 'ping' command";
    let heard = hear(&mut tracking(now), format!("-{words}\r\n").as_bytes());
    assert_eq!(heard, Ok(vec![Heard::Answered(now, None)]));
    for words in ["MASTERDOWN Link with MASTER is down", "BUSY Redis is busy running a script"] {
        let heard = hear(&mut tracking(now), format!("-{words}\r\n").as_bytes());
        assert_eq!(heard, Err(LinkError::NotServed(words.to_owned())));
    }
    assert_eq!(hear(&mut tracking(now), b"+OK\r\n"), Err(LinkError::Unexpected));
    assert_eq!(hear(&mut tracking(now), b"+PONG\r\n+PONG\r\n"), Err(LinkError::Unexpected));
}

#[test]
fn what_looks_like_an_invalidation_and_is_none_is_an_end() {
    for push in [
        ">1\r\n$10\r\ninvalidate\r\n",
        ">3\r\n$10\r\ninvalidate\r\n*0\r\n*0\r\n",
        ">2\r\n$10\r\ninvalidate\r\n:1\r\n",
        ">2\r\n+invalidate\r\n*1\r\n:1\r\n",
        ">0\r\n",
    ] {
        assert_eq!(hear(&mut tracking(start()), push.as_bytes()), Err(LinkError::Unexpected), "{push:?}");
    }
    let heard = hear(&mut tracking(start()), b"?\r\n");
    assert!(matches!(heard, Err(LinkError::NotRedis(_))), "{heard:?}");
}

#[test]
fn a_push_beyond_the_bound_is_not_held() {
    let declared = format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${PUSH_BYTES_MAX}\r\n");
    assert_eq!(hear(&mut tracking(start()), declared.as_bytes()), Err(LinkError::TooLong));
    let mut link = tracking(start());
    assert_eq!(hear(&mut link, b">2\r\n$10\r\ninvalidate\r\n*99999999\r\n"), Ok(vec![]));
    let keys = b"$4\r\nkeys\r\n".repeat(6_500);
    let ended = (0..=PUSH_BYTES_MAX / keys.len()).find_map(|_| hear(&mut link, &keys).err());
    assert_eq!(ended, Some(LinkError::TooLong));
}

/// What a server does, and what the proxy does meanwhile.
#[derive(Clone, Debug)]
enum Op {
    /// The server answers the oldest PING.
    Answer,
    /// The server says that keys have changed.
    Push(Vec<Vec<u8>>),
    /// The server says that all keys have changed.
    Flush,
    /// A worker wants so many fences.
    Want(u64),
    /// So many milliseconds pass.
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Answer),
        2 => prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..4).prop_map(Op::Push),
        1 => Just(Op::Flush),
        2 => (1_u64..4).prop_map(Op::Want),
        4 => (0_u64..300).prop_map(Op::Pass),
    ]
}

proptest! {
    /// A queue of what was sent when, for which fence, and whether as the first of its two, says what each answer means.
    #[test]
    fn answers_and_fences_come_in_the_order_in_which_they_were_asked(ops in prop::collection::vec(op(), 0..120)) {
        let mut now = start();
        let mut link = tracking(now);
        let mut in_flight = VecDeque::from([(now, None)]);
        let (mut wanted, mut reached, mut last, mut marked) = (0, 0, now, None);
        for op in ops {
            let (bytes, expected) = match op {
                Op::Answer => match in_flight.pop_front() {
                    Some((sent, Some((fence, true)))) => {
                        marked = Some(fence);
                        (b"+PONG\r\n".to_vec(), vec![Heard::Answered(sent, None)])
                    }
                    Some((sent, fence)) => {
                        let fence = fence.map(|(fence, _)| fence);
                        reached = fence.unwrap_or(reached);
                        (b"+PONG\r\n".to_vec(), vec![Heard::Answered(sent, fence)])
                    }
                    None => continue,
                },
                Op::Push(keys) => {
                    let slices: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                    (invalidate(&slices), keys.into_iter().map(Heard::Key).collect())
                }
                Op::Flush => (b">2\r\n$10\r\ninvalidate\r\n_\r\n".to_vec(), vec![Heard::All]),
                Op::Want(more) => {
                    wanted += more;
                    (Vec::new(), Vec::new())
                }
                Op::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    (Vec::new(), Vec::new())
                }
            };
            prop_assert_eq!(hear(&mut link, &bytes), Ok(expected));
            let silent = in_flight.front().is_some_and(|(sent, _)| *sent + TIMEOUT <= now);
            prop_assert_eq!(link.handle_timeout(now).is_err(), silent);
            if silent {
                return Ok(());
            }
            link.handle_turn(now, wanted);
            let sent = pings(&mut link);
            let is_begun = in_flight.iter().any(|(_, fence)| fence.is_some());
            let first = (wanted > reached && !is_begun).then_some((wanted, true));
            let fence = marked.take().map(|fence| (fence, false)).or(first);
            let due = fence.is_some() || last + TIMEOUT / 4 <= now;
            prop_assert_eq!(sent, usize::from(due));
            if due {
                in_flight.push_back((now, fence));
                last = now;
            }
            prop_assert!(link.poll_timeout() > now);
            prop_assert!(in_flight.len() <= 16, "{}", in_flight.len());
        }
    }

    #[test]
    fn pieces_say_what_the_whole_says(
        keys in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let now = start();
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for push in &keys {
            let slices: Vec<&[u8]> = push.iter().map(Vec::as_slice).collect();
            bytes.extend(invalidate(&slices));
            expected.extend(push.iter().cloned().map(Heard::Key));
        }
        bytes.extend(b"+PONG\r\n");
        expected.push(Heard::Answered(now, None));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let mut link = tracking(now);
        let mut heard = Vec::new();
        let mut from = 0;
        for to in cuts.into_iter().chain([bytes.len()]) {
            heard.extend(hear(&mut link, &bytes[from..to]).unwrap());
            from = to;
        }
        prop_assert_eq!(heard, expected);
    }

    #[test]
    fn no_bytes_make_it_panic(pieces in prop::collection::vec(hostile(), 0..20)) {
        let mut link = tracking(start());
        for piece in pieces {
            if hear(&mut link, &piece).is_err() {
                break;
            }
            link.handle_turn(start(), 1);
        }
    }
}

/// Bytes that get far: pieces of frames, whole ones, and noise.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let frames: Vec<&[u8]> = vec![
        b">2\r\n",
        b">1\r\n",
        b"$10\r\ninvalidate\r\n",
        b"+invalidate\r\n",
        b"*2\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"_\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$1\r\nk\r\n",
        b"=5\r\ntxt:k\r\n",
        b"=1\r\nk\r\n",
        b":1\r\n",
        b"~1\r\n",
        b"%1\r\n",
        b"|1\r\n",
        b"+PONG\r\n",
        b"+OK\r\n",
        b"-NOPERM x\r\n",
        b"-\r\n",
        b"$999999999999\r\n",
    ];
    prop_oneof![
        6 => prop::sample::select(frames).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ]
}
