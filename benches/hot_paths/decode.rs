//! Finding where requests and replies end, knowing a command by its name, reading an FCA command's arguments.

use crate::case::{Case, repeat};
use fca_proxy::command::{self, Fca};
use fca_proxy::fca;
use fca_proxy::resp::{ReplyScanner, Request, RequestLimits, RequestScanner, encode};
use std::hint::black_box;
use std::time::Duration;

/// The bounds of the default configuration.
const LIMITS: RequestLimits = RequestLimits { args_max: 1 << 20, bytes_max: 512 << 20 };

/// A question of 60 bytes, which makes an FCA.GET of 93.
pub(crate) const QUESTION: &str = "How do I reset the password of my online banking account now";

/// Names as clients send them; the last is in no table.
const NAMES: [&str; 8] = ["GET", "FCA.GET", "set", "fca.set", "SETEX", "mget", "EXPIRE", "FT.SEARCH"];

pub(crate) fn cases() -> Vec<Case> {
    let get: &[&[u8]] = &[b"GET", b"key:1234"];
    let fca_get: &[&[u8]] = &[b"FCA.GET", b"faq", QUESTION.as_bytes()];
    let mget = [b"*100\r\n".to_vec(), value(64).repeat(100)].concat();
    vec![
        Case::new("decode/get", requests(get, 1)),
        Case::new("decode/get-16", requests(get, 16)).of(16),
        Case::new("decode/fca-get-93b", requests(fca_get, 1)),
        Case::new("decode/reply-64b", replies(value(64), 1)),
        Case::new("decode/reply-64b-16", replies(value(64).repeat(16), 16)).of(16),
        Case::new("decode/reply-mget-100", replies(mget, 1)),
        Case::new("decode/reply-16k", replies(value(16 * 1024), 1)),
        Case::new("command/find", find),
        Case::new("fca/parse-get", parse),
    ]
}

/// A bulk string of so many bytes, as a reply.
pub(crate) fn value(bytes: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::bulk(&mut frame, &vec![b'v'; bytes]);
    frame
}

fn requests(command: &[&[u8]], count: usize) -> impl Fn(u64) -> Duration + use<> {
    let mut request = Vec::new();
    encode::command(&mut request, command);
    let buffer = request.repeat(count);
    let arguments = command.len();
    move |operations| {
        let mut scanner = RequestScanner::default();
        assert_eq!(scan_requests(&mut scanner, &buffer), count * arguments);
        repeat(operations, |_| {
            black_box(scan_requests(&mut scanner, black_box(&buffer)));
        })
    }
}

/// How many arguments the requests in a buffer have; each is looked at as a slice.
fn scan_requests(scanner: &mut RequestScanner, buffer: &[u8]) -> usize {
    let (mut at, mut arguments) = (0, 0);
    while let Ok(Request::Multibulk(length)) = scanner.scan(&buffer[at..], &LIMITS) {
        let request = scanner.arguments(&buffer[at..at + length]);
        request.iter().for_each(|argument| {
            black_box(argument);
        });
        arguments += request.len();
        at += length;
    }
    arguments
}

fn replies(buffer: Vec<u8>, count: usize) -> impl Fn(u64) -> Duration {
    move |operations| {
        let mut scanner = ReplyScanner::default();
        assert_eq!(scan_replies(&mut scanner, &buffer), count);
        repeat(operations, |_| {
            black_box(scan_replies(&mut scanner, black_box(&buffer)));
        })
    }
}

fn scan_replies(scanner: &mut ReplyScanner, buffer: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Ok(Some(length)) = scanner.scan(&buffer[at..]) {
        at += length;
        count += 1;
    }
    count
}

/// Looks eight names up in turn.
fn find(operations: u64) -> Duration {
    assert_eq!(NAMES.iter().filter(|name| command::find(name.as_bytes()).is_some()).count(), NAMES.len() - 1);
    repeat(operations, |number| {
        black_box(command::find(black_box(NAMES[number as usize % NAMES.len()].as_bytes())));
    })
}

fn parse(operations: u64) -> Duration {
    let arguments: [&[u8]; 3] = [b"FCA.GET", b"faq", QUESTION.as_bytes()];
    assert!(fca::parse(Fca::Get, &arguments).is_ok());
    repeat(operations, |_| {
        let _ = black_box(fca::parse(Fca::Get, black_box(&arguments)));
    })
}
