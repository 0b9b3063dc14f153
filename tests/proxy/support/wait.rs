//! Waiting for a condition, and telling a slow proxy from a slow machine.
//!
//! No test sleeps and then asserts: it waits until something is so, or fails at the deadline with what it waited for.
//! A bound on latency is far above what is promised, and measured next to threads that only sleep: what the machine
//! withheld from those, it may have withheld from the proxy too.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(3);

/// How long a control thread of [`MachineStalls`] sleeps at a time.
const CONTROL_SLEEP: Duration = Duration::from_millis(2);

/// After so long what happens at once has failed to happen: no machine that gets on with its tests is as busy as that.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Waits until `condition` holds, and fails with `what` at the deadline.
#[track_caller]
pub(crate) fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    loop {
        if condition() {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < deadline, "not within {deadline:?}: {what}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Lets `span` pass while something else is being measured; the one wait without a condition.
pub(crate) fn observe_for(span: Duration) {
    thread::sleep(span);
}

/// The longest time for which this machine kept a thread from running that asked for nothing but to run.
pub(crate) struct MachineStalls {
    /// What the times are counted from.
    began: Instant,
    ended: Arc<AtomicBool>,
    /// One for each processor: what is withheld from one is not withheld from all.
    controls: Vec<Control>,
}

/// A thread that only sleeps, on a processor of its own.
struct Control {
    times: Arc<Times>,
    thread: Option<JoinHandle<()>>,
}

/// Both in microseconds.
#[derive(Default)]
struct Times {
    /// When it wants to run next.
    due: AtomicU64,
    /// By how much it was late at worst.
    late: AtomicU64,
}

impl MachineStalls {
    /// Starts to measure.
    pub(crate) fn watch() -> Self {
        let (began, ended) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let ours = sched_getaffinity(None).expect("the processors we may run on");
        let processors = (0..CpuSet::MAX_CPU).filter(|number| ours.is_set(*number));
        let controls = processors.map(|processor| Control::start(processor, began, Arc::clone(&ended))).collect();
        Self { began, ended, controls }
    }

    /// The worst so far; a stall that lasts counts, too, since whoever asks may have come out of it first.
    pub(crate) fn worst(&self) -> Duration {
        let now = self.began.elapsed().as_micros() as u64;
        let worst = |times: &Times| {
            let lasting = now.saturating_sub(times.due.load(Ordering::SeqCst));
            times.late.load(Ordering::SeqCst).max(lasting)
        };
        Duration::from_micros(self.controls.iter().map(|control| worst(&control.times)).max().unwrap_or(0))
    }
}

impl Control {
    fn start(processor: usize, began: Instant, ended: Arc<AtomicBool>) -> Self {
        let times = Arc::new(Times::default());
        times.due.store(began.elapsed().as_micros() as u64, Ordering::SeqCst);
        let thread = thread::spawn({
            let times = Arc::clone(&times);
            move || {
                let mut own = CpuSet::new();
                own.set(processor);
                // Where it may not choose, it measures whatever processor it is given.
                let _ = sched_setaffinity(None, &own);
                while !ended.load(Ordering::Relaxed) {
                    let due = (began.elapsed() + CONTROL_SLEEP).as_micros() as u64;
                    times.due.store(due, Ordering::SeqCst);
                    thread::sleep(CONTROL_SLEEP);
                    let late = (began.elapsed().as_micros() as u64).saturating_sub(due);
                    times.late.fetch_max(late, Ordering::SeqCst);
                }
            }
        });
        Self { times, thread: Some(thread) }
    }
}

impl Drop for MachineStalls {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.controls.iter_mut().filter_map(|control| control.thread.take()) {
            let _ = thread.join();
        }
    }
}
