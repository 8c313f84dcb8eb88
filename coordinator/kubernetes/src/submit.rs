//! `phalanx submit --kubernetes`: the same as `kubectl apply` of the same job.

use kube::{
    Api,
    api::{Patch, PatchParams},
};
use phalanx_protocol::spec::JobSpec;

use crate::{
    cluster::{Cluster, Unanswered, answered},
    resource::{GROUP, KIND, PLURAL, TrainingJob, VERSION},
};

/// Who writes what a user submits.
const USER: &str = "phalanx-submit";

/// Why a job is not in Kubernetes.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The API server has no such resource.
    #[error(
        "this Kubernetes knows no training jobs: install them with `kubectl apply --kustomize k8s/overlays/…`"
    )]
    NotInstalled,
    /// The API server refuses it; it says why.
    #[error("Kubernetes refuses it: {0}")]
    Refused(String),
    /// The API server was not reached.
    #[error("Kubernetes cannot be asked: {0}")]
    Unreachable(String),
}

/// Applies a job as a resource named after it, and returns that name, as in `trainingjob.phalanx.dev/mnist`.
///
/// # Errors
///
/// The API server refuses it, or is not reached.
pub async fn submit(cluster: &Cluster, spec: &JobSpec) -> Result<String, SubmitError> {
    let resource = TrainingJob::of(spec);
    let api: Api<TrainingJob> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let whole = serde_json::json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": {"name": resource.name()},
        "spec": resource.spec,
    });
    let params = PatchParams::apply(USER).force();
    match answered(api.patch(resource.name(), &params, &Patch::Apply(&whole))).await {
        Ok(_) => Ok(format!("{}.{GROUP}/{}", PLURAL.trim_end_matches('s'), resource.name())),
        Err(error) if error.code() == Some(404) => Err(SubmitError::NotInstalled),
        Err(Unanswered::Kube(kube::Error::Api(status))) => Err(SubmitError::Refused(status.message)),
        Err(other) => Err(SubmitError::Unreachable(other.to_string())),
    }
}
