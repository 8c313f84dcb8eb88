//! The task that brings reports to the coordinator, one after the other and each
//! until the coordinator has it.
//!
//! A report may arrive twice, where the answer to it was lost; the coordinator
//! takes that as once.

use std::{sync::Arc, time::Duration};

use kameo::actor::ActorRef;
use phalanx_protocol::rpc::Rejected;
use tokio::{sync::watch, time::timeout};
use tracing::{Instrument as _, debug, error, warn};

use crate::{
    control::{Control, Superseded},
    link::{Backoff, Link},
    membership::Member,
    outbox::{Outbox, Outgoing},
};

/// The longest that the coordinator may take to store a report.
const REPORT_MAX: Duration = Duration::from_secs(10);

/// The longest wait for this worker to be attached again before a report is tried anyway.
const ATTACH_MAX: Duration = Duration::from_secs(1);

/// Brings reports to the coordinator, for ever.
pub(crate) async fn run(
    outbox: Arc<Outbox>,
    link: Arc<Link>,
    mut member: watch::Receiver<Option<Member>>,
    control: ActorRef<Control>,
) {
    let mut backoff = Backoff::new();
    loop {
        let outgoing = outbox.next().await;
        let Some(worker) = member.borrow_and_update().as_ref().map(|member| member.worker) else {
            let _ = timeout(ATTACH_MAX, member.changed()).await;
            continue;
        };
        let Outgoing { number, report, span } = outgoing;
        let (job, generation) = (report.job.clone(), report.generation);
        let call = link
            .call(REPORT_MAX, |client, context| async move { client.report(context, worker, report).await });
        match call.instrument(span).await {
            Ok(Ok(())) => {
                outbox.sent(number);
                backoff.reset();
            }
            Ok(Err(Rejected::StaleGeneration { got, current })) => {
                debug!(%job, %got, %current, "a report came too late");
                outbox.drop_generation(&job, generation);
                let _ = control.tell(Superseded { job, generation }).await;
            }
            Ok(Err(rejected @ Rejected::Impossible(_))) => {
                error!(%job, %generation, %rejected, "the coordinator refuses a report");
                outbox.sent(number);
            }
            Ok(Err(rejected @ Rejected::UnknownWorker(_))) => {
                debug!(%rejected, "a report waits until the worker is attached again");
                let _ = timeout(ATTACH_MAX, member.changed()).await;
            }
            Ok(Err(rejected @ (Rejected::Unavailable(_) | Rejected::Standby(_)))) => {
                warn!(%rejected, "a report waits");
                backoff.wait().await;
            }
            Err(error) => {
                debug!(%error, "a report waits");
                backoff.wait().await;
            }
        }
    }
}
