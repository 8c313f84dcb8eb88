//! What is asked of Kubernetes, and in which order.

use serde_json::json;

use super::*;
use crate::resource::tests::resource;

/// A job in this state.
fn job(state: JobState, step: u64) -> JobView {
    serde_json::from_value(json!({
        "id": "points-1", "name": "points", "state": state, "reason": null, "step": step, "total_steps": 100,
        "epoch": 0, "cursor": 0, "loss": 1.0, "samples_per_second": null, "learning_rate": null, "metrics": {},
        "validation": {}, "confusion": null, "workers": [], "ranks": [], "world_size": 0, "lanes": 4,
        "batch_size": 8, "ledger": false, "generation": 0, "state_hash": null, "checkpoints": [],
        "store_away": null, "dataset": null, "model": null, "artifact": null, "sample": null, "messages": [],
        "submitted_at": "2026-01-01T00:00:00Z", "started_at": null, "finished_at": null,
    }))
    .expect("it is a job")
}

fn entry(state: JobState) -> Entry {
    let mut entry = Entry::new(resource("points"));
    entry.is_known = true;
    entry.job_is(job(state, 1));
    entry.update(Timestamp::UNIX_EPOCH);
    entry
}

#[test]
fn a_state_is_told_before_the_finalizer_and_figures_wait() {
    let mut entry = entry(JobState::Training);
    let now = Instant::now();
    assert_eq!(entry.next(now), Some((Request::Status, now)));
    entry.written(now);
    assert_eq!(entry.next(now), Some((Request::Hold, now)));
    entry.resource.metadata.finalizers = Some(vec![crate::resource::FINALIZER.to_owned()]);
    assert_eq!(entry.next(now), Some((Request::Event, now)));
    entry.event();
    assert_eq!(entry.next(now), None);
    entry.job_is(job(JobState::Training, 2));
    entry.update(Timestamp::UNIX_EPOCH);
    assert_eq!(entry.next(now), Some((Request::Figures, now + FIGURES_EVERY)));
}

#[test]
fn a_number_that_kubernetes_writes_in_another_way_is_not_written_again() {
    let mut entry = entry(JobState::Done);
    entry.written(Instant::now());
    let mut resource = entry.resource.clone();
    resource.status = entry.status().clone();
    resource.status["loss"] = json!(1);
    entry.seen(resource);
    entry.event();
    assert_eq!(entry.next(Instant::now()), None);
}

#[test]
fn a_deleted_resource_is_let_go_when_its_job_is_over() {
    let mut entry = entry(JobState::Stopping);
    entry.resource.metadata.finalizers = Some(vec![crate::resource::FINALIZER.to_owned()]);
    let at = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
    entry.resource.metadata.deletion_timestamp = Some(at);
    let now = Instant::now();
    assert_eq!(entry.next(now), None);
    entry.job_is(job(JobState::Cancelled, 1));
    assert_eq!(entry.next(now), Some((Request::LetGo, now)));
}

#[test]
fn conditions_keep_their_times_and_explain_what_is_wrong() {
    let mut entry = entry(JobState::Training);
    entry.written(Instant::now());
    let mut failed = job(JobState::Failed, 1);
    failed.reason = Some("accuracy was 0.5, below 0.9".to_owned());
    entry.job_is(failed);
    entry.update(Timestamp::from_second(60).expect("a time"));
    let conditions = entry.status()["conditions"].as_array().expect("there are some").clone();
    let of = |name: &str| conditions.iter().find(|condition| condition["type"] == name).expect("it is there");
    assert_eq!(of("Accepted")["lastTransitionTime"], "1970-01-01T00:00:00Z");
    assert_eq!(of("Failed")["lastTransitionTime"], "1970-01-01T00:01:00Z");
    assert_eq!((&of("Failed")["status"], &of("Failed")["reason"]), (&json!("True"), &json!("Failed")));
    assert_eq!(of("Failed")["message"], "accuracy was 0.5, below 0.9");
    entry.refused(Refusal::Wrong(vec!["`train.lanes` must divide".to_owned()]));
    entry.update(Timestamp::UNIX_EPOCH);
    assert!(entry.status()["message"].as_str().is_some_and(|text| text.contains("train.lanes")));
}
