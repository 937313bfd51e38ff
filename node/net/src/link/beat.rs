//! Signs of life on a link.
//!
//! A broken path says nothing: TCP takes minutes to notice, and libp2p's ping, whose first failure is free and whose
//! second waits ten seconds for a new stream, takes half a minute. So both sides promise to be heard at the faster of
//! their two paces, and a side that waits in vain for well over that gives the link up. Whoever has a reason to hurry (a
//! call, an open page) quickens the pace of its links, and lets them rest afterwards.

use std::{
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use futures::AsyncRead;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// However much a peer hurries, it hears us no more often than this.
pub(crate) const FASTEST: Duration = Duration::from_millis(250);

/// However little it cares, it hears us this often.
pub(crate) const SLOWEST: Duration = Duration::from_secs(60);

/// A busy machine or a lost packet is not yet a broken path.
const SLACK: Duration = Duration::from_secs(2);

/// How often either side wants to hear from the other one.
#[derive(Clone, Debug)]
pub(crate) struct Paces {
    pub(crate) own: watch::Receiver<Duration>,
    pub(crate) theirs: watch::Receiver<Duration>,
}

impl Paces {
    /// The longest time for which a side may say nothing.
    pub(crate) fn period(&self) -> Duration {
        let faster = (*self.own.borrow()).min(*self.theirs.borrow());
        faster.clamp(FASTEST, SLOWEST)
    }

    /// The silence after which the path is dead.
    fn patience(&self) -> Duration {
        let period = self.period();
        period + SLACK.max(period / 2)
    }

    /// Ends when either side has changed its mind; never, once that can't happen any more.
    pub(crate) async fn changed(&mut self) {
        let changed = tokio::select! {
            own = self.own.changed() => own,
            theirs = self.theirs.changed() => theirs,
        };
        if changed.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Knows since when the reader has been waiting for the peer.
///
/// A reader that has something to hand over and waits for the caller is not waiting for the peer: the peer may be
/// talking, and we are the ones who don't listen.
#[derive(Debug)]
pub(crate) struct Ear {
    start: Instant,
    /// Milliseconds after `start`, plus one; 0 while not waiting.
    waiting_since: AtomicU64,
}

impl Ear {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            waiting_since: AtomicU64::new(0),
        }
    }

    pub(crate) fn wrap<R>(&self, reader: R) -> Listening<'_, R> {
        Listening { reader, ear: self }
    }

    fn is_waiting(&self, waiting: bool) {
        let since = self.waiting_since.load(Ordering::Relaxed);
        if !waiting {
            self.waiting_since.store(0, Ordering::Relaxed);
        } else if since == 0 {
            let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
            self.waiting_since.store(now + 1, Ordering::Relaxed);
        }
    }

    fn waiting_since(&self) -> Option<Instant> {
        let millis = self.waiting_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.start + Duration::from_millis(millis))
    }
}

/// A reader that tells its [`Ear`] whether it waits.
#[derive(Debug)]
pub(crate) struct Listening<'a, R> {
    reader: R,
    ear: &'a Ear,
}

impl<R: AsyncRead + Unpin> AsyncRead for Listening<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        let read = Pin::new(&mut self.reader).poll_read(cx, buffer);
        self.ear.is_waiting(read.is_pending());
        read
    }
}

/// Ends when the peer has said nothing for too long, with how long that was.
pub(crate) async fn silence(ear: &Ear, mut paces: Paces) -> Duration {
    // What the peer had promised before a change of pace counts up to the change.
    let mut changed_at = Instant::now();
    loop {
        let (now, patience) = (Instant::now(), paces.patience());
        let look_at = match ear.waiting_since() {
            None => now + patience,
            Some(since) => {
                if now >= since.max(changed_at) + patience {
                    return now - since;
                }
                since.max(changed_at) + patience
            }
        };
        tokio::select! {
            () = sleep_until(look_at) => {}
            () = paces.changed() => changed_at = Instant::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paces(
        own: Duration,
        theirs: Duration,
    ) -> (Paces, watch::Sender<Duration>, watch::Sender<Duration>) {
        let ((set_own, own), (set_theirs, theirs)) = (watch::channel(own), watch::channel(theirs));
        (Paces { own, theirs }, set_own, set_theirs)
    }

    #[test]
    fn the_one_in_a_hurry_sets_the_pace_within_bounds() {
        let seconds = Duration::from_secs;
        let period = |own, theirs| paces(own, theirs).0.period();
        assert_eq!(period(seconds(25), seconds(5)), seconds(5));
        assert_eq!(period(seconds(5), seconds(25)), seconds(5));
        assert_eq!(period(seconds(25), Duration::ZERO), FASTEST);
        assert_eq!(period(Duration::MAX, Duration::MAX), SLOWEST);
        assert_eq!(paces(seconds(1), seconds(25)).0.patience(), seconds(3));
        assert_eq!(paces(seconds(30), seconds(30)).0.patience(), seconds(45));
    }

    #[tokio::test]
    async fn only_waiting_for_the_peer_is_silence() {
        let (paces, _own, _theirs) = paces(FASTEST, FASTEST);
        let ear = Ear::new();
        let limit = paces.patience() + FASTEST;
        assert!(
            tokio::time::timeout(limit, silence(&ear, paces.clone()))
                .await
                .is_err(),
            "not waiting"
        );
        ear.is_waiting(true);
        ear.is_waiting(true);
        let silent = tokio::time::timeout(limit * 20, silence(&ear, paces))
            .await
            .expect("waits in vain");
        assert!(silent >= limit - FASTEST, "{silent:?}");
    }
}
