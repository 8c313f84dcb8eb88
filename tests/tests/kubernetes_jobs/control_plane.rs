//! A real Kubernetes without nodes: etcd, API server and controller manager as processes, each of which can be ended and
//! started again.

use std::{fs, path::PathBuf, process::Command};

use phalanx_tests::{Deadline, Ended, Etcd, Running, Signal, eventually, free_addresses, script};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The namespace that everything is in.
pub(crate) const NAMESPACE: &str = "phalanx";

/// A control plane with the resources of `k8s/base` applied, ended and forgotten when dropped.
pub(crate) struct ControlPlane {
    folder: TempDir,
    etcd: Etcd,
    binaries: PathBuf,
    kubectl: PathBuf,
    address: String,
    token: String,
    server: Option<Running>,
    manager: Option<Running>,
}

impl ControlPlane {
    /// Starts one. `None`, and a line that says so, where something is missing for it.
    pub(crate) fn start() -> Option<Self> {
        let path = |printed: Option<String>| printed.map(|path| PathBuf::from(path.trim()));
        let binaries = path(script("kubernetes.sh", &["--cached"]))?;
        let kubectl = path(script("kubectl.sh", &[]))?;
        let etcd = Etcd::start(1)?;
        let [address] = free_addresses();
        let folder = TempDir::new().expect("a temporary folder can be made");
        let token = "of-the-admin".to_owned();
        let users = format!("{token},admin,admin,system:masters\n");
        fs::write(folder.path().join("tokens.csv"), users).expect("it can be written");
        let mut openssl = Command::new("openssl");
        openssl.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]);
        openssl.arg(folder.path().join("accounts.key"));
        assert_eq!(Running::start(openssl).wait().code, Some(0), "openssl makes a key");
        let mut plane = Self { folder, etcd, binaries, kubectl, address, token, server: None, manager: None };
        plane.start_server();
        plane.start_manager();
        plane.apply_base();
        Some(plane)
    }

    /// Starts the API server and waits until it is ready.
    pub(crate) fn start_server(&mut self) {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let (host, port) = self.address.split_once(':').expect("an address has a port");
        let mut command = Command::new(self.binaries.join("kube-apiserver"));
        command.args(["--etcd-servers", &format!("http://{}", self.etcd.endpoints()[0])]);
        command.args(["--bind-address", host, "--secure-port", port, "--authorization-mode", "RBAC"]);
        command.args(["--cert-dir", &file("certificates"), "--token-auth-file", &file("tokens.csv")]);
        command.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
        command.args(["--service-account-key-file", &file("accounts.key")]);
        command.args(["--service-account-signing-key-file", &file("accounts.key")]);
        command.args(["--service-cluster-ip-range", "10.0.0.0/24"]);
        self.server = Some(Running::start(command));
        fs::write(self.kubeconfig(), kubeconfig(&self.address, &self.token)).expect("it can be written");
        eventually("the API server", Deadline::default(), || {
            (self.try_kubectl(&["get", "--raw", "/readyz"]).code == Some(0)).then_some(())
        });
    }

    /// Starts the controller manager.
    pub(crate) fn start_manager(&mut self) {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = Command::new(self.binaries.join("kube-controller-manager"));
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(["--port", "0", "--secure-port", "0"]);
        command.args(["--service-account-private-key-file", &file("accounts.key")]);
        // Nodes here do not tell that they are alive, and nobody takes a pod from one for that.
        command.args(["--use-service-account-credentials", "--leader-elect=false"]);
        command.args(["--controllers", "*,-nodelifecycle,-podgc"]);
        self.manager = Some(Running::start(command));
    }

    /// `kill -9` of API server and controller manager.
    pub(crate) fn kill(&mut self) {
        for process in [self.server.take(), self.manager.take()].into_iter().flatten() {
            process.signal(Signal::KILL);
            process.wait();
        }
    }

    /// A kubeconfig that may do anything.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// A kubeconfig of a service account.
    pub(crate) fn kubeconfig_of(&self, account: &str) -> PathBuf {
        let token = self.kubectl(&["create", "token", account, "--duration", "24h"]);
        let path = self.folder.path().join(format!("kubeconfig-of-{account}"));
        fs::write(&path, kubeconfig(&self.address, token.trim())).expect("it can be written");
        path
    }

    /// Runs kubectl as an admin and gives what it prints.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let ended = self.try_kubectl(args);
        assert_eq!(ended.code, Some(0), "kubectl {args:?}: {}", ended.stderr);
        ended.stdout
    }

    /// [`kubectl`](Self::kubectl) where it may fail.
    pub(crate) fn try_kubectl(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(["--namespace", NAMESPACE]).args(args);
        command.env("HOME", self.folder.path());
        Running::start(command).wait()
    }

    /// `kubectl apply` of these objects.
    pub(crate) fn try_apply(&self, objects: &[Value]) -> Ended {
        let path = self.folder.path().join("apply.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        fs::write(&path, list.to_string()).expect("it can be written");
        let path = path.to_str().expect("temporary paths are UTF-8");
        // The validation is the server's: the old one knows less than kubectl asks it for.
        self.try_kubectl(&["apply", "--validate=false", "--filename", path])
    }

    /// [`try_apply`](Self::try_apply) where it must succeed.
    pub(crate) fn apply(&self, objects: &[Value]) {
        let ended = self.try_apply(objects);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }

    /// An object, if it is there and the API server answers.
    pub(crate) fn get(&self, what: &str) -> Option<Value> {
        serde_json::from_str(&self.try_kubectl(&["get", what, "--output", "json"]).stdout).ok()
    }

    /// Objects of a kind.
    pub(crate) fn list(&self, what: &str) -> Vec<Value> {
        self.get(what).and_then(|list| list["items"].as_array().cloned()).unwrap_or_default()
    }

    /// Every object of `k8s/base`, its definitions as 1.20 takes them: without rules in CEL.
    fn base(&self) -> Vec<Value> {
        let folder = phalanx_tests::root().join("k8s/base");
        let rendered = self.kubectl(&["kustomize", folder.to_str().expect("its path is UTF-8")]);
        // 1.20 knows budgets by their older name.
        let rendered = rendered.replace("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n");
        let path = self.folder.path().join("base.yaml");
        fs::write(&path, rendered).expect("it can be written");
        let path = path.to_str().expect("temporary paths are UTF-8");
        let json = self.kubectl(&[
            "create",
            "--dry-run=client",
            "--validate=false",
            "--output",
            "json",
            "--filename",
            path,
        ]);
        let documents = serde_json::Deserializer::from_str(&json).into_iter::<Value>();
        documents.map(|object| object.expect("kubectl prints JSON")).collect()
    }

    /// Applies what is not a pod or makes some, and is known to 1.20.
    fn apply_base(&self) {
        let known =
            ["Namespace", "ServiceAccount", "Role", "RoleBinding", "CustomResourceDefinition", "Service"];
        // Without a namespace nothing can be in it.
        let mut objects = self.base();
        objects.retain(|object| known.iter().any(|kind| object["kind"] == *kind));
        objects.sort_by_key(|object| object["kind"] != "Namespace");
        for object in &mut objects {
            let rules = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations";
            if let Some(rules) = object.pointer_mut(rules) {
                *rules = Value::Null;
            }
        }
        self.apply(&objects);
        eventually("the resource", Deadline::default(), || {
            (self.try_kubectl(&["get", "tj"]).code == Some(0)).then_some(())
        });
        eventually("the account", Deadline::default(), || self.get("serviceaccount/coordinator").map(drop));
    }

    /// The pool of processors as in `k8s/base`, changed by `change`.
    pub(crate) fn pool(&self, change: impl Fn(&mut Value)) -> Value {
        let mut objects = self.base();
        objects.retain(|object| object["kind"] == "StatefulSet");
        let mut pool = objects.pop().expect("the base has a pool");
        change(&mut pool);
        pool
    }
}

fn kubeconfig(address: &str, token: &str) -> String {
    let cluster = json!({"server": format!("https://{address}"), "insecure-skip-tls-verify": true});
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "user", "namespace": NAMESPACE}}],
        "current-context": "it",
    })
    .to_string()
}
