//! From `kubectl apply` to a finished model, under a real API server and controller manager: pods come and go with the work,
//! and the result has the bits of `phalanx run`.

mod control_plane;
mod node;
mod site;

use std::time::{Duration, Instant};

use phalanx_tests::{Deadline, Etcd, Home, Job, eventually};
use serde_json::{Value, json};

use control_plane::ControlPlane;
use site::Site;

/// Long enough for hundreds of jobs on a busy machine.
const LONG: Deadline = Deadline(Duration::from_secs(480));

fn condition<'v>(resource: &'v Value, name: &str) -> Option<&'v Value> {
    resource["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}

fn holds(resource: &Value, name: &str) -> bool {
    condition(resource, name).is_some_and(|condition| condition["status"] == "True")
}

#[test]
fn a_resource_trains_to_the_bits_of_a_run_and_its_pool_comes_and_goes() {
    let Some(plane) = ControlPlane::start() else { return };
    let job = Job::mlp().steps(400).with("[register]\nmodel = \"census\"\n[workers]\nmin = 2\nmax = 3\n");
    let site = Site::start(&plane, 4);
    site.start_pool(&plane, 8, 2);

    let begin = Instant::now();
    plane.apply(&[site.resource("census", &job)]);
    eventually("a pod", Deadline::default(), || (site.running() > 0).then_some(()));
    let pod_at = begin.elapsed();
    let seen = |what: &str, is: &dyn Fn(&Value) -> bool| {
        eventually(what, Deadline::default(), || plane.get("tj/census").filter(|resource| is(resource)))
    };
    eventually("a step", Deadline::default(), || site.job("census-1").filter(|job| job.step > 0));
    eprintln!("apply to a pod: {pod_at:?}; to the first step: {:?}", begin.elapsed());
    seen("a step that is told", &|resource| resource["status"]["step"].as_u64() > Some(0));
    assert!(site.replicas(&plane) >= 2 && site.replicas(&plane) <= 3, "{}", site.replicas(&plane));
    let done = seen("the end", &|resource| holds(resource, "Complete"));
    let status = &done["status"];
    assert_eq!((&status["state"], &status["model"]), (&json!("done"), &json!("census@1")), "{status:#}");
    assert_eq!(status["stateHash"], json!(Home::new().run(&job, 1)));
    eventually("the pool to be empty", Deadline::default(), || {
        (site.replicas(&plane) == 0 && plane.list("pods").is_empty()).then_some(())
    });

    let reasons: Vec<Value> =
        plane.list("events.events.k8s.io").iter().map(|event| event["reason"].clone()).collect();
    assert!(reasons.contains(&json!("Training")) && reasons.contains(&json!("Done")), "{reasons:?}");
    let shown = plane.kubectl(&["get", "tj"]);
    assert!(shown.starts_with("NAME     STATE   STEP   OF"), "{shown}");
    plane.kubectl(&["delete", "tj", "census", "--timeout=20s"]);
    assert!(plane.list("tj").is_empty());
}

#[test]
fn a_mistake_is_refused_or_named_and_what_is_deleted_or_changed_is_stopped_or_scaled() {
    let Some(plane) = ControlPlane::start() else { return };
    let site = Site::start(&plane, 2);
    site.start_pool(&plane, 2, 20);
    let job = Job::mlp().steps(100_000).with("[workers]\nmax = 2\n");
    let right = site.resource("long", &job);
    let wrong = |section: &str, key: &str, value: Value| {
        let mut wrong = right.clone();
        wrong["metadata"]["name"] = json!("wrong");
        wrong.pointer_mut(section).expect("the section is there")[key] = value;
        wrong
    };
    // The schema's.
    for (section, key, value) in
        [("/spec/train", "batch_size", json!("many")), ("/spec/data/split", "by", json!("chance"))]
    {
        let refused = plane.try_apply(&[wrong(section, key, value)]);
        assert!(refused.code != Some(0) && refused.stderr.contains("spec."), "{key}: {}", refused.stderr);
    }
    // A rule's, which this server does not know.
    plane.apply(&[wrong("/spec/train", "lanes", json!(7))]);
    let named = eventually("a condition", Deadline::default(), || {
        plane.get("tj/wrong").filter(|resource| condition(resource, "Accepted").is_some())
    });
    let accepted = condition(&named, "Accepted").expect("it was waited for");
    assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("False"), &json!("WrongSpec")));
    assert!(accepted["message"].as_str().is_some_and(|text| text.contains("train.lanes")), "{accepted}");
    plane.apply(&[wrong("/spec/train", "lanes", json!(8))]);
    eventually("what was mended to be taken", Deadline::default(), || {
        plane.get("tj/wrong").filter(|resource| holds(resource, "Accepted"))
    });
    plane.kubectl(&["delete", "tj", "wrong", "--timeout=60s"]);

    plane.apply(std::slice::from_ref(&right));
    let workers = |count: u64| {
        eventually(&format!("{count} workers"), Deadline::default(), || {
            plane.get("tj/long").filter(|resource| resource["status"]["workers"].as_u64() == Some(count))
        })
    };
    workers(2);
    let mut fewer = right.clone();
    fewer["spec"]["workers"]["max"] = json!(1);
    plane.apply(&[fewer.clone()]);
    workers(1);
    fewer["spec"]["train"]["seed"] = json!(8);
    plane.apply(&[fewer]);
    eventually("the change to be refused", Deadline::default(), || {
        let resource = plane.get("tj/long")?;
        (condition(&resource, "Accepted")?["reason"] == "ChangeRefused").then_some(())
    });
    plane.kubectl(&["delete", "tj", "long", "--timeout=60s"]);
    let job = site.job("long-2").expect("the coordinator knows it");
    assert_eq!(job.state.as_str(), "cancelled");
}

#[test]
fn training_survives_what_becomes_of_pods_and_of_kubernetes() {
    let Some(mut plane) = ControlPlane::start() else { return };
    let job = Job::mlp().steps(6_000).with("[checkpoint]\nevery = 500\n[workers]\nmax = 4\n");
    let mut site = Site::start(&plane, 4);
    site.start_pool(&plane, 4, 3);
    plane.apply(&[site.resource("census", &job)]);
    let reaches = |site: &Site, step: u64| {
        eventually(&format!("step {step}"), LONG, || site.job("census-1").filter(|job| job.step >= step))
    };
    reaches(&site, 300);
    plane.kubectl(&["delete", "pod", "worker-cpu-0", "--wait=false"]);
    reaches(&site, 900);
    plane.kubectl(&["delete", "pod", "worker-cpu-1", "--force", "--grace-period=0"]);
    let at = reaches(&site, 1_500);
    plane.kill();
    reaches(&site, at.step + 300);
    site.restart_coordinator();
    reaches(&site, at.step + 600);
    plane.start_server();
    plane.start_manager();
    reaches(&site, at.step + 900);
    site.restart_node(&plane);
    let done =
        eventually("the end", LONG, || plane.get("tj/census").filter(|resource| holds(resource, "Complete")));
    assert_eq!(done["status"]["stateHash"], json!(Home::new().run(&job, 1)));
    assert_eq!(site.jobs().len(), 1, "one resource has one job, whatever has died");
    eventually("no pods to be left", LONG, || plane.list("pods").is_empty().then_some(()));
    plane.kubectl(&["delete", "tj", "census", "--timeout=20s"]);
}

#[test]
fn another_coordinator_goes_on_with_resources_and_pools_while_etcd_comes_and_goes() {
    let Some(plane) = ControlPlane::start() else { return };
    let Some(mut etcd) = Etcd::for_coordinators() else { return };
    let job = Job::mlp().steps(4_000).with("[checkpoint]\nevery = 500\n[workers]\nmin = 2\nmax = 2\n");
    let mut site = Site::start_over(&plane, 4, &etcd);
    site.start_pool(&plane, 4, 3);
    plane.apply(&[site.resource("census", &job)]);
    let reaches = |site: &Site, step: u64| {
        eventually(&format!("step {step}"), LONG, || site.job("census-1").filter(|job| job.step >= step))
    };
    reaches(&site, 100);
    site.restart_coordinator();
    let at = reaches(&site, 500);
    etcd.kill(0);
    etcd.restart(0);
    reaches(&site, at.step + 300);
    site.restart_coordinator();
    let done =
        eventually("the end", LONG, || plane.get("tj/census").filter(|resource| holds(resource, "Complete")));
    assert_eq!(done["status"]["stateHash"], json!(Home::new().run(&job, 1)));
    assert_eq!((site.jobs().len(), &done["status"]["generation"]), (1, &json!(1)), "workers did not notice");
    eventually("no pods to be left", LONG, || plane.list("pods").is_empty().then_some(()));
}

#[test]
fn hundreds_of_resources_train_in_the_order_of_their_priority_with_few_requests() {
    let Some(plane) = ControlPlane::start() else { return };
    let site = Site::start(&plane, 8);
    // No worker comes before all are there.
    site.start_pool(&plane, 0, 5);
    let job = |number: u32| {
        let priority = if number.is_multiple_of(2) { 10 } else { -10 };
        let tables =
            format!("[workers]\nmax = 1\n[checkpoint]\nevery = 0\n[schedule]\npriority = {priority}\n");
        (format!("job-{number}"), Job::mlp().steps(2).with(&tables))
    };
    let resources: Vec<Value> = (0..200).map(job).map(|(name, job)| site.resource(&name, &job)).collect();
    let (begin, before) = (Instant::now(), site.requests(&plane));
    plane.apply(&resources);
    plane.kubectl(&["annotate", "statefulset/worker-cpu", "--overwrite", "phalanx.dev/replicas-max=8"]);
    eventually("all to be done", LONG, || {
        let resources = plane.list("tj");
        resources.iter().all(|resource| holds(resource, "Complete")).then_some(())
    });
    let (took, requests) = (begin.elapsed(), site.requests(&plane) - before);
    let rate = requests / took.as_secs_f64();
    eprintln!(
        "200 training jobs in {took:?}, with {requests} requests of the coordinator: {rate:.1} a second"
    );
    assert!(rate < 50.0, "{rate} requests a second");
    // Those of the higher priority started first. Eight start together, in any order.
    let mut jobs = site.jobs();
    jobs.sort_by_key(|job| job.started_at);
    let high = |name: &str| {
        name.rsplit_once('-')
            .is_some_and(|(_, number)| number.parse().is_ok_and(|n: u32| n.is_multiple_of(2)))
    };
    let late = jobs.iter().skip(100 + 8).filter(|job| high(&job.name)).count();
    assert_eq!(late, 0, "the important ones were not first");
}
