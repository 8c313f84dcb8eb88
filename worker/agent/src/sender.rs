//! The task that brings reports to the coordinator, one after the other and each
//! until the coordinator has it.
//!
//! A report may arrive twice, where the answer to it was lost; the coordinator
//! takes that as once.

use std::{sync::Arc, time::Duration};

use kameo::actor::ActorRef;
use phalanx_member::{Answered, Outgoing};
use tokio::{sync::watch, time::timeout};
use tracing::{Instrument as _, debug, error, warn};

use crate::{
    control::{Control, Superseded},
    link::{Backoff, Link},
    membership::Member,
    outbox::Outbox,
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
        let Outgoing { number, report, with: span } = outgoing;
        let (job, generation) = (report.job.clone(), report.generation);
        let call = link
            .call(REPORT_MAX, |client, context| async move { client.report(context, worker, report).await });
        let answer = match call.instrument(span).await {
            Ok(answer) => answer,
            Err(error) => {
                debug!(%error, "a report waits");
                backoff.wait().await;
                continue;
            }
        };
        match outbox.answered(number, answer) {
            Answered::Heard => backoff.reset(),
            Answered::Refused(rejected) => {
                error!(%job, %generation, %rejected, "the coordinator refuses a report");
            }
            Answered::Superseded => {
                debug!(%job, %generation, "a report came too late");
                let _ = control.tell(Superseded { job, generation }).await;
            }
            Answered::AttachFirst => {
                debug!(%worker, "a report waits until the worker is attached again");
                let _ = timeout(ATTACH_MAX, member.changed()).await;
            }
            Answered::Later(rejected) => {
                warn!(%rejected, "a report waits");
                backoff.wait().await;
            }
        }
    }
}
