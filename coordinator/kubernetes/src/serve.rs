//! Kubernetes beside a coordinator: from one term of it to the next.

use phalanx_server::Jobs;
use tracing::info;

use crate::{cluster::Cluster, jobs, pools};

/// Reconciles resources and jobs, and scales pools, whenever this coordinator leads, for as long as this is polled. What is
/// known of Kubernetes is forgotten at the end of each term, and asked for anew. It may be dropped at any time: whatever
/// was half done is done again by whoever leads next.
pub async fn serve(cluster: Cluster, mut of: Jobs) {
    loop {
        of.leads().await;
        info!(namespace = cluster.namespace, "training jobs and pools are looked after");
        let mut term = of.clone();
        tokio::select! {
            () = term.term_is_over() => {}
            _over = Box::pin(jobs::run(&cluster, of.clone())) => {}
            _over = Box::pin(pools::run(&cluster, of.clone())) => {}
        }
        // Those two end because this coordinator leads no more, and may have heard of it first.
        term.term_is_over().await;
    }
}
