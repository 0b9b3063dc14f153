//! Members in the order of their keys, whatever order they came in.
//!
//! ```text
//! text    {"b": {"d": 1, "c": 2}, "a": 3}      as it came; never moved
//! order   0..31  → "a": 3 | "b": {…}           one line for each object that is out of order
//!         6..22  → "c": 2 | "d": 1
//! ```
//! Guarantees: each byte of the text is written at most once, however deep the disorder; objects that came in order cost
//! nothing. Of equal keys the last stands, as in a Python dict.
//! Keys are compared as UTF-8, whose byte order is the code-point order that Python sorts by.

use std::ops::Range;
use std::vec::Drain;

/// A member of an object that is being read.
pub(super) struct Member {
    /// Where its key stands among the decoded keys.
    pub(super) key: Range<usize>,
    /// Where it stands in the text: from the key's quote to the end of the value.
    pub(super) text: Range<usize>,
}

/// The objects of a text whose members have to change places.
#[derive(Default)]
pub(super) struct Order {
    objects: Vec<Disordered>,
    /// The members of all of them, as ranges of the text, each object's own side by side and sorted.
    members: Vec<Range<usize>>,
}

struct Disordered {
    /// The object in the text, braces included.
    text: Range<usize>,
    /// Its members in [`Order::members`].
    members: Range<usize>,
}

impl Order {
    /// Takes note of an object that stands at `text`; `keys` is what the members' keys point into.
    pub(super) fn close_object(&mut self, text: Range<usize>, members: Drain<'_, Member>, keys: &str) {
        let key = |member: &Member| &keys.as_bytes()[member.key.clone()];
        if members.as_slice().is_sorted_by(|a, b| key(a) < key(b)) {
            return;
        }
        let mut members = members.collect::<Vec<_>>();
        // Of equal keys the last comes first, since that is the one which `dedup_by` keeps.
        members.sort_unstable_by(|a, b| key(a).cmp(key(b)).then(b.text.start.cmp(&a.text.start)));
        members.dedup_by(|a, b| key(a) == key(b));
        let first = self.members.len();
        self.members.extend(members.into_iter().map(|member| member.text));
        self.objects.push(Disordered { text, members: first..self.members.len() });
    }
}

/// A canonical text, but for the order of its members.
pub(super) struct Canonical {
    text: Vec<u8>,
    order: Order,
}

impl Canonical {
    pub(super) fn new(text: Vec<u8>, mut order: Order) -> Self {
        // They were noted as they closed, inner ones first; they are looked up by where they open.
        order.objects.sort_unstable_by_key(|object| object.text.start);
        Self { text, order }
    }

    /// Appends the text with every member in its place.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.text.len());
        self.write(0..self.text.len(), out);
    }

    /// Appends one stretch of the text. Recurses as deep as objects nest, which the reader has bounded.
    fn write(&self, stretch: Range<usize>, out: &mut Vec<u8>) {
        let mut at = stretch.start;
        while let Some(object) = self.first_disordered(at..stretch.end) {
            out.extend_from_slice(&self.text[at..=object.text.start]);
            for (index, member) in self.order.members[object.members.clone()].iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                self.write(member.clone(), out);
            }
            at = object.text.end - 1;
        }
        out.extend_from_slice(&self.text[at..stretch.end]);
    }

    fn first_disordered(&self, stretch: Range<usize>) -> Option<&Disordered> {
        let next = self.order.objects.partition_point(|object| object.text.start < stretch.start);
        self.order.objects.get(next).filter(|object| object.text.start < stretch.end)
    }
}
