//! A network that can be cut: some hosts, each a network namespace with a cable to a switch, and this
//! machine on the switch beside them. Needs rights that not every machine gives.

use std::process::{Command, Output};

/// The hosts and what joins them; gone when dropped.
#[derive(Debug)]
pub struct Network {
    name: String,
    /// Of the addresses, without the last number.
    subnet: String,
    hosts: Vec<Host>,
}

#[derive(Debug)]
struct Host {
    cut: Option<Cut>,
}

/// What a host is cut off from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Everything: its cable is out.
    All,
    /// This machine: what goes there is thrown away.
    Home,
    /// Another host, in the same way.
    Host(usize),
}

impl Network {
    /// A network of so many hosts.
    ///
    /// # Errors
    ///
    /// Why this machine allows none.
    pub fn lay(hosts: usize) -> Result<Self, String> {
        let pid = std::process::id();
        let subnet = format!("10.{}.{}", 64 + pid / 250 % 64, pid % 250);
        let mut network = Self { name: format!("phx{pid}"), subnet, hosts: Vec::new() };
        let switch = network.name.clone();
        ip(&["link", "add", &switch, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{}/24", network.home()), "dev", &switch])?;
        ip(&["link", "set", &switch, "up"])?;
        for host in 0..hosts {
            network.hosts.push(Host { cut: None });
            network.connect(host)?;
        }
        Ok(network)
    }

    fn connect(&self, host: usize) -> Result<(), String> {
        let (space, cable) = (self.namespace(host), self.cable(host));
        ip(&["netns", "add", &space])?;
        ip(&["link", "add", &cable, "type", "veth", "peer", "name", "cable", "netns", &space])?;
        ip(&["link", "set", &cable, "master", &self.name, "up"])?;
        let address = format!("{}/24", self.address(host));
        ip(&["-n", &space, "addr", "add", &address, "dev", "cable"])?;
        ip(&["-n", &space, "link", "set", "cable", "up"])?;
        ip(&["-n", &space, "link", "set", "lo", "up"])
    }

    /// The address of this machine.
    pub fn home(&self) -> String {
        format!("{}.254", self.subnet)
    }

    /// `program`, to be started on a host.
    pub fn command(&self, host: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).arg(program);
        command
    }

    /// Cuts a host off, in the place of an earlier cut.
    ///
    /// # Panics
    ///
    /// Where the system refuses it.
    pub fn cut(&mut self, host: usize, from: Cut) {
        self.mend(host);
        self.change(host, from, ["down", "add"]);
        self.hosts[host].cut = Some(from);
    }

    /// Connects a host again; that it was not cut off is no error.
    ///
    /// # Panics
    ///
    /// Where the system refuses it.
    pub fn mend(&mut self, host: usize) {
        if let Some(from) = self.hosts[host].cut.take() {
            self.change(host, from, ["up", "del"]);
        }
    }

    fn change(&self, host: usize, from: Cut, [cable, route]: [&str; 2]) {
        let space = self.namespace(host);
        let blackhole =
            |address: String| ip(&["-n", &space, "route", route, "blackhole", &format!("{address}/32")]);
        let done = match from {
            Cut::All => ip(&["link", "set", &self.cable(host), cable]),
            Cut::Home => blackhole(self.home()),
            Cut::Host(other) => blackhole(self.address(other)),
        };
        done.expect("what was laid can be cut and mended");
    }

    fn address(&self, host: usize) -> String {
        format!("{}.{}", self.subnet, host + 1)
    }

    fn namespace(&self, host: usize) -> String {
        format!("{}-{host}", self.name)
    }

    /// The end of a host's cable at the switch.
    fn cable(&self, host: usize) -> String {
        format!("{}-{host}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in 0..self.hosts.len() {
            let _ = ip(&["netns", "del", &self.namespace(host)]);
        }
        let _ = ip(&["link", "del", &self.name]);
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    let said = |Output { status, stderr, .. }: Output| match status.success() {
        true => Ok(()),
        false => Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&stderr).trim())),
    };
    Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}")).and_then(said)
}
