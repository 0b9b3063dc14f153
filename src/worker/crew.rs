//! How a question of one client reaches the clients of all workers.
//!
//! Guarantees that workers share nothing for it: a question is a message into every worker's inbox, the asker's own
//! included, and each answers by a message. Bounded in time by the question's deadline and in answers by one for each
//! worker; a worker that has ended has no clients. Leaves to the flow what is asked and how it is answered.

use super::Message;
use crate::flow::{Crew, Inquiry};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout_at};

/// When a question is put again to which the answer was still being made.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// The inboxes of all workers.
#[derive(Clone)]
pub(super) struct Inboxes(Arc<[mpsc::Sender<Message>]>);

impl From<Vec<mpsc::Sender<Message>>> for Inboxes {
    fn from(inboxes: Vec<mpsc::Sender<Message>>) -> Self {
        Self(inboxes.into())
    }
}

impl Crew for Inboxes {
    fn ask(&self, inquiry: Inquiry) {
        // A task of its own: these questions are rare, and whoever asks has a turn to finish.
        tokio::task::spawn_local(ask(self.clone(), inquiry));
    }
}

async fn ask(inboxes: Inboxes, mut inquiry: Inquiry) {
    let deadline = inquiry.deadline();
    let all_answered = async {
        inboxes.put(&mut inquiry).await;
        while inquiry.is_unsettled() {
            sleep(ASK_AGAIN_AFTER).await;
            inboxes.put(&mut inquiry).await;
        }
    };
    let heard_all = timeout_at(deadline.into(), all_answered).await.is_ok();
    inquiry.conclude(heard_all);
}

impl Inboxes {
    /// Puts a question to every worker and waits for what they found.
    async fn put(&self, inquiry: &mut Inquiry) {
        let (answers, mut findings) = mpsc::channel(self.0.len());
        for inbox in &*self.0 {
            let _ = inbox.send(Message::Question(Arc::clone(inquiry.question()), answers.clone())).await;
        }
        // What remains are the senders of those who have not answered.
        drop(answers);
        while let Some(found) = findings.recv().await {
            inquiry.found(found);
        }
    }
}
