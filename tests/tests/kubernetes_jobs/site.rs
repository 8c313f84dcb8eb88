//! What is not Kubernetes': a coordinator with the service account of `k8s/base`, and a node for its pool of workers.

use std::{path::PathBuf, process::Command};

use phalanx_protocol::{spec::JobFile, view::JobView};
use phalanx_tests::{Api, Deadline, Home, Job, Running, Signal, binary, eventually, free_addresses};
use serde_json::{Value, json};

use crate::{
    control_plane::{ControlPlane, NAMESPACE},
    node::Node,
};

/// A coordinator and a node.
pub(crate) struct Site {
    /// Where pods run; `None` while there is no node.
    node: Option<Node>,
    slots: usize,
    home: Home,
    http: String,
    rpc: String,
    account: PathBuf,
    coordinator: Option<Running>,
}

impl Site {
    /// Starts both; the node takes so many pods.
    pub(crate) fn start(plane: &ControlPlane, slots: usize) -> Self {
        let [http, rpc] = free_addresses();
        let account = plane.kubeconfig_of("coordinator");
        let node = Some(Node::start(plane, "node", slots));
        let mut site = Self { node, slots, home: Home::new(), http, rpc, account, coordinator: None };
        site.start_coordinator();
        site
    }

    fn start_coordinator(&mut self) {
        let folder = self.home.folder();
        let mut command = Command::new(binary("phalanx"));
        command.args([
            "coordinator",
            "--listen",
            &self.http,
            "--rpc",
            &self.rpc,
            "--lease",
            "2",
            "--kubernetes",
        ]);
        command.arg("--state").arg(folder.join("state.redb")).arg("--store").arg(folder.join("store"));
        command.env("KUBECONFIG", &self.account);
        self.coordinator = Some(Running::start(command));
        let api = Api::new(&self.http);
        eventually("the coordinator", Deadline::default(), || api.text("/readyz").ok());
    }

    /// `kill -9` of the coordinator, and another one in its place.
    pub(crate) fn restart_coordinator(&mut self) {
        let process = self.coordinator.take().expect("it runs");
        process.signal(Signal::KILL);
        process.wait();
        self.start_coordinator();
    }

    /// All pods are killed with their node at once; another node of its name runs them anew.
    pub(crate) fn restart_node(&mut self, plane: &ControlPlane) {
        self.node = None;
        self.node = Some(Node::start(plane, "node", self.slots));
    }

    /// How many pods run.
    pub(crate) fn running(&self) -> usize {
        self.node.as_ref().map_or(0, |node| node.pids().len())
    }

    /// Applies the pool of `k8s/base`, of up to `max` pods that stay for `idle` seconds without work. What is changed is
    /// where things are on this machine.
    pub(crate) fn start_pool(&self, plane: &ControlPlane, max: u32, idle: u32) {
        let cache = self.home.folder().join("cache");
        let args = [
            "worker".to_owned(),
            format!("--coordinator={}", self.rpc),
            "--listen=$(POD_IP):0".to_owned(),
            format!("--cache={}", cache.display()),
            "--drain-max=25".to_owned(),
        ];
        let pool = plane.pool(|pool| {
            let annotations = &mut pool["metadata"]["annotations"];
            annotations["phalanx.dev/replicas-max"] = json!(max.to_string());
            annotations["phalanx.dev/idle-seconds"] = json!(idle.to_string());
            pool["spec"]["replicas"] = json!(0);
            let spec = &mut pool["spec"]["template"]["spec"];
            spec["volumes"] = json!([]);
            let container = &mut spec["containers"][0];
            container["args"] = json!(args);
            container["volumeMounts"] = json!([]);
            let address = json!({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}});
            container["env"].as_array_mut().expect("it has an environment").push(address);
        });
        plane.apply(&[pool]);
        eventually("the pool to be empty", Deadline::default(), || {
            (self.replicas(plane) == 0 && self.running() == 0).then_some(())
        });
    }

    /// How many pods the pool is told to have.
    pub(crate) fn replicas(&self, plane: &ControlPlane) -> u64 {
        let pool = plane.get("statefulset/worker-cpu");
        pool.and_then(|pool| pool["spec"]["replicas"].as_u64()).unwrap_or(u64::MAX)
    }

    /// A job file as a resource of this name.
    pub(crate) fn resource(&self, name: &str, job: &Job) -> Value {
        let text =
            job.to_toml().replacen(&format!("name = {:?}", job.name()), &format!("name = {name:?}"), 1);
        let spec =
            JobFile::parse(&text, &self.home.folder().join("job.toml"), &[]).expect("it is right").spec;
        let mut spec = spec.to_written();
        spec.as_object_mut().expect("a job is a table").remove("name");
        let metadata = json!({"name": name, "namespace": NAMESPACE});
        json!({"apiVersion": "phalanx.dev/v1alpha1", "kind": "TrainingJob", "metadata": metadata, "spec": spec})
    }

    /// A job, if the coordinator answers and knows it.
    pub(crate) fn job(&self, id: &str) -> Option<JobView> {
        Api::new(&self.http).get(&format!("/v1/jobs/{id}")).ok()
    }

    /// All jobs.
    pub(crate) fn jobs(&self) -> Vec<JobView> {
        Api::new(&self.http).get("/v1/jobs").expect("the coordinator answers")
    }

    /// Requests that only a coordinator makes, as the API server has counted them.
    pub(crate) fn requests(&self, plane: &ControlPlane) -> f64 {
        let is_ours = |line: &&str| {
            let has = |text: &str| line.contains(text);
            let of_jobs =
                has("resource=\"trainingjobs\"") && (has("verb=\"PATCH\"") || has("verb=\"APPLY\""));
            let of_events = has("group=\"events.k8s.io\"") && has("verb=\"POST\"");
            let of_pools = has("resource=\"statefulsets\"") && has("subresource=\"scale\"");
            let watches = has("verb=\"WATCH\"") && (has("\"trainingjobs\"") || has("\"statefulsets\""));
            line.starts_with("apiserver_request_total{") && (of_jobs || of_events || of_pools || watches)
        };
        let metrics = plane.kubectl(&["get", "--raw", "/metrics"]);
        let counts =
            metrics.lines().filter(is_ours).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        counts.sum()
    }
}
