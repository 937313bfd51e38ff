//! Making everything again that follows from the stored envelopes.

use std::collections::BTreeSet;

use revnet_protocol::{StreamId, decode, encode};

use crate::chain::Chain;
use crate::storage::{Boot, Write};

/// What makes a store forget all that was ever read out of its envelopes: the timeline index, and how far each chain
/// was read. The next [`Core`](crate::Core) that starts on it reads them anew, through the same checks as when they
/// came; until it has, the store is complete but shows less.
#[must_use]
pub fn forget_readings(boot: &Boot) -> Vec<Write> {
    let readable = boot.chains.iter().filter_map(|(stream, device, state)| {
        let chain = decode::<Chain>(state, Chain::MAX_STATE).ok()?;
        Some((*stream, *device, chain))
    });
    readable
        .flat_map(|(stream, device, chain)| {
            let unindex = Write::Unindex {
                stream,
                device,
                from: 0,
            };
            let state = encode(&chain.unread());
            let chain = Write::Chain {
                stream,
                device,
                state,
            };
            [unindex, chain]
        })
        .collect()
}

/// The streams that a store holds chains of.
#[must_use]
pub fn streams(boot: &Boot) -> BTreeSet<StreamId> {
    boot.chains.iter().map(|(stream, ..)| *stream).collect()
}
