//! The transaction that a session is in, as the client has asked for it.
//!
//! Guarantees: what the client is told matches what Redis would say, also when the upstream went away in the middle
//! (then EXEC answers nil, which means in Redis what it means here: not executed); EXEC's reply has one element for
//! each command that the client queued, although an FCA command may have queued several or none upstream.
//!
//! ```text
//!            WATCH                MULTI
//!   None ───────────▶ Watching ───────────▶ Queueing ── EXEC / DISCARD ──▶ None
//!     │                  │  UNWATCH            ▲
//!     │                  └──────────▶ None     │
//!     └──────────────── MULTI ─────────────────┘
//! ```

/// The transaction of one session.
#[derive(Debug, Default)]
pub enum Transaction {
    /// None.
    #[default]
    None,
    /// Keys are watched. `lost` when the connection that watched them is gone: the next EXEC must not run.
    Watching {
        /// Whether the watching connection broke.
        lost: bool,
    },
    /// Between MULTI and EXEC. `lost` as above, or when queued commands were lost with their connection.
    Queueing {
        /// Whether EXEC can't run any more, and answers nil.
        lost: bool,
        /// Whether a command was refused here, so that EXEC answers EXECABORT.
        aborted: bool,
        /// What was queued.
        queued: Queued,
    },
}

impl Transaction {
    /// Whether commands are queued.
    pub fn is_queueing(&self) -> bool {
        matches!(self, Self::Queueing { .. })
    }

    /// Whether the session is in neither a transaction nor a watch.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// MULTI was accepted.
    pub fn begin(&mut self) {
        let lost = matches!(self, Self::Watching { lost: true });
        *self = Self::Queueing { lost, aborted: false, queued: Queued::default() };
    }

    /// WATCH was sent.
    pub fn watch(&mut self) {
        if self.is_none() {
            *self = Self::Watching { lost: false };
        }
    }

    /// The connection that held it is gone.
    pub fn lose(&mut self) {
        match self {
            Self::None => {}
            Self::Watching { lost } | Self::Queueing { lost, .. } => *lost = true,
        }
    }

    /// Whether the connection that held it is gone.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Watching { lost: true } | Self::Queueing { lost: true, .. })
    }

    /// A command was refused while commands are queued.
    pub fn abort(&mut self) {
        if let Self::Queueing { aborted, .. } = self {
            *aborted = true;
        }
    }

    /// A command was queued.
    pub fn queue(&mut self, shape: Shape) {
        if let Self::Queueing { queued, .. } = self {
            queued.push(shape);
        }
    }
}

/// How one command of the client stands in the upstream's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As itself.
    One,
    /// As itself, and it selects this database once it is executed.
    Select(u32),
    /// As two GETs (or TTLs), exact spelling and twin: the answer is the first that is there.
    FirstOf2,
    /// As a write and the removal of the twin: the answer is the first one's, nil for an error.
    Stored {
        /// Whether the twin's removal was queued as well.
        twin: bool,
    },
    /// As several commands, each of a shape; the answer is an array of theirs.
    Each(Vec<Self>),
    /// As several commands; the answer counts those that say something other than 0 or an error.
    Count(Vec<Self>),
    /// As nothing: the answer is this frame.
    Here(Vec<u8>),
    /// As nothing: this CLIENT, by its arguments, is about the connection, and is carried out when EXEC was.
    Connection(Vec<Vec<u8>>),
}

impl Shape {
    /// How many commands of the upstream's queue it takes.
    pub fn width(&self) -> usize {
        match self {
            Self::Here(_) | Self::Connection(_) => 0,
            Self::One | Self::Select(_) | Self::Stored { twin: false } => 1,
            Self::FirstOf2 | Self::Stored { twin: true } => 2,
            Self::Each(parts) | Self::Count(parts) => parts.iter().map(Self::width).sum(),
        }
    }
}

/// The commands of one transaction, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Runs of plain commands as counts, so that a long transaction of them costs nothing.
    runs: Vec<Run>,
    /// How many commands stand in a shape of their own.
    shaped: usize,
    /// Bytes of the answers that are kept for EXEC.
    kept_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Run {
    Plain(usize),
    Shaped(Shape),
}

impl Queued {
    /// Adds a command.
    pub fn push(&mut self, shape: Shape) {
        match (shape, self.runs.last_mut()) {
            (Shape::One, Some(Run::Plain(count))) => *count += 1,
            (Shape::One, _) => self.runs.push(Run::Plain(1)),
            (shape, _) => {
                self.shaped += 1;
                self.kept_bytes += match &shape {
                    Shape::Here(frame) => frame.len(),
                    Shape::Connection(arguments) => arguments.iter().map(Vec::len).sum(),
                    _ => 0,
                };
                self.runs.push(Run::Shaped(shape));
            }
        }
    }

    /// Whether EXEC's reply can pass as it is.
    pub fn is_plain(&self) -> bool {
        self.runs.iter().all(|run| matches!(run, Run::Plain(_)))
    }

    /// How many of the client's commands stand in a shape of their own.
    pub fn shaped(&self) -> usize {
        self.shaped
    }

    /// How many commands the client queued.
    pub fn count(&self) -> usize {
        self.runs.iter().map(|run| if let Run::Plain(count) = run { *count } else { 1 }).sum()
    }

    /// Bytes of the answers that are kept for EXEC.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// The shapes in order, a plain command as [`Shape::One`].
    pub fn shapes(&self) -> impl Iterator<Item = &Shape> {
        self.runs.iter().flat_map(|run| match run {
            Run::Plain(count) => std::iter::repeat_n(&Shape::One, *count),
            Run::Shaped(shape) => std::iter::repeat_n(shape, 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a transaction is, to be compared: its state, `lost`, `aborted`, commands queued.
    fn shown(transaction: &Transaction) -> (&'static str, bool, bool, usize) {
        match transaction {
            Transaction::None => ("none", false, false, 0),
            Transaction::Watching { lost } => ("watching", *lost, false, 0),
            Transaction::Queueing { lost, aborted, queued } => ("queueing", *lost, *aborted, queued.shapes().count()),
        }
    }

    fn watching(lost: bool) -> Transaction {
        Transaction::Watching { lost }
    }

    /// With one command queued.
    fn queueing(lost: bool, aborted: bool) -> Transaction {
        let mut queued = Queued::default();
        queued.push(Shape::One);
        Transaction::Queueing { lost, aborted, queued }
    }

    #[test]
    fn every_state_takes_every_input_as_redis_does() {
        let begin: fn(&mut Transaction) = Transaction::begin;
        let watch: fn(&mut Transaction) = Transaction::watch;
        let lose: fn(&mut Transaction) = Transaction::lose;
        let abort: fn(&mut Transaction) = Transaction::abort;
        let queue: fn(&mut Transaction) = |transaction| transaction.queue(Shape::FirstOf2);
        let none: fn() -> Transaction = || Transaction::None;
        let cases = [
            (none, begin, ("queueing", false, false, 0)),
            (none, watch, ("watching", false, false, 0)),
            (none, lose, ("none", false, false, 0)),
            (none, abort, ("none", false, false, 0)),
            (none, queue, ("none", false, false, 0)),
            (|| watching(false), begin, ("queueing", false, false, 0)),
            (|| watching(false), watch, ("watching", false, false, 0)),
            (|| watching(false), lose, ("watching", true, false, 0)),
            (|| watching(false), abort, ("watching", false, false, 0)),
            (|| watching(false), queue, ("watching", false, false, 0)),
            // What was watched is lost for good: no later MULTI or WATCH may let EXEC run.
            (|| watching(true), begin, ("queueing", true, false, 0)),
            (|| watching(true), watch, ("watching", true, false, 0)),
            (|| watching(true), lose, ("watching", true, false, 0)),
            (|| watching(true), abort, ("watching", true, false, 0)),
            (|| watching(true), queue, ("watching", true, false, 0)),
            (|| queueing(false, false), watch, ("queueing", false, false, 1)),
            (|| queueing(false, false), lose, ("queueing", true, false, 1)),
            (|| queueing(false, false), abort, ("queueing", false, true, 1)),
            (|| queueing(false, false), queue, ("queueing", false, false, 2)),
            (|| queueing(true, false), watch, ("queueing", true, false, 1)),
            (|| queueing(true, false), lose, ("queueing", true, false, 1)),
            (|| queueing(true, false), abort, ("queueing", true, true, 1)),
            (|| queueing(true, false), queue, ("queueing", true, false, 2)),
            (|| queueing(false, true), watch, ("queueing", false, true, 1)),
            (|| queueing(false, true), lose, ("queueing", true, true, 1)),
            (|| queueing(false, true), abort, ("queueing", false, true, 1)),
            (|| queueing(false, true), queue, ("queueing", false, true, 2)),
            (|| queueing(true, true), watch, ("queueing", true, true, 1)),
            (|| queueing(true, true), lose, ("queueing", true, true, 1)),
            (|| queueing(true, true), abort, ("queueing", true, true, 1)),
            (|| queueing(true, true), queue, ("queueing", true, true, 2)),
        ];
        // Seven states, five inputs; MULTI is not accepted while commands are queued.
        assert_eq!(cases.len(), 7 * 5 - 4);
        for (n, (state, input, expected)) in cases.into_iter().enumerate() {
            let mut transaction = state();
            input(&mut transaction);
            assert_eq!(shown(&transaction), expected, "case {n}, from {:?}", shown(&state()));
            assert_eq!(transaction.is_none(), expected.0 == "none", "case {n}");
            assert_eq!(transaction.is_queueing(), expected.0 == "queueing", "case {n}");
            assert_eq!(transaction.is_lost(), expected.1, "case {n}");
        }
    }

    #[test]
    fn a_shape_is_as_wide_as_what_stands_in_the_upstreams_queue() {
        use Shape::{Count, Each, FirstOf2, Here, One, Select, Stored};
        let cases = [
            (One, 1),
            (Select(3), 1),
            (FirstOf2, 2),
            (Stored { twin: false }, 1),
            (Stored { twin: true }, 2),
            (Here(b"+PONG\r\n".to_vec()), 0),
            (Each(vec![]), 0),
            (Each(vec![FirstOf2, Here(vec![]), One]), 3),
            (Count(vec![Stored { twin: true }, Stored { twin: false }]), 3),
            (Each(vec![Count(vec![One, One]), Each(vec![FirstOf2])]), 4),
        ];
        for (shape, width) in cases {
            assert_eq!(shape.width(), width, "{shape:?}");
        }
    }

    fn shape() -> impl Strategy<Value = Shape> {
        let leaf = prop_oneof![
            4 => Just(Shape::One),
            1 => Just(Shape::FirstOf2),
            1 => any::<u32>().prop_map(Shape::Select),
            1 => any::<bool>().prop_map(|twin| Shape::Stored { twin }),
            1 => proptest::collection::vec(any::<u8>(), 0..4).prop_map(Shape::Here),
        ];
        leaf.prop_recursive(2, 8, 4, |inner| {
            let parts = proptest::collection::vec(inner, 0..4);
            prop_oneof![parts.clone().prop_map(Shape::Each), parts.prop_map(Shape::Count)]
        })
    }

    proptest! {
        /// Against the plainest model: a list of shapes.
        #[test]
        fn what_was_queued_comes_out_in_its_order(shapes in proptest::collection::vec(shape(), 0..40)) {
            let mut queued = Queued::default();
            shapes.iter().for_each(|shape| queued.push(shape.clone()));
            prop_assert!(queued.shapes().eq(&shapes));
            prop_assert_eq!(queued.count(), shapes.len());
            let shaped = shapes.iter().filter(|shape| **shape != Shape::One).count();
            prop_assert_eq!(queued.shaped(), shaped);
            prop_assert_eq!(queued.is_plain(), shaped == 0);
        }
    }

    #[test]
    fn a_long_transaction_of_plain_commands_costs_nothing() {
        let mut queued = Queued::default();
        for _ in 0..1_000_000 {
            queued.push(Shape::One);
        }
        assert_eq!(queued.runs, [Run::Plain(1_000_000)]);
        queued.push(Shape::FirstOf2);
        queued.push(Shape::One);
        assert_eq!(queued.runs.len(), 3);
        assert_eq!(queued.shapes().count(), 1_000_002);
    }
}
