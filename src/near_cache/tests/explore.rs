//! What the near cache guarantees, in every order in which the things of a small world can happen.
//!
//! Each test says how much may happen, and goes through all orders of it; worlds that are alike are looked at once. What
//! it finds it tells with the fewest steps that lead there. Longer stories are told at random, and shrunk by proptest.

use super::world::{Change, Setup, Step, World};
use proptest::prelude::*;
use std::collections::HashMap;
use std::hash::BuildHasher;

/// More steps than a world with so little in it has room for: its end is reached in every order.
const TO_THE_END: u8 = 60;

/// What was gone through.
#[derive(Default)]
struct Explorer {
    /// The worlds that were looked at, and how many steps could follow.
    seen: HashMap<u64, u8>,
    hits: u64,
    story: Vec<Step>,
}

impl Explorer {
    /// Takes all steps that are possible, up to so many in a row; stops at the first that breaks a guarantee.
    fn explore(&mut self, world: &World, depth: u8) -> Result<(), String> {
        for step in world.steps() {
            let mut next = world.clone();
            self.story.push(step);
            next.take(step)?;
            self.hits += u64::from(next.hits - world.hits);
            if depth > 1 && self.is_news(next.fingerprint(), depth - 1) {
                self.explore(&next, depth - 1)?;
            }
            self.story.pop();
        }
        Ok(())
    }

    fn is_news(&mut self, fingerprint: u64, depth: u8) -> bool {
        let seen = self.seen.entry(fingerprint).or_default();
        let is_news = *seen < depth;
        *seen = depth.max(*seen);
        is_news
    }
}

/// Goes through all orders, of which there must be enough to be worth it.
fn holds(setup: Setup, depth: u8, worlds_min: usize) {
    let world = World::new(setup);
    let mut explorer = Explorer::default();
    if explorer.explore(&world, depth).is_err() {
        let (story, fault) = shortest(&world);
        let lines: String = story.iter().map(|step| format!("  {step:?}\n")).collect();
        panic!("{fault}, after\n{lines}");
    }
    println!("{} worlds, {} hits", explorer.seen.len(), explorer.hits);
    assert!(explorer.seen.len() >= worlds_min, "only {} worlds", explorer.seen.len());
    assert!(explorer.hits > 0, "nothing was ever served");
}

fn shortest(world: &World) -> (Vec<Step>, String) {
    for depth in 1..=TO_THE_END {
        let mut explorer = Explorer::default();
        if let Err(fault) = explorer.explore(world, depth) {
            return (explorer.story, fault);
        }
    }
    (Vec::new(), "a fault that is not found again".into())
}

#[test]
fn reads_and_others_writes_in_every_order() {
    holds(Setup { reads: 3, reads_through: 1, others: 2, has_deletes: true, ..Setup::STILL }, 11, 1000);
}

#[test]
fn reads_and_own_writes_in_every_order() {
    holds(Setup { reads: 3, writes: 1, others: 1, ..Setup::STILL }, TO_THE_END, 1000);
}

#[test]
fn reads_and_two_own_writes_in_every_order() {
    holds(Setup { reads: 2, reads_through: 1, writes: 2, ..Setup::STILL }, 11, 1000);
}

#[test]
fn reads_and_fenced_writes_in_every_order() {
    holds(Setup { reads: 2, fenced_writes: 2, pings: 2, ..Setup::STILL }, 11, 1000);
}

#[test]
fn fenced_writes_that_share_rounds_with_pings_in_every_order() {
    holds(Setup { reads: 2, fenced_writes: 1, pings: 2, has_rounds: true, ..Setup::STILL }, TO_THE_END, 1000);
}

#[test]
fn a_link_that_is_lost_in_every_order() {
    holds(Setup { reads: 3, others: 2, losses: 1, ..Setup::STILL }, TO_THE_END, 1000);
}

#[test]
fn a_link_that_is_lost_behind_fenced_writes_in_every_order() {
    holds(Setup { reads: 2, fenced_writes: 1, pings: 1, losses: 1, ..Setup::STILL }, TO_THE_END, 1000);
}

#[test]
fn a_link_that_falls_silent_in_every_order() {
    holds(Setup { lanes: 1, reads: 2, others: 1, pings: 1, losses: 1, ticks: 3, ..Setup::STILL }, 12, 1000);
}

#[test]
fn a_flush_in_every_order() {
    holds(Setup { reads: 3, flushes: 1, others: 1, ..Setup::STILL }, TO_THE_END, 1000);
}

#[test]
fn values_whose_time_ends_in_every_order() {
    let setup = Setup { lanes: 1, reads: 3, others: 1, ticks: 2, life: Some(1), ..Setup::STILL };
    holds(Setup { has_pttl_apart: true, ..setup }, 12, 1000);
}

#[test]
fn versions_with_the_same_bytes_in_every_order() {
    holds(Setup { reads: 3, reads_through: 1, others: 3, has_equal_bytes: true, ..Setup::STILL }, 10, 1000);
}

#[test]
fn an_entry_and_its_twin_in_every_order() {
    let setup = Setup { keys: 2, reads: 3, others: 2, has_twin: true, has_deletes: true, ..Setup::STILL };
    holds(setup, 10, 1000);
}

#[test]
fn an_entry_its_twin_and_own_writes_in_every_order() {
    holds(Setup { keys: 2, reads: 3, writes: 1, has_twin: true, has_deletes: true, ..Setup::STILL }, 10, 1000);
}

#[test]
fn without_tracking_in_every_order() {
    let setup = Setup { reads: 2, writes: 1, fenced_writes: 1, ticks: 2, ..Setup::STILL };
    holds(Setup { is_untracked: true, ..setup }, 11, 1000);
}

/// Everything at once, for ever.
const LONG: Setup = Setup {
    keys: 2,
    lanes: 3,
    reads: u16::MAX,
    reads_through: u16::MAX,
    writes: u16::MAX,
    fenced_writes: u16::MAX,
    others: u16::MAX,
    flushes: u16::MAX,
    pings: u16::MAX,
    losses: u16::MAX,
    ticks: u16::MAX,
    has_deletes: true,
    life: Some(3),
    has_pttl_apart: true,
    has_equal_bytes: false,
    has_twin: true,
    has_rounds: true,
    is_untracked: false,
};

/// What was sent arrives, mostly, and is read: else nothing would ever be found in the cache.
fn weight(step: Step) -> u32 {
    match step {
        Step::LinkExecute | Step::LinkHears | Step::LinkConnect | Step::EndRound => 800,
        Step::Execute { .. } | Step::Reply { .. } | Step::LinkPing => 400,
        Step::Read { .. } | Step::LinkLost => 200,
        Step::Tick => 40,
        Step::ReadThrough { .. } | Step::ReadOtherwise { .. } | Step::Expire { .. } => 10,
        Step::Other { change: Change::Set, .. } | Step::Write { change: Change::Set, .. } => 8,
        Step::Other { .. } | Step::Write { .. } | Step::FencedWrite { .. } | Step::LinkCut | Step::Flush => 1,
    }
}

/// The step that a number stands for.
fn pick(steps: &[Step], number: u32) -> Option<Step> {
    let total: u32 = steps.iter().copied().map(weight).sum();
    let mut place = number % total.max(1);
    steps.iter().copied().find(|&step| {
        let is_it = place < weight(step);
        place = place.saturating_sub(weight(step));
        is_it
    })
}

fn long_story_holds(setup: Setup, choices: &[u32]) -> Result<u32, TestCaseError> {
    let mut world = World::new(setup);
    let mut story = Vec::new();
    for &choice in choices {
        let Some(step) = pick(&world.steps(), choice) else { break };
        story.push(step);
        if let Err(fault) = world.take(step) {
            return Err(TestCaseError::fail(format!("{fault}, after {story:?}")));
        }
    }
    Ok(world.hits)
}

proptest! {
    #[test]
    fn long_stories(choices in prop::collection::vec(any::<u32>(), 1..800), has_life: bool, has_equal_bytes: bool, has_twin: bool) {
        let life = LONG.life.filter(|_| has_life);
        long_story_holds(Setup { life, has_equal_bytes, has_twin, ..LONG }, &choices)?;
    }

    #[test]
    fn long_stories_without_tracking(choices in prop::collection::vec(any::<u32>(), 1..400)) {
        long_story_holds(Setup { is_untracked: true, pings: 0, losses: 0, ..LONG }, &choices)?;
    }
}

#[test]
fn long_stories_are_served() {
    let random = foldhash::quality::FixedState::default();
    let choices: Vec<u32> = (0..20_000_u32).map(|number| (random.hash_one(number) >> 32) as u32).collect();
    let hits = long_story_holds(Setup { life: None, ..LONG }, &choices).unwrap();
    assert!(hits > 100, "only {hits} hits");
}
