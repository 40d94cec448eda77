//! Publications that were begun and never ended: whoever starts next finishes them, or takes them
//! back, under their lease.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::lease::Held;
use crate::pipeline::name::Name;
use crate::pipeline::step::QUARANTINE_TABLE;
use crate::plan::OpenFact;
use crate::ports::{Flip, Lease, PartitionEntry, Publication};
use crate::run::event::{EventSink, RunEvent};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{RunKind, Status};
use crate::steps::context::Services;
use crate::steps::publication::{Unfinished, finish, take_back, unload, visible};

/// What becomes of a publication that was left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// All files are there: the rest of it becomes visible.
    Forward,
    /// It cannot be finished, for that reason: what is visible of it is taken back.
    Back(String),
    /// Another publication came after it: what it flipped is that one's matter.
    Overtaken,
}

/// How far a publication came.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// What becomes of it.
    pub settlement: Settlement,
    /// Its partitions that readers see.
    pub visible: usize,
    /// Its partitions that are yet to be flipped, forth or back.
    pub pending: Vec<Flip>,
}

/// Settles what was left open, of one pipeline or of all, whoever's day it is: each under its lease.
/// Where that is held, the publication is somebody's who is at work, and is left alone.
///
/// Errors: what keeps a publication from being settled now, as a service that cannot be reached.
pub async fn settle(
    services: &Arc<Services>,
    pipeline: Option<&Name>,
    holder: &str,
    events: &dyn EventSink,
) -> Outcome<()> {
    let open = services.state.publications().await?;
    let of_ours = open.into_iter().filter(|it| pipeline.is_none_or(|name| it.pipeline == *name));
    let leases: BTreeSet<String> = of_ours.map(|publication| publication.lease).collect();
    for name in leases {
        let held = match Held::acquire(services, &name, holder, CancellationToken::new()).await {
            Ok(held) => held,
            Err(failure) if failure.kind == FailureKind::Held => continue,
            Err(failure) => return Err(failure),
        };
        let settled = of_lease(services, held.lease(), events).await;
        held.release().await;
        settled?;
    }
    Ok(())
}

/// Settles what was begun under a lease, by its holder, who has begun nothing yet.
pub(super) async fn of_lease(
    services: &Services,
    lease: &Lease,
    events: &dyn EventSink,
) -> Outcome<()> {
    // Again, now that nobody else can end them.
    let mut open = services.state.publications().await?;
    open.retain(|publication| publication.lease == lease.name);
    for publication in open {
        let message = one(services, lease, &publication).await.map_err(|failure| {
            failure.while_doing(format!("publication `{}` cannot be settled", publication.id))
        })?;
        events.emit(RunEvent::Noticed { message });
    }
    Ok(())
}

/// Settles a publication and tells what came of it.
async fn one(services: &Services, lease: &Lease, publication: &Publication) -> Outcome<String> {
    if publication.fence > lease.fence {
        return Err(lease.fenced_off());
    }
    // The warehouse carries on with what a process that died asked for.
    let tokens: Vec<String> = publication.loads.iter().map(|load| load.token.clone()).collect();
    let loads = match tokens.is_empty() {
        true => Vec::new(),
        false => services.warehouse.under_way(&tokens).await?,
    };
    // Who began it may only be paused.
    if lease.seized {
        let tables: Vec<String> =
            publication.tables.iter().map(|shape| shape.table.name.clone()).collect();
        services.catalog.fence(&tables, lease).await?;
        if !publication.loads.is_empty() {
            services.warehouse.fence(lease).await?;
        }
    }
    let Standing { settlement, visible, .. } = standing(services, publication).await?;
    let settlement = match settlement {
        Settlement::Forward => match finish(services, publication, lease).await {
            Ok(_) => {
                note(services, publication).await?;
                Settlement::Forward
            }
            Err(Unfinished { failure, .. }) if stops(services, lease, &failure).await => {
                return Err(failure);
            }
            Err(Unfinished { failure, loads }) => {
                back(services, lease, publication, loads, failure.message).await?
            }
        },
        Settlement::Back(reason) => {
            if !loads.is_empty() {
                services.warehouse.cancel(&tokens).await?;
            }
            // The warehouse comes after the last flip.
            let is_loaded = visible == publication.flips.len();
            let loads = if is_loaded { publication.loads.len() } else { 0 };
            back(services, lease, publication, loads, reason).await?
        }
        Settlement::Overtaken => {
            if !loads.is_empty() {
                services.warehouse.cancel(&tokens).await?;
            }
            services.state.end_publication(&publication.id, &[], lease).await?;
            Settlement::Overtaken
        }
    };
    let mut told = told(publication, &settlement, visible);
    let became = match settlement {
        Settlement::Forward => "waited for",
        Settlement::Back(_) | Settlement::Overtaken => "stopped",
    };
    for load in loads {
        told.push_str(&format!("; load `{load}` went on and was {became}"));
    }
    Ok(told)
}

/// Takes a publication back of which so many loads took place, or may have.
async fn back(
    services: &Services,
    lease: &Lease,
    publication: &Publication,
    loads: usize,
    mut reason: String,
) -> Outcome<Settlement> {
    match unload(services, publication, loads, lease).await {
        Ok(()) => {}
        Err(failure) if stops(services, lease, &failure).await => return Err(failure),
        Err(failure) => reason.push_str(&format!("; the warehouse cannot follow: {failure}")),
    }
    take_back(services, publication, lease).await?;
    Ok(Settlement::Back(reason))
}

/// Whether a failure says nothing of the publication: it is tried again by the next start.
async fn stops(services: &Services, lease: &Lease, failure: &Failure) -> bool {
    match failure.kind {
        FailureKind::Denied
        | FailureKind::Held
        | FailureKind::Transient
        | FailureKind::Cancelled
        | FailureKind::Exceeded => true,
        // Files that are not its own, or a lease that was taken over.
        FailureKind::Conflict => !Held::is_ours(services, lease).await,
        FailureKind::Usage
        | FailureKind::Input
        | FailureKind::Quality
        | FailureKind::Step
        | FailureKind::NotFound
        | FailureKind::Exhausted
        | FailureKind::Internal => false,
    }
}

/// How far a publication came, and what is to become of it. Changes nothing.
pub async fn standing(services: &Services, publication: &Publication) -> Outcome<Standing> {
    let entries = publication.flips.iter().map(|flip| &flip.to);
    let now = visible(services, entries).await?;
    let shown =
        |flip: &Flip| now.iter().find(|it| (&it.table, &it.key) == (&flip.to.table, &flip.to.key));
    let is_same =
        |shown: Option<&PartitionEntry>, other: Option<&PartitionEntry>| match (shown, other) {
            (Some(shown), Some(other)) => shown.is_same(other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
    let is_visible = |flip: &&Flip| is_same(shown(flip), Some(&flip.to));
    let (forth, to_do): (Vec<&Flip>, Vec<&Flip>) =
        publication.flips.iter().partition(|flip| is_visible(flip));
    let visible = forth.len();
    let all = |flips: Vec<&Flip>| flips.into_iter().cloned().collect::<Vec<Flip>>();
    if to_do.iter().any(|flip| !is_same(shown(flip), flip.from.as_ref())) {
        let settlement = Settlement::Overtaken;
        return Ok(Standing { settlement, visible, pending: Vec::new() });
    }
    for file in publication.flips.iter().flat_map(|flip| &flip.to.files) {
        if !services.query.lake().holds(&file.path, file.bytes).await? {
            let settlement = Settlement::Back(format!("`{}` is gone", file.path));
            return Ok(Standing { settlement, visible, pending: all(forth) });
        }
    }
    Ok(Standing { settlement: Settlement::Forward, visible, pending: all(to_do) })
}

/// A rollback is nothing but its publication: it has come to its end with it.
async fn note(services: &Services, publication: &Publication) -> Outcome<()> {
    let Some(mut record) = services.state.run(&publication.run).await? else { return Ok(()) };
    if record.kind != RunKind::Rollback || record.status == Status::Succeeded {
        return Ok(());
    }
    record.status = Status::Succeeded;
    record.finished = Some(services.clock.now());
    record.failure = None;
    services.state.put_run(&record).await
}

/// What came of a publication, for people.
fn told(publication: &Publication, settlement: &Settlement, visible: usize) -> String {
    let left = left(publication, visible);
    match settlement {
        Settlement::Forward => format!("{left}: finished, and nothing made again"),
        Settlement::Back(reason) => format!("{left}: taken back, as {reason}"),
        Settlement::Overtaken => {
            format!("{left}: left as it is, as another publication came after it")
        }
    }
}

/// What is to come of one, for people.
pub fn foretold(publication: &Publication, standing: &Standing) -> String {
    let left = left(publication, standing.visible);
    match &standing.settlement {
        Settlement::Forward => format!("{left}: the next start finishes it first"),
        Settlement::Back(reason) => format!("{left}: the next start takes it back, as {reason}"),
        Settlement::Overtaken => {
            format!("{left}: it stays as it is, as another publication came after it")
        }
    }
}

fn left(publication: &Publication, visible: usize) -> String {
    let (part, run, all) = (publication.part(), &publication.run, publication.flips.len());
    format!("run {run} left `{part}` half done, {visible} of {all} partitions visible")
}

/// What planning has to know of a publication that is open.
pub(super) fn fact(publication: &Publication, standing: &Standing) -> OpenFact {
    let flip = |flip: &Flip| {
        let table = publication.tables.iter().find(|shape| shape.table.name == flip.to.table);
        let by_day = table.is_some_and(|shape| shape.table.by_day);
        let has_partitions = by_day || flip.to.table == QUARANTINE_TABLE;
        (flip.to.table.clone(), flip.to.key.clone(), has_partitions)
    };
    let loads = publication.loads.iter().flat_map(|load| &load.tables);
    let loads = loads.map(|load| (load.table.name.clone(), load.layout.clone())).collect();
    OpenFact {
        told: foretold(publication, standing),
        flips: standing.pending.iter().map(flip).collect(),
        loads: match standing.settlement {
            Settlement::Forward => loads,
            Settlement::Back(_) | Settlement::Overtaken => Vec::new(),
        },
    }
}

/// The publications of a pipeline that are open, each with what the next start makes of it; `None`
/// where somebody is at work on it. Changes nothing.
pub async fn open(
    services: &Services,
    pipeline: &Name,
) -> Outcome<Vec<(Publication, Option<Standing>)>> {
    let mut open = Vec::new();
    for publication in services.state.publications().await? {
        if publication.pipeline != *pipeline {
            continue;
        }
        let held = services.state.holding(&publication.lease, services.clock.now()).await?;
        let standing = match held {
            Some(_) => None,
            None => Some(standing(services, &publication).await?),
        };
        open.push((publication, standing));
    }
    Ok(open)
}
