//! One timer for a task whose deadlines move.
//!
//! Guarantees: it is armed anew only for an earlier time, or after it went off, so a deadline that only moves away
//! costs nothing; who is woken too early asks again.

use std::pin::Pin;
use std::task::Context;
use std::time::Instant;
use tokio::time::{Sleep, sleep_until};

/// A timer that is not there until it is needed.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
}

impl Alarm {
    /// True when it went off; else the task is woken no later than `wanted`, which may be earlier than it was, later,
    /// or never.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Instant, wanted: Option<Instant>) -> bool {
        match (self.armed, wanted) {
            // The timer holds the task's waker since it was armed.
            (Some(armed), Some(wanted)) if armed <= wanted && now < armed => return false,
            (Some(armed), None) if now < armed => return false,
            (None, None) => return false,
            (armed, Some(wanted)) if armed.is_none_or(|armed| wanted < armed) => {
                match &mut self.sleep {
                    Some(sleep) => sleep.as_mut().reset(wanted.into()),
                    None => self.sleep = Some(Box::pin(sleep_until(wanted.into()))),
                }
                self.armed = Some(wanted);
            }
            _ => {}
        }
        let went_off = self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if went_off {
            self.armed = None;
            if wanted.is_none() {
                self.sleep = None;
            }
        }
        went_off
    }
}
