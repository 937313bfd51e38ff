//! One segment as an Automerge document: the union of its authors' chains.

use automerge::{Automerge, Change, ROOT, ReadDoc as _, ScalarValue, Value};
use revnet_protocol::MessageId;

/// A document made of changes that were [checked](crate::change::check_change) and follow each other.
#[derive(Debug, Default)]
pub struct Document(Automerge);

impl Document {
    /// An empty document.
    #[must_use]
    pub fn new() -> Self {
        Self(Automerge::new())
    }

    /// Adds changes, in any order between authors. One batch costs as much as one change.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Vec<u8>>) {
        let changes: Vec<Change> = changes
            .into_iter()
            .filter_map(|bytes| Change::from_bytes(bytes).ok())
            .collect();
        // Checked changes can't fail; a failure would leave the document as it was.
        let _ = self.0.apply_changes(changes);
    }

    /// The keys, sorted: the timeline of the segment.
    #[must_use]
    pub fn keys(&self) -> Vec<MessageId> {
        self.0
            .keys(ROOT)
            .filter_map(|key| key.parse().ok())
            .collect()
    }

    /// Keys and values, sorted by key.
    #[must_use]
    pub fn entries(&self) -> Vec<(MessageId, Vec<u8>)> {
        self.keys()
            .into_iter()
            .filter_map(|id| match self.0.get(ROOT, id.to_string()) {
                Ok(Some((Value::Scalar(scalar), _))) => match scalar.as_ref() {
                    ScalarValue::Bytes(bytes) => Some((id, bytes.clone())),
                    _ => None,
                },
                _ => None,
            })
            .collect()
    }

    /// The bytes that stock Automerge opens.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        self.0.save()
    }
}
