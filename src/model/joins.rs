//! Carries the facts of conditions down a tree of joins to the tables they limit.
//!
//! The argument, for a row `r` of a table whose day fails the facts that reach it: every row of the join made with `r`
//! fails one of them, and so does every row that appears because `r` is gone, for there the table is absent and facts
//! reject that. Hence the result is the same without `r`. Which facts may be used depends on the kind of join: its own
//! condition does not filter a preserved side, but does filter once a fact from above rejects rows without the other.
//! A fact from above that does not reject absence says nothing to a side that can be absent.

use std::ops::Range;

use super::facts::{Fact, FactorId, limit};
use super::range::DayRange;

/// The FROM of a SELECT as a tree.
#[derive(Debug)]
pub enum Tree {
    /// One table, subquery or function.
    Factor(FactorId),
    /// Two trees joined; comma-separated ones by a join without facts.
    Join {
        /// What happens to rows that match nothing.
        kind: JoinKind,
        /// What is written first.
        left: Box<Tree>,
        /// What is written second.
        right: Box<Tree>,
        /// What the join's condition says.
        facts: Vec<Fact>,
    },
}

/// Kinds of joins, as far as they differ here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Only matches; a cross join is one without a condition.
    Inner,
    /// All rows of the left side.
    Left,
    /// All rows of the right side.
    Right,
    /// All rows of both sides.
    Full,
    /// Rows of the left side that have, or that do not have, a match; the right side is not visible after it.
    LeftOnly,
    /// Rows of the right side that have, or that do not have, a match; the left side is not visible after it.
    RightOnly,
    /// Anything else: nothing is concluded from it or through it.
    Opaque,
}

impl Tree {
    /// The factors of the tree: ids are given in the order of the text, so they are a range.
    pub fn factors(&self) -> Range<FactorId> {
        match self {
            Self::Factor(id) => *id..*id + 1,
            Self::Join { left, right, .. } => left.factors().start..right.factors().end,
        }
    }

    /// Calls `found` with each factor and the days of it that matter, `None` when all may.
    ///
    /// `above` holds facts that rows of the tree must satisfy to matter at all; `values` is as for `limit`.
    pub fn limits(
        &self,
        above: &[Fact],
        values: &impl Fn(FactorId) -> Option<Vec<DayRange>>,
        found: &mut impl FnMut(FactorId, Option<Vec<DayRange>>),
    ) {
        let (kind, left, right, own) = match self {
            Self::Factor(id) => return found(*id, limit(above, *id, values)),
            Self::Join { kind, left, right, facts } => (*kind, left, right, facts),
        };
        let needs = |side: &Self| above.iter().any(|fact| fact.rejects_absence(&side.factors()));
        let with_own = |above: &[Fact]| [above, own].concat();
        let if_absent = |side: &Self| -> Vec<Fact> {
            above.iter().filter(|fact| !fact.mentions(&side.factors())).cloned().collect()
        };
        let (to_left, to_right) = match simplified(kind, needs(left), needs(right)) {
            JoinKind::Inner => (with_own(above), with_own(above)),
            JoinKind::Left => (above.to_vec(), with_own(&if_absent(right))),
            JoinKind::Right => (with_own(&if_absent(left)), above.to_vec()),
            JoinKind::Full => (if_absent(left), if_absent(right)),
            JoinKind::LeftOnly => (above.to_vec(), own.clone()),
            JoinKind::RightOnly => (own.clone(), above.to_vec()),
            JoinKind::Opaque => (Vec::new(), Vec::new()),
        };
        left.limits(&to_left, values, found);
        right.limits(&to_right, values, found);
    }
}

/// The join that a join comes to when rows without its left, or without its right side, do not matter.
const fn simplified(kind: JoinKind, needs_left: bool, needs_right: bool) -> JoinKind {
    match (kind, needs_left, needs_right) {
        (JoinKind::Left, _, true) | (JoinKind::Right, true, _) | (JoinKind::Full, true, true) => JoinKind::Inner,
        (JoinKind::Full, true, false) => JoinKind::Left,
        (JoinKind::Full, false, true) => JoinKind::Right,
        _ => kind,
    }
}
