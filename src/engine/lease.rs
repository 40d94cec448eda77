//! Holds the lease while a run goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::ports::Lease;
use crate::run::failure::{FailureKind, Outcome};
use crate::steps::context::Services;

/// How long a lease lasts without being renewed.
const TIME: Duration = Duration::from_secs(60);
const RENEW_EVERY: Duration = Duration::from_secs(15);

/// A lease that is renewed until it is released or dropped. If somebody takes it over, the run is
/// asked to stop.
pub(super) struct Held {
    services: Arc<Services>,
    lease: Lease,
    /// Whether the holder before, who may only be paused, is kept from every side effect.
    fenced: bool,
    renewal: AbortOnDropHandle<()>,
}

impl Held {
    pub(super) async fn acquire(
        services: &Arc<Services>,
        name: &str,
        holder: &str,
        cancel: CancellationToken,
    ) -> Outcome<Self> {
        let now = services.clock.now();
        let lease = match services.state.acquire(name, holder, TIME, now).await {
            // Perhaps only the answer got lost: then nobody, not even the next start, gets before its
            // time what this one has and does not know of.
            Err(failure) if failure.kind == FailureKind::Transient => {
                services.state.acquire(name, holder, TIME, services.clock.now()).await?
            }
            taken => taken?,
        };
        let (state, clock, renewed) =
            (Arc::clone(&services.state), Arc::clone(&services.clock), lease.clone());
        let renewal = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEW_EVERY).await;
                match state.renew(&renewed, TIME, clock.now()).await {
                    Err(failure) if failure.kind == FailureKind::Conflict => {
                        tracing::error!(%failure, "the lease was taken over");
                        cancel.cancel();
                        return;
                    }
                    Err(failure) => tracing::warn!(%failure, "could not renew the lease"),
                    Ok(()) => {}
                }
            }
        });
        let (services, fenced) = (Arc::clone(services), !lease.seized);
        Ok(Self { services, lease, fenced, renewal: AbortOnDropHandle::new(renewal) })
    }

    /// The lease.
    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Notes that the fence is set wherever the holder before could make anything visible.
    pub(super) fn is_fenced(&mut self) {
        self.fenced = true;
    }

    /// Whether nobody took it over yet, as far as that can be told.
    pub(super) async fn is_ours(services: &Services, lease: &Lease) -> bool {
        let renewed = services.state.renew(lease, TIME, services.clock.now()).await;
        !matches!(renewed, Err(failure) if failure.kind == FailureKind::Conflict)
    }

    /// Gives the lease back. One that was taken over, and whose former holder is not fenced off
    /// everywhere, runs out instead: the next holder takes it over in turn, and sets the fence.
    pub(super) async fn release(self) {
        drop(self.renewal);
        let (state, now) = (&self.services.state, self.services.clock.now());
        let given_back = match self.fenced {
            true => state.release(&self.lease).await,
            false => state.renew(&self.lease, Duration::ZERO, now).await,
        };
        if let Err(failure) = given_back {
            tracing::warn!(%failure, "could not give the lease back");
        }
    }
}
