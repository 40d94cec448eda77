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
        let lease = services.state.acquire(name, holder, TIME, now).await?;
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
        Ok(Self { services: Arc::clone(services), lease, renewal: AbortOnDropHandle::new(renewal) })
    }

    /// The lease.
    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether nobody took it over yet, as far as that can be told.
    pub(super) async fn is_ours(services: &Services, lease: &Lease) -> bool {
        let renewed = services.state.renew(lease, TIME, services.clock.now()).await;
        !matches!(renewed, Err(failure) if failure.kind == FailureKind::Conflict)
    }

    pub(super) async fn release(self) {
        drop(self.renewal);
        if let Err(failure) = self.services.state.release(&self.lease).await {
            tracing::warn!(%failure, "could not give the lease back");
        }
    }
}
