//! The proxy's hot paths, each as a case that can be run alone, so often as is asked.
//!
//! `cargo bench --bench hot_paths` measures every case by the clock and prints a table; `-- key/` only those whose name
//! has that in it. `hot_paths CASE N` runs one case `N` times and says nothing, for tools that count instructions:
//! `benches/instructions` is one, and the one to believe on a shared machine. `benches/README.md` says how to read
//! either. A case asserts once, before it is measured, that it does what its name says.
//!
//! Under valgrind SHA-256 takes the path of processors without SHA instructions: cases that hash (note `sha256`) cost
//! several times the instructions there that they cost on current processors. Their clock times are true.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a tool for people, beside the program"
)]

mod case;
mod decode;
mod keys;
mod machines;
mod near;
mod peer;
mod store;
mod table;
mod whole;

use case::Case;
use fca_proxy::metrics::{BuildInfo, Registry};
use std::thread;

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => table::print(cases()),
        ["--list"] => list(),
        [peer::ROLE, dialogue, turns, proxy] => peer::serve(dialogue, turns.parse().unwrap(), proxy),
        [name, operations] => run(name, operations),
        [filter] => table::print(cases().into_iter().filter(|case| case.name.contains(filter)).collect()),
        _ => usage(),
    }
}

fn cases() -> Vec<Case> {
    let rooms = [decode::cases(), keys::cases(), machines::cases(), store::cases(), near::cases(), whole::cases()];
    [case::empty()].into_iter().chain(rooms.into_iter().flatten()).collect()
}

/// What a tool needs to know of each case, between tabs.
fn list() {
    for Case { name, items, counted_over, note, .. } in cases() {
        println!("{name}\t{items}\t{counted_over}\t{note}");
    }
}

/// Runs one case, on another thread than the first. What the process does once, at times that differ from run to run
/// (to calibrate the clock of its metrics, most of all), is done before and on the first thread, which a tool leaves out.
fn run(name: &str, operations: &str) {
    let Ok(operations) = operations.parse() else { return usage() };
    Registry::new(BuildInfo { version: "0", revision: "none" }, []);
    let found = thread::spawn({
        let name = name.to_owned();
        move || cases().into_iter().find(|case| case.name == name).map(|case| (case.run)(operations))
    });
    if found.join().unwrap().is_none() {
        usage();
    }
}

fn usage() {
    println!("hot_paths [FILTER] | hot_paths CASE OPERATIONS | hot_paths --list");
    std::process::exit(64);
}
