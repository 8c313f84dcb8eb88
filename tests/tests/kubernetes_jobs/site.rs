//! What is not Kubernetes': a coordinator with the service account of `k8s/base`, and a node for its pool of workers.

use std::{path::PathBuf, process::Command};

use phalanx_protocol::{spec::JobFile, view::JobView};
use phalanx_tests::{Api, Deadline, Etcd, Home, Job, Running, Signal, binary, eventually, free_addresses};
use serde::de::DeserializeOwned;
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
    /// A file, or the URL of a state in etcd.
    state: String,
    account: PathBuf,
    coordinators: Vec<Coordinator>,
}

/// A coordinator's place.
struct Coordinator {
    http: String,
    rpc: String,
    process: Option<Running>,
}

impl Site {
    /// Starts both; the node takes so many pods.
    pub(crate) fn start(plane: &ControlPlane, slots: usize) -> Self {
        let home = Home::new();
        let state = home.folder().join("state.redb").display().to_string();
        Self::on(plane, slots, (home, state, 1))
    }

    /// [`start`](Self::start) with two coordinators over an etcd of their own.
    pub(crate) fn start_over(plane: &ControlPlane, slots: usize, etcd: &Etcd) -> Self {
        Self::on(plane, slots, (Home::new(), etcd.url("phalanx"), 2))
    }

    fn on(plane: &ControlPlane, slots: usize, (home, state, count): (Home, String, usize)) -> Self {
        let account = plane.kubeconfig_of("coordinator");
        let node = Some(Node::start(plane, "node", slots));
        let place = || {
            let [http, rpc] = free_addresses();
            Coordinator { http, rpc, process: None }
        };
        let coordinators = std::iter::repeat_with(place).take(count).collect();
        let mut site = Self { node, slots, home, state, account, coordinators };
        (0..count).for_each(|number| site.start_coordinator(number));
        eventually("a coordinator that leads", Deadline::default(), || site.leader());
        site
    }

    fn start_coordinator(&mut self, number: usize) {
        let Coordinator { http, rpc, .. } = &self.coordinators[number];
        let mut command = Command::new(binary("phalanx"));
        command.args(["coordinator", "--listen", http, "--rpc", rpc, "--lease", "2", "--kubernetes"]);
        command.args(["--state", &self.state, "--store"]).arg(self.home.folder().join("store"));
        command.env("KUBECONFIG", &self.account);
        self.coordinators[number].process = Some(Running::start(command));
    }

    /// The one that leads, if one does.
    fn leader(&self) -> Option<usize> {
        self.coordinators.iter().position(|place| Api::new(&place.http).text("/readyz").is_ok())
    }

    /// `kill -9` of the coordinator that leads, and another one in its place; returns when one leads.
    pub(crate) fn restart_coordinator(&mut self) {
        let number = eventually("a coordinator that leads", Deadline::default(), || self.leader());
        let process = self.coordinators[number].process.take().expect("it runs");
        process.signal(Signal::KILL);
        process.wait();
        self.start_coordinator(number);
        eventually("a coordinator that leads", Deadline::default(), || self.leader());
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
        let coordinators: Vec<&str> = self.coordinators.iter().map(|place| place.rpc.as_str()).collect();
        let cache = self.home.folder().join("cache");
        let args = [
            "worker".to_owned(),
            format!("--coordinator={}", coordinators.join(",")),
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

    /// A job, if a coordinator answers and knows it.
    pub(crate) fn job(&self, id: &str) -> Option<JobView> {
        self.asked(&format!("/v1/jobs/{id}"))
    }

    /// All jobs.
    pub(crate) fn jobs(&self) -> Vec<JobView> {
        self.asked("/v1/jobs").expect("a coordinator answers")
    }

    fn asked<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        self.coordinators.iter().find_map(|place| Api::new(&place.http).get(path).ok())
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
