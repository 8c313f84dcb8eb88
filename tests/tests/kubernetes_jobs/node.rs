//! A small node in place of a kubelet and a scheduler: it takes pods that have no node, runs the command of each as a
//! process of this machine with the pod's environment and an address of its own, tells how it is, and ends it with SIGTERM
//! and, after the grace period, with SIGKILL.
//!
//! Each process is in a UTS namespace of its own, so that its host is called like its pod.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use phalanx_tests::{Running, Signal, binary};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::control_plane::{ControlPlane, NAMESPACE};

/// How often it looks whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Addresses of pods: each gets another one, so that pods can listen on the same ports.
static ADDRESSES: AtomicU32 = AtomicU32::new(0);

/// A node, whose pods are killed when it is dropped.
pub(crate) struct Node {
    pods: Arc<Mutex<BTreeMap<String, i32>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A pod on this node.
struct Process {
    pod: Pod,
    address: String,
    running: Option<Running>,
    /// When it was told to end.
    ends: Option<Instant>,
    restarts: u32,
}

struct Kubelet {
    name: String,
    api: Api<Pod>,
    slots: usize,
    pids: Arc<Mutex<BTreeMap<String, i32>>>,
    /// By uid.
    processes: BTreeMap<String, Process>,
    /// Pods without a node, by name.
    waiting: BTreeMap<String, Pod>,
}

impl Node {
    /// Starts a node that takes so many pods.
    pub(crate) fn start(plane: &ControlPlane, name: &str, slots: usize) -> Self {
        let pods = Arc::new(Mutex::new(BTreeMap::new()));
        let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).expect("it was written");
        let (stop, stopped) = oneshot::channel();
        let (name, its_pods) = (name.to_owned(), Arc::clone(&pods));
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async move {
                let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
                let client = Client::try_from(config.expect("it is right")).expect("a client");
                let api = Api::namespaced(client, NAMESPACE);
                let kubelet = Kubelet {
                    name,
                    api,
                    slots,
                    pids: its_pods,
                    processes: BTreeMap::new(),
                    waiting: BTreeMap::new(),
                };
                tokio::select! {
                    _stopped = stopped => {}
                    () = kubelet.run() => {}
                }
            });
        };
        Self { pods, stop: Some(stop), thread: Some(std::thread::spawn(work)) }
    }

    /// The process of each pod that runs.
    pub(crate) fn pids(&self) -> BTreeMap<String, i32> {
        self.pods.lock().expect("nobody has panicked").clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Kubelet {
    async fn run(mut self) {
        let mut events = watcher(self.api.clone(), watcher::Config::default()).default_backoff().boxed();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(Event::Apply(pod) | Event::InitApply(pod))) => self.seen(pod).await,
                    Some(Ok(Event::Delete(pod))) => self.gone(&pod),
                    // The API server is away: pods run on.
                    Some(Ok(Event::Init | Event::InitDone) | Err(_)) | None => {}
                },
                _now = look.tick() => self.look().await,
            }
        }
    }

    async fn seen(&mut self, pod: Pod) {
        let uid = pod.uid().unwrap_or_default();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        if let Some(process) = self.processes.get_mut(&uid) {
            process.pod = pod;
        } else if node.as_deref() == Some(&self.name) {
            self.waiting.remove(&pod.name_any());
            let number = ADDRESSES.fetch_add(1, Ordering::SeqCst);
            let address = format!("127.77.{}.{}", number / 250, number % 250 + 1);
            self.processes.insert(uid, Process { pod, address, running: None, ends: None, restarts: 0 });
        } else if node.is_none() {
            self.waiting.insert(pod.name_any(), pod);
        }
    }

    /// A pod that is gone from the API server is not to run: somebody has deleted it by force.
    fn gone(&mut self, pod: &Pod) {
        self.waiting.remove(&pod.name_any());
        self.processes.remove(&pod.uid().unwrap_or_default());
        self.pids.lock().expect("nobody has panicked").remove(&pod.name_any());
    }

    async fn look(&mut self) {
        self.schedule().await;
        let (api, pids) = (self.api.clone(), Arc::clone(&self.pids));
        let mut ended = Vec::new();
        for (uid, process) in &mut self.processes {
            if process.step(&api, &pids).await {
                ended.push(uid.clone());
            }
        }
        for uid in ended {
            self.processes.remove(&uid);
        }
    }

    /// Takes pods without a node, the lowest ordinals first, or says that there is no room.
    async fn schedule(&mut self) {
        let room = self.slots.saturating_sub(self.processes.len());
        let mut waiting: Vec<Pod> = std::mem::take(&mut self.waiting).into_values().collect();
        waiting.sort_by_key(|pod| (pod.name_any().len(), pod.name_any()));
        for (number, pod) in waiting.into_iter().enumerate() {
            let name = pod.name_any();
            if pod.metadata.deletion_timestamp.is_some() {
                let now = DeleteParams::default().grace_period(0);
                let _gone = self.api.delete(&name, &now).await;
                continue;
            }
            if number < room {
                let target = json!({"apiVersion": "v1", "kind": "Node", "name": self.name});
                let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target});
                let bound: Result<Value, _> =
                    self.api.create_subresource("binding", &name, &PostParams::default(), &binding).await;
                if bound.is_err() {
                    self.waiting.insert(name, pod);
                }
                continue;
            }
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            let is_told =
                conditions.into_iter().flatten().any(|it| it.reason.as_deref() == Some("Unschedulable"));
            if !is_told {
                let condition = json!({
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room",
                    "lastTransitionTime": jiff::Timestamp::now().round(jiff::Unit::Second).expect("it is far away"),
                });
                tell(&self.api, &name, json!({"phase": "Pending", "conditions": [condition]})).await;
            }
            self.waiting.insert(name, pod);
        }
    }
}

impl Process {
    /// Goes on with the pod; `true` when it is over.
    async fn step(&mut self, api: &Api<Pod>, pids: &Mutex<BTreeMap<String, i32>>) -> bool {
        let name = self.pod.name_any();
        let has_ended = self.running.as_mut().is_none_or(Running::has_ended);
        if self.pod.metadata.deletion_timestamp.is_some() {
            if has_ended {
                pids.lock().expect("nobody has panicked").remove(&name);
                let own = Preconditions { uid: self.pod.uid(), ..Preconditions::default() };
                let now = DeleteParams::default().grace_period(0).preconditions(own);
                let deleted = api.delete(&name, &now).await;
                return deleted.is_ok()
                    || matches!(deleted, Err(kube::Error::Api(status)) if status.code != 503);
            }
            let grace = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(30).max(0);
            let grace = Duration::from_secs(grace.unsigned_abs());
            match self.ends {
                None => {
                    self.signal(Signal::TERM);
                    self.ends = Some(Instant::now() + grace);
                }
                Some(at) if at <= Instant::now() => self.signal(Signal::KILL),
                Some(_) => {}
            }
            return false;
        }
        if has_ended {
            let is_first = self.running.is_none();
            self.restarts += u32::from(!is_first);
            let running = Running::start(self.command());
            pids.lock().expect("nobody has panicked").insert(name.clone(), running.pid());
            self.running = Some(running);
            tell(api, &name, self.status()).await;
        }
        false
    }

    fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running {
            running.signal(signal);
        }
    }

    /// The command of its container, in a UTS namespace of its own.
    fn command(&self) -> Command {
        let spec = self.pod.spec.as_ref().expect("a pod has a spec");
        let container = &spec.containers[0];
        let mut environment: BTreeMap<String, String> = BTreeMap::new();
        for variable in container.env.iter().flatten() {
            let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
            let value = match field.map(|field| field.field_path.as_str()) {
                Some("metadata.name") => self.pod.name_any(),
                Some("status.podIP") => self.address.clone(),
                Some("spec.nodeName") => spec.node_name.clone().unwrap_or_default(),
                Some(_) | None => variable.value.clone().unwrap_or_default(),
            };
            environment.insert(variable.name.clone(), value);
        }
        let expand = |text: &String| {
            environment
                .iter()
                .fold(text.clone(), |text, (name, value)| text.replace(&format!("$({name})"), value))
        };
        let mut command = Command::new("unshare");
        command.args(["--uts", "--", "sh", "-c", "hostname \"$0\" && exec \"$@\""]);
        command.arg(self.pod.name_any()).arg(binary("phalanx"));
        command.args(container.args.iter().flatten().map(expand)).envs(&environment);
        command
    }

    fn status(&self) -> Value {
        let now = jiff::Timestamp::now().round(jiff::Unit::Second).expect("it is far away");
        let condition = |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": now});
        let container = json!({
            "name": "worker", "ready": true, "started": true, "restartCount": self.restarts, "image": "phalanx",
            "imageID": "phalanx", "state": {"running": {"startedAt": now}},
        });
        json!({
            "phase": "Running", "podIP": self.address, "podIPs": [{"ip": self.address}], "startTime": now,
            "conditions": (["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition)),
            "containerStatuses": [container],
        })
    }
}

async fn tell(api: &Api<Pod>, name: &str, status: Value) {
    let patch = Patch::Merge(json!({"status": status}));
    let _away = api.patch_status(name, &PatchParams::default(), &patch).await;
}
