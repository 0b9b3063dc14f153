//! Waiting for a condition, and telling a slow proxy from a slow machine.
//!
//! No test sleeps and then asserts: it waits until something is so, or fails at the deadline with what it waited for.
//! A bound on latency is measured next to a thread that only sleeps: what the machine withheld from that thread, it
//! may have withheld from the proxy too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(3);

/// How long the control thread of [`MachineStalls`] sleeps at a time.
const CONTROL_SLEEP: Duration = Duration::from_millis(2);

/// Long enough for anything that happens at once, on a machine that is busy with other things.
pub(crate) const SOON: Duration = Duration::from_secs(10);

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
    ended: Arc<AtomicBool>,
    worst_micros: Arc<AtomicU64>,
    control: Option<JoinHandle<()>>,
}

impl MachineStalls {
    /// Starts to measure.
    pub(crate) fn watch() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let worst_micros = Arc::new(AtomicU64::new(0));
        let control = thread::spawn({
            let (ended, worst_micros) = (Arc::clone(&ended), Arc::clone(&worst_micros));
            move || {
                while !ended.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    thread::sleep(CONTROL_SLEEP);
                    let late = begun.elapsed().saturating_sub(CONTROL_SLEEP);
                    worst_micros.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
                }
            }
        });
        Self { ended, worst_micros, control: Some(control) }
    }

    /// The worst so far.
    pub(crate) fn worst(&self) -> Duration {
        Duration::from_micros(self.worst_micros.load(Ordering::Relaxed))
    }
}

impl Drop for MachineStalls {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
    }
}
