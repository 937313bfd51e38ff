//! Frames and beats on the wire.
//!
//! A `u32` in network order is the length of the frame that follows it, or, all ones, the mark of a beat: four more
//! bytes say in milliseconds how often the sender wants to hear from us.

use std::sync::atomic::Ordering;
use std::{io, time::Duration};

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, io::BufWriter};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{
    MAX_FRAME,
    beat::Paces,
    room::{Gate, Room},
    task::LinkStats,
};
use crate::DownReason;

/// Enough for hundreds of small frames in one system call.
pub(crate) const BUFFER: usize = 16 << 10;

const BEAT: u32 = u32::MAX;

/// A frame that was begun has to come at this rate, in bytes a second; the first seconds are free.
const SLOWEST_RATE: u64 = 16 << 10;
const FIRST_SECONDS: u64 = 5;

/// What a peer said.
#[derive(Debug)]
pub(crate) enum Incoming {
    Frame(Bytes, Room),
    /// It is there, and wants to hear from us this often.
    Beat(Duration),
}

/// Reads one frame, once there is room for it.
pub(crate) async fn read(
    reader: &mut (impl AsyncRead + Unpin),
    gate: &mut Gate,
) -> Result<Incoming, DownReason> {
    let word = read_word(reader).await?;
    if word == BEAT {
        let millis = read_word(reader).await?;
        return Ok(Incoming::Beat(Duration::from_millis(millis.into())));
    }
    let length = word as usize;
    if length > MAX_FRAME {
        return Err(DownReason::Oversized {
            bytes: length,
            limit: MAX_FRAME,
        });
    }
    let room = gate.room(length).await?;
    // Grows with what arrives, so that an announced length alone costs nothing.
    let mut frame = Vec::with_capacity(length.min(BUFFER));
    let within = Duration::from_secs(FIRST_SECONDS + length as u64 / SLOWEST_RATE);
    timeout(within, reader.take(length as u64).read_to_end(&mut frame))
        .await
        .map_err(|_| DownReason::Stalled)?
        .map_err(|error| lost(&error))?;
    if frame.len() < length {
        return Err(DownReason::Closed);
    }
    Ok(Incoming::Frame(frame.into(), room))
}

async fn read_word(reader: &mut (impl AsyncRead + Unpin)) -> Result<u32, DownReason> {
    let mut word = [0; 4];
    match reader.read_exact(&mut word).await {
        Ok(()) => Ok(u32::from_be_bytes(word)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(DownReason::Closed),
        Err(error) => Err(lost(&error)),
    }
}

fn lost(error: &io::Error) -> DownReason {
    DownReason::Lost(error.to_string())
}

/// Writes until the queue ends, then closes the stream. Beats when the queue has nothing to say for a while.
pub(crate) async fn write_all(
    writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Bytes>,
    stats: &LinkStats,
    mut paces: Paces,
) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(BUFFER, writer);
    let mut told = None;
    let mut last = Instant::now();
    loop {
        let own = *paces.own.borrow_and_update();
        if told != Some(own) || last.elapsed() >= paces.period() {
            write_beat(&mut writer, own).await?;
            (told, last) = (Some(own), Instant::now());
        }
        if let Ok(frame) = queue.try_recv() {
            write_frame(&mut writer, &frame, stats).await?;
            last = Instant::now();
            continue;
        }
        writer.flush().await?;
        let beat_at = last + paces.period();
        tokio::select! {
            frame = queue.recv() => match frame {
                Some(frame) => write_frame(&mut writer, &frame, stats).await?,
                None => return writer.close().await,
            },
            () = paces.changed() => continue,
            () = sleep_until(beat_at) => continue,
        }
        last = Instant::now();
    }
}

async fn write_frame(
    writer: &mut (impl AsyncWrite + Unpin),
    frame: &Bytes,
    stats: &LinkStats,
) -> io::Result<()> {
    let length = u32::try_from(frame.len()).expect("the queue takes no frame over MAX_FRAME");
    writer.write_all(&length.to_be_bytes()).await?;
    writer.write_all(frame).await?;
    stats.unqueue(frame.len());
    stats
        .bytes_out
        .fetch_add(u64::from(length) + 4, Ordering::Relaxed);
    Ok(())
}

async fn write_beat(writer: &mut (impl AsyncWrite + Unpin), wanted: Duration) -> io::Result<()> {
    let millis = u32::try_from(wanted.as_millis()).unwrap_or(u32::MAX);
    writer.write_all(&BEAT.to_be_bytes()).await?;
    writer.write_all(&millis.to_be_bytes()).await
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Said {
        Frame(Bytes),
        Beat(Duration),
    }

    #[tokio::main(flavor = "current_thread")]
    async fn read_all(mut bytes: &[u8]) -> (Vec<Said>, DownReason) {
        let mut read_so_far = Vec::new();
        let mut gate = Gate::open();
        loop {
            match read(&mut bytes, &mut gate).await {
                Ok(Incoming::Frame(bytes, _)) => read_so_far.push(Said::Frame(bytes)),
                Ok(Incoming::Beat(pace)) => read_so_far.push(Said::Beat(pace)),
                Err(reason) => return (read_so_far, reason),
            }
        }
    }

    fn frame(bytes: &'static [u8]) -> Said {
        Said::Frame(Bytes::from_static(bytes))
    }

    #[test]
    fn a_frame_is_its_length_and_its_bytes_and_a_beat_is_neither() {
        let bytes = b"\0\0\0\x03abc\0\0\0\0\xff\xff\xff\xff\0\0\x03\xe8\0\0\0\x01x";
        let expected = vec![
            frame(b"abc"),
            frame(b""),
            Said::Beat(Duration::from_secs(1)),
            frame(b"x"),
        ];
        assert_eq!(read_all(bytes), (expected, DownReason::Closed));
    }

    #[test]
    fn a_cut_or_oversized_frame_ends_the_link() {
        for cut in [&b""[..], b"\0\0", b"\0\0\0\x03ab", b"\xff\xff\xff\xff\0"] {
            assert_eq!(read_all(cut), (vec![], DownReason::Closed), "{cut:?}");
        }
        let limit = u32::try_from(MAX_FRAME).expect("fits");
        for over in [limit + 1, BEAT - 1] {
            let (frames, reason) = read_all(&over.to_be_bytes());
            assert_eq!(
                (frames.len(), reason),
                (
                    0,
                    DownReason::Oversized {
                        bytes: over as usize,
                        limit: MAX_FRAME
                    }
                )
            );
        }
        let mut largest = limit.to_be_bytes().to_vec();
        largest.resize(4 + MAX_FRAME, 1);
        assert!(
            matches!(&read_all(&largest).0[..], [Said::Frame(frame)] if frame.len() == MAX_FRAME)
        );
    }

    #[tokio::test]
    async fn what_is_queued_is_written_and_then_the_stream_ends() {
        let (sender, queue) = mpsc::channel(8);
        let (_own, own) = watch::channel(Duration::from_secs(5));
        let stats = LinkStats::default();
        for text in ["ab", ""] {
            stats.queue(text.len());
            sender.send(Bytes::from(text)).await.expect("has room");
        }
        drop(sender);
        let mut written = Vec::new();
        let paces = Paces {
            own: own.clone(),
            theirs: own,
        };
        write_all(&mut written, queue, &stats, paces)
            .await
            .expect("a Vec takes all");
        assert_eq!(written, b"\xff\xff\xff\xff\0\0\x13\x88\0\0\0\x02ab\0\0\0\0");
        assert_eq!(stats.queued.load(Ordering::Relaxed), 0);
        assert_eq!(stats.bytes_out.load(Ordering::Relaxed), 10);
    }
}
