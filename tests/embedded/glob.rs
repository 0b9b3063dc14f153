//! Thousands of random patterns over random keys, by `KEYS` on both sides.

use crate::pair::{Pair, cursor_and_keys, sorted, unix_ms};
use fca_proxy::key::glob_matches;
use fca_proxy::resp::Protocol;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// Bytes that mean something in a pattern, some twice as often, and a few that do not.
const ALPHABET: &[u8] = b"**??[[]]^^--\\\\abcabcaaz\0\x7f\x80\xff!";

fn random(rng: &mut TestRng, bytes_max: u64) -> Vec<u8> {
    let bytes = rng.next_u64() % (bytes_max + 1);
    (0..bytes).map(|_| ALPHABET[rng.next_u64() as usize % ALPHABET.len()]).collect()
}

#[test]
fn patterns_select_the_same_keys() {
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[9; 32]);
    let mut pair = Pair::new(Protocol::Resp2);
    let mut keys: Vec<Vec<u8>> = (0..400).map(|_| random(&mut rng, 6)).collect();
    keys.extend((0..100).map(|i| vec![b"abcz-^"[i % 6]; i / 6]));
    keys.sort();
    keys.dedup();
    let fill: Vec<_> = keys.iter().map(|key| vec![b"SET".to_vec(), key.clone(), vec![]]).collect();
    pair.run(&fill);

    let patterns: Vec<Vec<u8>> = (0..6000).map(|_| random(&mut rng, 10)).collect();
    let asked: Vec<_> = patterns.iter().map(|pattern| vec![b"KEYS".to_vec(), pattern.clone()]).collect();
    pair.run(&asked);

    let (mut selected, mut refused) = (0, 0);
    for pattern in &patterns {
        let matching = keys.iter().filter(|key| glob_matches(pattern, key)).count();
        selected += matching;
        refused += keys.len() - matching;
    }
    assert!(keys.len() >= 300 && selected >= 10_000 && refused >= 10_000, "{} {selected} {refused}", keys.len());

    let whole = b"100000".to_vec();
    for pattern in &patterns[..500] {
        let command =
            [b"SCAN".to_vec(), b"0".to_vec(), b"MATCH".to_vec(), pattern.clone(), b"COUNT".to_vec(), whole.clone()];
        let expected = pair.ask_redis(&command);
        let found = pair.ask(unix_ms(), &command);
        assert_eq!(
            sorted(cursor_and_keys(&found).1),
            sorted(cursor_and_keys(&expected).1),
            "{}",
            pattern.escape_ascii()
        );
    }
}
