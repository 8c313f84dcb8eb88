//! Outside input on the HTTP interface: each wrong request has its status and
//! says what is wrong.

use phalanx_protocol::view::{ApiError, ClusterView, JobView};
use phalanx_server::{BODY_BYTES_MAX, Config, start};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

use crate::support::{Cluster, User, config, spec};

async fn check(request: RequestBuilder, status: StatusCode, part: &str) {
    let response = request.send().await.unwrap();
    let found = response.status();
    let text = response.text().await.unwrap();
    let error: ApiError =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{found}: no ApiError: {text}"));
    assert_eq!(found, status, "{}", error.error);
    assert!(error.error.contains(part), "`{}` does not contain `{part}`", error.error);
}

#[tokio::test]
async fn a_wrong_request_is_answered_with_what_is_wrong() {
    let cluster = Cluster::start().await;
    let post = |path: &str| cluster.user.request(Method::POST, path);
    let get = |path: &str| cluster.user.request(Method::GET, path);
    let put = |path: &str| cluster.user.request(Method::PUT, path);
    let json = "application/json";

    let typed = post("/v1/jobs").header("content-type", json);
    check(typed.body("{"), StatusCode::BAD_REQUEST, "JSON").await;
    check(post("/v1/jobs").body("{}"), StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/json").await;
    check(post("/v1/jobs").json(&json!({})), StatusCode::UNPROCESSABLE_ENTITY, "spec").await;
    let mut unknown = spec("points");
    unknown["train"]["learning_rat"] = json!(1);
    check(
        post("/v1/jobs").json(&json!({ "spec": unknown })),
        StatusCode::UNPROCESSABLE_ENTITY,
        "learning_rat",
    )
    .await;
    let large = post("/v1/jobs").header("content-type", json).body(vec![b' '; BODY_BYTES_MAX + 1]);
    check(large, StatusCode::PAYLOAD_TOO_LARGE, "").await;

    check(get("/v1/jobs/absent-1"), StatusCode::NOT_FOUND, "absent-1").await;
    check(get("/v1/jobs/absent-1/curve"), StatusCode::NOT_FOUND, "absent-1").await;
    check(get("/v1/jobs/absent-1/follow"), StatusCode::NOT_FOUND, "absent-1").await;
    check(post("/v1/jobs/absent-1/cancel"), StatusCode::NOT_FOUND, "absent-1").await;
    check(post("/v1/jobs/absent-1/resume"), StatusCode::NOT_FOUND, "absent-1").await;
    check(get("/v1/jobs/Not%20An%20Id"), StatusCode::BAD_REQUEST, "job id").await;
    check(get("/v1/models/absent"), StatusCode::NOT_FOUND, "absent").await;
    let alias = put("/v1/models/absent/aliases/best").json(&json!({ "version": 1 }));
    check(alias, StatusCode::NOT_FOUND, "absent").await;

    check(get("/v2"), StatusCode::NOT_FOUND, "path").await;
    check(cluster.user.request(Method::DELETE, "/v1/jobs"), StatusCode::METHOD_NOT_ALLOWED, "method").await;
    assert_eq!(cluster.user.get::<Vec<JobView>>("/v1/jobs").await, []);
}

#[tokio::test]
async fn a_wrong_job_is_refused_with_all_its_mistakes() {
    let cluster = Cluster::start().await;
    let mut wrong = spec("points");
    wrong["train"]["lanes"] = json!(3);
    wrong["data"]["split"] = json!({ "train": 0.9, "validation": 0.9, "test": 0.9 });
    let request = cluster.user.request(Method::POST, "/v1/jobs").json(&json!({ "spec": wrong }));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let error: ApiError = response.json().await.unwrap();
    assert!(error.error.contains("lanes") && error.error.contains("split"), "{}", error.error);
}

#[tokio::test]
async fn a_job_with_a_path_of_the_clients_own_folder_is_refused() {
    let cluster = Cluster::start().await;
    let mut wrong = spec("points");
    wrong["data"]["csv"]["path"] = json!("points.csv");
    let request = cluster.user.request(Method::POST, "/v1/jobs").json(&json!({ "spec": wrong }));
    check(request, StatusCode::BAD_REQUEST, "absolute").await;
}

#[tokio::test]
async fn a_batch_that_cannot_be_counted_with_does_no_harm() {
    let cluster = Cluster::start().await;
    let mut wrong = spec("points");
    wrong["train"]["batch_size"] = json!(u32::MAX);
    let request = cluster.user.request(Method::POST, "/v1/jobs").json(&json!({ "spec": wrong }));
    check(request, StatusCode::BAD_REQUEST, "train.batch_size").await;
    cluster.user.submit(spec("points")).await;
}

#[tokio::test]
async fn what_a_job_cannot_do_now_is_a_conflict() {
    let cluster = Cluster::start().await;
    let job = cluster.user.submit(spec("points")).await;
    let resume = cluster.user.request(Method::POST, &format!("/v1/jobs/{}/resume", job.id));
    check(resume, StatusCode::CONFLICT, "queued").await;
}

#[tokio::test]
async fn machines_are_told_how_it_is() {
    let cluster = Cluster::start().await;
    cluster.user.submit(spec("points")).await;
    let _worker = cluster.worker().await;
    let text = async |path| {
        cluster
            .user
            .request(Method::GET, path)
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    assert_eq!(text("/healthz").await, "ok\n");
    let metrics = text("/metrics").await;
    for line in [
        "phalanx_workers 1",
        r#"phalanx_jobs{state="training"} 0"#,
        "# HELP phalanx_state_commit_seconds ",
        "phalanx_state_commit_seconds_count ",
        r#"phalanx_http_requests_total{method="POST",route="/v1/jobs",status="201"}"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_client_learns_where_workers_attach() {
    let cluster = Cluster::start().await;
    let view: ClusterView = cluster.user.get("/v1/cluster").await;
    assert_eq!(view.rpc_addr, cluster.server.rpc_addr());
    assert!(view.store_url.starts_with("file:///"), "{}", view.store_url);
}

#[tokio::test]
async fn a_coordinator_on_every_address_names_the_one_that_was_used() {
    let folder = tempfile::tempdir().unwrap();
    let everywhere = Config { http_addr: "0.0.0.0:0".parse().unwrap(), ..config(folder.path()) };
    let server = start(everywhere).await.unwrap();
    let user = User::at(([127, 0, 0, 1], server.http_addr().port()).into());
    let view: ClusterView = user.get("/v1/cluster").await;
    assert_eq!(view.rpc_addr, ([127, 0, 0, 1], server.rpc_addr().port()).into());
}
