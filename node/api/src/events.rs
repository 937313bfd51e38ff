//! The WebSocket: `/api/events?since=SEQ`.
//!
//! A reader gets what it missed, then `caught_up`, then what happens. One that falls behind, or that was
//! away for too long, gets `resync`; it never slows down the node.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::dto::{Event, EventsQuery, NoDetail};
use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::hub::Frame;
use crate::serve::App;
use crate::tokens::Caller;

/// How many readers at once.
pub(crate) const MAX_READERS: usize = 64;
/// A reader that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a quiet connection is probed.
const PING: Duration = Duration::from_secs(20);
/// Most that a reader may say: it has nothing to say.
const MAX_SAID: usize = 4096;

/// Events as they happen, as frames `EventFrame`.
///
/// Upgrades to a WebSocket. `since` resumes behind that number, from a ring of the last 4096; where that
/// is too old, `resync` comes first. `caught_up` marks the end of what was missed.
#[utoipa::path(get, path = "/api/events", tag = "events", params(EventsQuery), responses(
    (status = 101, description = "Switches to a WebSocket of `EventFrame`s"),
    (status = 400, description = "Not a WebSocket request", body = ErrorBody),
))]
pub(crate) async fn events(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<EventsQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|error| ApiError::invalid(error.body_text()))?;
    let permit = app
        .readers
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError::busy("too many readers of events at once"))?;
    Ok(upgrade
        .max_message_size(MAX_SAID)
        .max_frame_size(MAX_SAID)
        .on_upgrade(move |socket| async move {
            let reader = Reader {
                app,
                caller,
                socket,
                _permit: permit,
            };
            reader.serve(query.since).await;
        }))
}

struct Reader {
    app: App,
    caller: Caller,
    socket: WebSocket,
    _permit: OwnedSemaphorePermit,
}

/// Why a connection ends.
enum End {
    /// The reader went, or takes nothing any more.
    Gone,
    /// The node stops.
    Stopping,
    /// The token was revoked.
    Revoked,
}

impl Reader {
    async fn serve(mut self, since: Option<u64>) {
        let end = match self.follow(since).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let (code, reason) = match end {
            End::Gone => return,
            End::Stopping => (close_code::RESTART, "the node stops"),
            End::Revoked => (close_code::POLICY, "the token was revoked"),
        };
        let close = Message::Close(Some(CloseFrame {
            code,
            reason: reason.into(),
        }));
        let _ = timeout(PATIENCE, self.socket.send(close)).await;
    }

    async fn follow(&mut self, since: Option<u64>) -> Result<std::convert::Infallible, End> {
        let mut revocations = self.app.tokens.revocations();
        let mut stopping = self.app.stopping.clone();
        let arrival = self.app.hub.arrive(since);
        if arrival.resync {
            self.send(resync(arrival.seq)).await?;
        }
        for frame in arrival.missed {
            self.send(frame).await?;
        }
        self.send(Frame::new(arrival.seq, Event::CaughtUp(NoDetail {})))
            .await?;
        let mut live = arrival.live;
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = true;
        loop {
            tokio::select! {
                frame = live.recv() => self.hand_on(frame, &mut live).await?,
                said = self.socket.recv() => match said {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
                    Some(Ok(_)) => heard = true,
                },
                _ = pings.tick() => {
                    if !heard {
                        return Err(End::Gone);
                    }
                    heard = false;
                    self.put(Message::Ping(axum::body::Bytes::new())).await?;
                },
                () = stopped(&mut stopping) => return Err(End::Stopping),
                Ok(()) = revocations.changed() => {
                    if !self.app.tokens.is_current(&self.caller) {
                        return Err(End::Revoked);
                    }
                },
            }
        }
    }

    async fn hand_on(
        &mut self,
        frame: Result<Frame, RecvError>,
        live: &mut broadcast::Receiver<Frame>,
    ) -> Result<(), End> {
        match frame {
            Ok(frame) => self.send(frame).await,
            Err(RecvError::Lagged(_)) => {
                // What still waits in the queue is covered by reading again.
                *live = live.resubscribe();
                let seq = self.app.hub.last();
                self.send(resync(seq)).await
            }
            Err(RecvError::Closed) => Err(End::Stopping),
        }
    }

    async fn send(&mut self, frame: Frame) -> Result<(), End> {
        self.put(Message::Text(frame.text)).await
    }

    async fn put(&mut self, message: Message) -> Result<(), End> {
        match timeout(PATIENCE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Gone),
        }
    }
}

/// Done when the node stops; the guard inside isn't `Send`, so it stays in here.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

fn resync(seq: u64) -> Frame {
    Frame::new(seq, Event::Resync(NoDetail {}))
}
