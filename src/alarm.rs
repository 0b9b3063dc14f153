//! One timer for a task whose deadlines move.
//!
//! Guarantees: it is armed anew only for an earlier time, or after it went off, so a deadline that only moves away
//! costs nothing; who is woken too early asks again.

use std::pin::Pin;
use std::task::Context;
use std::time::Instant;
use tokio::time::{Sleep, sleep_until};

/// A timer that is not there until it is needed: one word in a task that never needs it.
#[derive(Debug, Default)]
pub struct Alarm(Option<Box<Timer>>);

#[derive(Debug)]
struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// When it goes off; none once it has.
    armed: Option<Instant>,
}

impl Alarm {
    /// True when it went off; else the task is woken no later than `wanted`, which may be earlier than it was, later,
    /// or never.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Instant, wanted: Option<Instant>) -> bool {
        let Some(timer) = &mut self.0 else {
            return wanted.is_some_and(|wanted| self.begin(cx, wanted));
        };
        match (timer.armed, wanted) {
            // The timer holds the task's waker since it was armed.
            (Some(armed), Some(wanted)) if armed <= wanted && now < armed => return false,
            (Some(armed), None) if now < armed => return false,
            (None, None) => return false,
            (armed, Some(wanted)) if armed.is_none_or(|armed| wanted < armed) => {
                timer.sleep.as_mut().reset(wanted.into());
                timer.armed = Some(wanted);
            }
            _ => {}
        }
        let went_off = timer.sleep.as_mut().poll(cx).is_ready();
        if went_off {
            timer.armed = None;
            if wanted.is_none() {
                self.0 = None;
            }
        }
        went_off
    }

    /// Arms the first timer; true when that has gone off at once.
    fn begin(&mut self, cx: &mut Context<'_>, wanted: Instant) -> bool {
        let mut sleep = Box::pin(sleep_until(wanted.into()));
        let went_off = sleep.as_mut().poll(cx).is_ready();
        self.0 = Some(Box::new(Timer { sleep, armed: (!went_off).then_some(wanted) }));
        went_off
    }
}
