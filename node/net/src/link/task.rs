//! Moves the frames of one link between its stream, its queue and the caller.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
    io::{BufReader, BufWriter},
};
use libp2p::{Multiaddr, PeerId, Stream};
use tokio::sync::{mpsc, oneshot};

use super::MAX_FRAME;
use crate::{DownReason, NetEvent, PeerKey};

/// Enough for hundreds of small frames in one system call.
const BUFFER: usize = 64 << 10;

/// How long a link may take to write out its queue when it is closed on purpose.
const DRAIN: Duration = Duration::from_secs(1);

/// How long what arrived before the connection closed may take to reach the caller.
const READ_OUT: Duration = Duration::from_millis(250);

/// Counters of a link, shared with the swarm task.
#[derive(Debug, Default)]
pub(crate) struct LinkStats {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Bytes of frames in the queue.
    pub(crate) queued: AtomicUsize,
}

/// Ends a link.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) reason: DownReason,
    pub(crate) how: How,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// At once.
    Cut,
    /// After the queue has been written and the peer has read it.
    Drain,
    /// After what has already arrived has been handed over.
    ReadOut,
}

/// Everything a link's task owns.
pub(crate) struct LinkTask {
    pub(crate) id: PeerId,
    pub(crate) peer: PeerKey,
    pub(crate) address: Multiaddr,
    pub(crate) relayed: bool,
    pub(crate) stream: Stream,
    pub(crate) queue: mpsc::Receiver<Bytes>,
    pub(crate) stop: oneshot::Receiver<Stop>,
    pub(crate) stats: Arc<LinkStats>,
    pub(crate) events: mpsc::Sender<NetEvent>,
}

impl LinkTask {
    /// Runs until the link ends and says whose link it was and why it ended.
    ///
    /// It reports `LinkUp`, the frames and `LinkDown` itself, so that their order holds whatever the swarm task does.
    pub(crate) async fn run(self) -> (PeerId, DownReason) {
        let Self {
            id,
            peer,
            address,
            relayed,
            stream,
            queue,
            stop,
            stats,
            events,
        } = self;
        if events
            .send(NetEvent::LinkUp {
                peer,
                address,
                relayed,
            })
            .await
            .is_err()
        {
            return (id, DownReason::Shutdown);
        }
        let (reader, writer) = stream.split();
        let inward = Inward {
            peer,
            stats: &stats,
            events: &events,
        };
        let reason = pump(reader, writer, queue, stop, inward).await;
        // An ended caller needs no report.
        let _ = events
            .send(NetEvent::LinkDown {
                peer,
                reason: reason.clone(),
            })
            .await;
        (id, reason)
    }
}

struct Inward<'a> {
    peer: PeerKey,
    stats: &'a LinkStats,
    events: &'a mpsc::Sender<NetEvent>,
}

async fn pump(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    queue: mpsc::Receiver<Bytes>,
    stop: oneshot::Receiver<Stop>,
    inward: Inward<'_>,
) -> DownReason {
    let mut read = pin!(read_frames(reader, &inward));
    let mut write = pin!(write_frames(writer, queue, inward.stats));
    tokio::select! {
        // A stop comes together with the end of the queue and must be seen first.
        biased;
        stop = stop => match stop {
            Ok(Stop { reason, how: How::Cut }) => reason,
            Ok(Stop { reason, how: How::Drain }) => {
                // The peer closes its side when it has read ours to the end. Without waiting for that, the end of the
                // connection could overtake the last frames.
                let _ = tokio::time::timeout(DRAIN, futures::future::join(write, read)).await;
                reason
            }
            Ok(Stop { reason, how: How::ReadOut }) => {
                tokio::time::timeout(READ_OUT, read).await.unwrap_or(reason)
            }
            Err(_) => DownReason::Shutdown,
        },
        written = &mut write => match written {
            Ok(()) => DownReason::Shutdown,
            Err(error) => DownReason::Lost(error.to_string()),
        },
        reason = &mut read => reason,
    }
}

async fn read_frames(reader: impl AsyncRead + Unpin, inward: &Inward<'_>) -> DownReason {
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    loop {
        let frame = match read_frame(&mut reader).await {
            Ok(frame) => frame,
            Err(reason) => return reason,
        };
        inward
            .stats
            .bytes_in
            .fetch_add(frame.len() as u64 + 4, Ordering::Relaxed);
        let event = NetEvent::Frame {
            peer: inward.peer,
            bytes: frame,
        };
        // Waiting here is the back-pressure: the stream's window fills and the peer's queue with it.
        if inward.events.send(event).await.is_err() {
            return DownReason::Shutdown;
        }
    }
}

async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, DownReason> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(DownReason::Closed);
        }
        other => other.map_err(lost)?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(DownReason::Oversized {
            bytes: length,
            limit: MAX_FRAME,
        });
    }
    // Grows with what arrives, so that an announced length alone costs nothing.
    let mut frame = Vec::with_capacity(length.min(BUFFER));
    reader
        .take(length as u64)
        .read_to_end(&mut frame)
        .await
        .map_err(lost)?;
    if frame.len() < length {
        return Err(DownReason::Closed);
    }
    Ok(frame.into())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function value in map_err"
)]
fn lost(error: io::Error) -> DownReason {
    DownReason::Lost(error.to_string())
}

/// Writes until the queue ends, then closes the stream.
async fn write_frames(
    writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Bytes>,
    stats: &LinkStats,
) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(BUFFER, writer);
    loop {
        let frame = match queue.try_recv() {
            Ok(frame) => frame,
            Err(_) => {
                writer.flush().await?;
                match queue.recv().await {
                    Some(frame) => frame,
                    None => return writer.close().await,
                }
            }
        };
        let length = u32::try_from(frame.len()).expect("the queue takes no frame over MAX_FRAME");
        writer.write_all(&length.to_be_bytes()).await?;
        writer.write_all(&frame).await?;
        stats.queued.fetch_sub(frame.len(), Ordering::Relaxed);
        stats
            .bytes_out
            .fetch_add(u64::from(length) + 4, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Bytes, DownReason> {
        futures::executor::block_on(read_frame(&mut { bytes }))
    }

    #[test]
    fn a_frame_is_its_length_and_its_bytes() {
        assert_eq!(read(b"\0\0\0\x03abc!"), Ok(Bytes::from_static(b"abc")));
        assert_eq!(read(b"\0\0\0\0"), Ok(Bytes::new()));
    }

    #[test]
    fn a_cut_or_oversized_frame_ends_the_link() {
        assert_eq!(read(b""), Err(DownReason::Closed));
        assert_eq!(read(b"\0\0\0\x03ab"), Err(DownReason::Closed));
        let limit = u32::try_from(MAX_FRAME).expect("fits");
        let over = (limit + 1).to_be_bytes();
        assert_eq!(
            read(&over),
            Err(DownReason::Oversized {
                bytes: MAX_FRAME + 1,
                limit: MAX_FRAME
            })
        );
        let mut largest = limit.to_be_bytes().to_vec();
        largest.resize(4 + MAX_FRAME, 1);
        assert_eq!(read(&largest).map(|frame| frame.len()), Ok(MAX_FRAME));
    }
}
