//! The task of a lane: connects, runs the connection to its end, connects anew.
//!
//! Guarantees: every request is told what became of it when a connection ends or can't be made; a panic in here costs the
//! requests of this lane, not the lane. Leaves the connection while it lives to `running.rs`.

use super::connect::ConnectError;
use super::lane::{Lane, LaneState, Tenure, Upload};
use super::node::{Connection, Node};
use super::running::{Ended, Running, expire, tell};
use super::{Failure, Replies};
use crate::alarm::Alarm;
use crate::clock;
use crate::metrics::Counter;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// A connection that lived so long was no failure, even if nobody used it.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Runs a lane on the current worker until it ends.
pub(super) fn spawn<R: Replies>(node: Rc<Node<R>>, lane: Rc<Lane<R::Waiter>>) {
    // Held from the start, so that a lane whose tasks have not run yet has as many holders as any other.
    let mut held = Rc::clone(&lane);
    tokio::task::spawn_local(async move {
        loop {
            match tokio::task::spawn_local(run(Rc::clone(&node), held)).await {
                Ok(()) => return,
                Err(panic) => {
                    tracing::error!("a lane's task failed, its requests are answered nil: {panic}");
                    node.recorder.add(Counter::SessionPanics, 1);
                    // The connection went with the task that panicked.
                    match lane.tenure {
                        Tenure::Exclusive => lane.end(),
                        Tenure::Shared if lane.is_retired() => lane.end(),
                        Tenure::Shared if node.is_up() => lane.set_state(LaneState::Connecting),
                        Tenure::Shared => lane.set_state(LaneState::Down),
                    }
                    fail_all(&node, &lane, &Failure::Broken);
                    // What it had handed over before is still to be written.
                    node.replies.turn_ended(clock::now());
                    held = Rc::clone(&lane);
                }
            }
        }
    });
}

async fn run<R: Replies>(node: Rc<Node<R>>, lane: Rc<Lane<R::Waiter>>) {
    let mut eager = lane.tenure == Tenure::Exclusive || lane.key == node.main_key();
    let mut connected_before = false;
    loop {
        match wait_for_work(&lane, eager).await {
            Work::Connect => {}
            // They were pushed before the lane's task heard that the upstream is gone.
            Work::Refuse => {
                fail_all(&node, &lane, &Failure::Unsent);
                continue;
            }
            Work::End => {
                fail_all(&node, &lane, &Failure::Unsent);
                // However the lane came to its end: nothing else tells whoever listens here.
                if let Some(listener) = lane.listen(None) {
                    node.replies.lost(listener);
                }
                return;
            }
        }
        eager = lane.key == node.main_key();
        match connecting(&node, &lane).await {
            Ok(connection) => {
                lane.set_ready(connection.server_id);
                node.on_ready(&lane);
                node.recorder.add(Counter::UpstreamReconnects, u64::from(connected_before));
                if connected_before {
                    node.replies.reconnected();
                }
                connected_before = true;
                let mut running = Running::new(&node, &lane, connection);
                let ended = poll_fn(|cx| running.poll_turn(cx)).await;
                let served = running.served || clock::now() >= running.connected_at + SETTLED_AFTER;
                drop(running);
                tracing::debug!("an upstream connection ended: {ended}");
                // A server may close an exclusive lane that nobody used; a shared one that nobody could use is a failure.
                // It also closes those of a user that it has forgotten.
                let may_close = lane.tenure == Tenure::Exclusive || lane.key.login.is_some();
                let failed = !served && !may_close && !matches!(ended, Ended::Released);
                if failed || matches!(ended, Ended::Silent) {
                    node.on_failure(&ended);
                }
                on_broken(&node, &lane);
            }
            Err(_) if lane.is_dead() => {}
            Err(ConnectError::LaneRefused(words)) if lane.key != node.main_key() => {
                fail_all(&node, &lane, &Failure::LaneRefused(words));
                node.left(&lane.key);
            }
            Err(ConnectError::LoginWanted(words)) => {
                // Nobody is served by a connection that is made before it is asked for.
                eager = false;
                fail_all(&node, &lane, &Failure::LaneRefused(words));
            }
            Err(ConnectError::TooMany) => {
                eager = false;
                fail_all(&node, &lane, &Failure::Unsent);
            }
            Err(error) => {
                node.on_failure(&error);
                on_broken(&node, &lane);
            }
        }
        if lane.tenure == Tenure::Exclusive || lane.is_retired() {
            lane.end();
        }
    }
}

/// What a lane without a connection is to do.
enum Work {
    /// Make one.
    Connect,
    /// Answer the requests that can't be sent.
    Refuse,
    /// End.
    End,
}

/// Waits until a lane without a connection has something to do.
async fn wait_for_work<W>(lane: &Lane<W>, eager: bool) -> Work {
    poll_fn(|cx| {
        lane.begin_turn(cx.waker());
        match lane.state() {
            LaneState::Dead => Poll::Ready(Work::End),
            LaneState::Connecting if eager || lane.has_requests() => Poll::Ready(Work::Connect),
            LaneState::Down if lane.has_requests() => Poll::Ready(Work::Refuse),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Connects, while requests that wait run out of time.
async fn connecting<R: Replies>(node: &Node<R>, lane: &Rc<Lane<R::Waiter>>) -> Result<Connection, ConnectError> {
    let mut connect = pin!(node.connect(&lane.key));
    let mut alarm = Alarm::default();
    poll_fn(|cx| {
        lane.begin_turn(cx.waker());
        if lane.is_dead() {
            return Poll::Ready(Err(ConnectError::Io(io::ErrorKind::ConnectionAborted.into())));
        }
        if let Poll::Ready(result) = connect.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        loop {
            let deadline = lane.queue.borrow().pipeline.poll_timeout();
            if !alarm.poll(cx, clock::now(), deadline) {
                return Poll::Pending;
            }
            expire(node, lane, clock::now());
        }
    })
    .await
}

/// The connection is gone: what was sent in part or whole is told; what was not waits for the next one, if there may
/// be one soon.
fn on_broken<R: Replies>(node: &Node<R>, lane: &Rc<Lane<R::Waiter>>) {
    let mut broken = Vec::new();
    {
        let queue = &mut *lane.queue.borrow_mut();
        let kept = queue.pipeline.close(queue.sent, |popped| broken.push(popped));
        let cut = queue.start + usize::try_from(kept - queue.sent.min(kept)).unwrap_or(usize::MAX);
        queue.out.drain(..cut.min(queue.out.len()));
        (queue.start, queue.sent) = (0, 0);
    }
    let reconnects = node.is_up() && lane.tenure == Tenure::Shared && !lane.is_retired();
    lane.set_state(if reconnects { LaneState::Connecting } else { LaneState::Down });
    tell(node, broken, &Failure::Broken);
    if !reconnects {
        fail_all(node, lane, &Failure::Unsent);
    }
}

/// Tells every request of the lane and forgets what was to be sent.
fn fail_all<R: Replies>(node: &Node<R>, lane: &Lane<R::Waiter>, failure: &Failure) {
    let mut failed = Vec::new();
    {
        let queue = &mut *lane.queue.borrow_mut();
        queue.pipeline.drain(|popped| failed.push(popped));
        queue.out = Vec::new();
        (queue.start, queue.sent, queue.upload) = (0, 0, Upload::No);
    }
    lane.wake_sender();
    tell(node, failed, failure);
}
