//! Numbers for streams and devices: 4 bytes in every key instead of 32. A number is never given twice.

use std::collections::HashMap;

use redb::{ReadableTable, Table};

use crate::error::Fault;

/// The numbers of one kind of id, all in memory.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<[u8; 32], u32>,
    ids: Vec<[u8; 32]>,
}

impl Names {
    pub(crate) fn load(table: &impl ReadableTable<&'static [u8; 32], u32>) -> Result<Self, Fault> {
        let mut numbers = HashMap::new();
        for row in table.iter()? {
            let (id, number) = row?;
            numbers.insert(*id.value(), number.value());
        }
        let mut ids = vec![None; numbers.len()];
        for (id, number) in &numbers {
            // Numbers run from zero, so that each has its place exactly once.
            *ids.get_mut(*number as usize)
                .ok_or_else(|| Fault::damaged("numbers of ids are missing"))? = Some(*id);
        }
        let ids = ids.into_iter().collect::<Option<_>>();
        let ids = ids.ok_or_else(|| Fault::damaged("numbers of ids are given twice"))?;
        Ok(Self { numbers, ids })
    }

    pub(crate) fn number(&self, id: &[u8; 32]) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    pub(crate) fn id(&self, number: u32) -> Result<[u8; 32], Fault> {
        self.ids
            .get(number as usize)
            .copied()
            .ok_or_else(|| Fault::damaged("a key has a number without an id"))
    }

    /// The number of an id, a new one if it has none yet.
    pub(crate) fn intern(
        &mut self,
        table: &mut Table<'_, &'static [u8; 32], u32>,
        id: &[u8; 32],
    ) -> Result<u32, Fault> {
        if let Some(number) = self.number(id) {
            return Ok(number);
        }
        let number = u32::try_from(self.ids.len()).expect("2^32 ids need more than any disk has");
        table.insert(id, number)?;
        self.numbers.insert(*id, number);
        self.ids.push(*id);
        Ok(number)
    }
}
