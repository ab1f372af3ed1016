//! Names as small numbers: a run of two million deliveries repeats a few thousand names.

use std::collections::HashMap;

/// A client, a channel, an epoch, a term or a message, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    ids: HashMap<Box<str>, Id>,
    names: Vec<Box<str>>,
}

impl Names {
    pub(super) fn id(&mut self, name: &str) -> Id {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let number = u32::try_from(self.names.len()).expect("a run has far fewer than 2^32 names");
        self.names.push(name.into());
        self.ids.insert(name.into(), Id(number));
        Id(number)
    }

    pub(super) fn known(&self, name: &str) -> Option<Id> {
        self.ids.get(name).copied()
    }

    pub(super) fn name(&self, id: Id) -> &str {
        &self.names[id.0 as usize]
    }
}
