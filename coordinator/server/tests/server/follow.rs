//! Following a job.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use phalanx_protocol::{
    id::JobId,
    message::Assignment,
    view::{JobState, JobView},
};
use phalanx_server::FOLLOWS_MAX;
use reqwest::{Method, StatusCode};
use tokio::time::timeout;

use crate::support::{Cluster, DEADLINE, User, spec};

/// Each line that a follower is told, and when, until the stream ends.
async fn follow(user: User, job: JobId) -> Vec<(Instant, JobView)> {
    let response = user.request(Method::GET, &format!("/v1/jobs/{job}/follow")).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let mut pieces = response.bytes_stream();
    let (mut lines, mut rest) = (Vec::new(), Vec::new());
    while let Some(piece) = timeout(DEADLINE, pieces.next()).await.unwrap() {
        rest.extend_from_slice(&piece.unwrap());
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            lines.push((Instant::now(), serde_json::from_slice(&line).unwrap()));
        }
    }
    assert!(rest.is_empty(), "the stream ends with a whole line");
    lines
}

#[tokio::test]
async fn a_follower_sees_the_job_change_until_it_is_over() {
    let cluster = Cluster::start().await;
    let job = cluster.user.submit(spec("points")).await.id;
    let follower = tokio::spawn(follow(cluster.user.clone(), job.clone()));
    let mut worker = cluster.worker().await;
    let Assignment { job, generation, .. } = *worker.begin().await;
    for step in 1..=200 {
        worker.step(&job, generation, step.min(10)).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    worker.checkpoint(&job, generation, 10).await;
    worker.finish(&job, generation).await;

    let lines = follower.await.unwrap();
    let (_, last) = lines.last().unwrap();
    assert_eq!(last.state, JobState::Done, "{:?}", last.reason);
    assert!(lines.iter().any(|(_, job)| job.state == JobState::Training));
    assert!(lines.windows(2).all(|pair| pair[0].1 != pair[1].1), "a line tells something new");
    let took = lines.last().unwrap().0 - lines[0].0;
    let most = took.as_millis() / 100 + 2;
    assert!(lines.len() as u128 <= most, "{} lines in {took:?}", lines.len());
}

#[tokio::test]
async fn following_a_job_that_is_over_tells_it_once() {
    let cluster = Cluster::start().await;
    cluster.user.submit(spec("points")).await;
    let job = cluster.worker().await.work_off().await;
    cluster.user.until(&job, |job| job.state == JobState::Done).await;
    let lines = follow(cluster.user.clone(), job).await;
    assert_eq!(lines.len(), 1);
}

#[tokio::test]
async fn a_shutdown_ends_the_streams_of_followers() {
    let cluster = Cluster::start().await;
    let job = cluster.user.submit(spec("points")).await.id;
    let request = cluster.user.request(Method::GET, &format!("/v1/jobs/{job}/follow"));
    let mut follower = request.send().await.unwrap();
    assert!(follower.chunk().await.unwrap().is_some_and(|line| line.ends_with(b"\n")));
    let begin = Instant::now();
    cluster.server.shutdown().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(follower.chunk().await.unwrap(), None, "the stream ends in order");
}

#[tokio::test]
async fn one_follower_too_many_is_told_so_and_may_come_when_another_is_gone() {
    let cluster = Cluster::start().await;
    let job = cluster.user.submit(spec("points")).await.id;
    let follow = async || {
        let request = cluster.user.request(Method::GET, &format!("/v1/jobs/{job}/follow"));
        request.send().await.unwrap()
    };
    let mut followers = Vec::new();
    for _ in 0..FOLLOWS_MAX {
        followers.push(follow().await.error_for_status().unwrap());
    }
    assert_eq!(follow().await.status(), StatusCode::SERVICE_UNAVAILABLE);

    followers.pop();
    let begin = Instant::now();
    while follow().await.status() != StatusCode::OK {
        assert!(begin.elapsed() < DEADLINE, "the place of a follower that is gone stays taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
