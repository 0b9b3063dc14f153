//! The table by the clock: the median of several rounds, with the fastest and the slowest beside it.
//!
//! Rounds of one case follow each other, each long enough for the clock; on a shared machine the fastest round is what
//! the code can do and the spread is the neighbours. Says nothing about differences below that spread.

use crate::case::Case;
use std::time::Duration;

/// A round lasts at least so long.
const ROUND_MIN: Duration = Duration::from_millis(20);

/// An odd number, so that one round is the median.
const ROUNDS: usize = 11;

pub(crate) fn print(cases: Vec<Case>) {
    println!("{:<28} {:>12} {:>10} {:>10} {:>10}  note", "case", "ns/operation", "fastest", "slowest", "ns/item");
    for case in cases {
        let operations = operations_of_a_round(&case);
        let mut rounds: Vec<f64> =
            (0..ROUNDS).map(|_| (case.run)(operations).as_nanos() as f64 / operations as f64).collect();
        rounds.sort_by(f64::total_cmp);
        let (fastest, median, slowest) = (rounds[0], rounds[ROUNDS / 2], rounds[ROUNDS - 1]);
        let per_item = median / case.items as f64;
        println!("{:<28} {median:>12.1} {fastest:>10.1} {slowest:>10.1} {per_item:>10.1}  {}", case.name, case.note);
    }
}

/// Twice as many until a round is long enough.
fn operations_of_a_round(case: &Case) -> u64 {
    (4..).map(|power| 1 << power).find(|operations| (case.run)(*operations) >= ROUND_MIN).expect("time passes")
}
