//! Where an upstream's chain meets the snapshot.

use std::sync::Arc;

use crate::answer::{self, Context, Lookup, Miss, Outcome};
use crate::forward::question::Question;
use crate::forward::rules::Group;
use crate::forward::tables::Swap;
use crate::forward::{Local, Split};
use crate::snapshot::Snapshot;
use crate::snapshot::publish::Publisher;
use crate::wire::{Class, Flags, FoldedName, HEADER_LEN, Name, Query, Response, Rtype};

/// Space for an answer that is only looked at, not sent.
const SCRATCH: usize = 1232;

/// The snapshot as forwarding sees it: always the current one.
pub(super) struct SnapshotLocal {
    publisher: Arc<Publisher>,
    tables: Arc<Swap>,
}

impl SnapshotLocal {
    pub(super) const fn new(publisher: Arc<Publisher>, tables: Arc<Swap>) -> Self {
        Self { publisher, tables }
    }
}

impl Local for SnapshotLocal {
    fn split(&self, targets: &[Name], question: &Question) -> Split {
        split(targets, question.qtype, question.qclass, &self.publisher.current())
    }

    fn group(&self, name: &Name) -> Option<Arc<Group>> {
        self.tables.with(|tables| tables.rules.find(&FoldedName::from(name)).map(|r| Arc::clone(&r.group)))
    }
}

/// Compares the targets of a chain with `snapshot`, in order.
pub(super) fn split(targets: &[Name], qtype: Rtype, qclass: Class, snapshot: &Snapshot) -> Split {
    let mut split = Split { instance: snapshot.instance(), ..Split::default() };
    if qclass != Class::IN {
        return split;
    }
    for (index, target) in targets.iter().enumerate() {
        match classify(target, qtype, snapshot) {
            Outcome::Hit(hit) if hit.lookup == Lookup::Refused => {}
            Outcome::Hit(_) | Outcome::Leads => {
                split.cut = Some(index);
                return split;
            }
            Outcome::Miss(Miss::Own) => split.own = true,
            Outcome::Miss(Miss::Foreign) => {}
        }
    }
    split
}

/// What the snapshot would say to `name`.
pub(super) fn classify(name: &Name, qtype: Rtype, snapshot: &Snapshot) -> Outcome {
    let question_end = HEADER_LEN + name.as_wire().len() + 4;
    let query = Query {
        id: 0,
        flags: Flags(Flags::RD),
        qname: FoldedName::from(name),
        qtype,
        qclass: Class::IN,
        question_end,
        edns: None,
    };
    let mut scratch = [0u8; SCRATCH];
    if let Some(place) = scratch.get_mut(HEADER_LEN..question_end - 4) {
        place.copy_from_slice(name.as_wire());
    }
    let context = Context { udp_size: SCRATCH as u16, ..Context::INTERNAL };
    answer::answer(&query, &context, snapshot, &mut Response::new(&mut scratch, SCRATCH))
}

/// Whether `name` is ours though nothing here answers it.
pub(super) fn is_own(name: &Name, snapshot: &Snapshot) -> bool {
    classify(name, Rtype::A, snapshot) == Outcome::Miss(Miss::Own)
}
