//! The worker binary as a process: how it ends, and what it says of wrong arguments.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

const BINARY: &str = env!("CARGO_BIN_EXE_own-model");

/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";

/// The longest that a test waits for anything.
const DEADLINE: Duration = Duration::from_secs(20);

fn worker(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["--coordinator", NOWHERE, "--listen", "127.0.0.1:0"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        if let Some(found) = look() {
            return found;
        }
        sleep(Duration::from_millis(20));
    }
    panic!("not within {DEADLINE:?}: {what}");
}

fn ended(child: &mut Child) -> ExitStatus {
    eventually("the worker ends", || child.try_wait().expect("it is our child"))
}

fn signal(pid: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(status.expect("there is a kill").success());
}

/// Waits until the worker says that it waits for its coordinator. It goes on saying things
/// to what is given back.
fn wait_for_start(child: &mut Child) -> impl Sized + use<> {
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut said = String::new();
    while !said.contains("waiting for the coordinator") {
        assert_ne!(lines.read_line(&mut said).expect("it says text"), 0, "it ended: {said}");
    }
    lines
}

#[test]
fn it_leaves_when_it_is_told_to_even_if_there_is_no_coordinator() {
    for name in ["-TERM", "-INT"] {
        let mut child = worker(&[]).spawn().expect("it starts");
        let _said = wait_for_start(&mut child);
        signal(child.id(), name);
        assert_eq!(ended(&mut child).code(), Some(0), "{name}");
    }
}

#[test]
fn it_dies_with_its_parent() {
    let script = format!("{BINARY} --coordinator {NOWHERE} --die-with-parent=$$ 2>/dev/null & echo $!; wait");
    let mut parent =
        Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().expect("sh starts");
    let mut pid = String::new();
    let mut said = BufReader::new(parent.stdout.take().expect("it is piped"));
    said.read_line(&mut pid).expect("it says the process id");
    let stat = Path::new("/proc").join(pid.trim()).join("stat");
    // Where nobody reaps it, it stays as a zombie.
    let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(lives());
    signal(parent.id(), "-KILL");
    parent.wait().expect("it is our child");
    eventually("the worker is gone", || (!lives()).then_some(()));
}

#[test]
fn a_port_in_use_is_told_with_a_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("it is bound").to_string();
    for flag in ["--listen", "--metrics"] {
        let mut command = Command::new(BINARY);
        command.args(["--coordinator", NOWHERE, flag, &addr]).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        assert_eq!(ended(&mut child).code(), Some(2), "{flag}");
        let mut said = String::new();
        child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("it says text");
        assert!(said.contains(&addr) && said.contains(":0"), "{said}");
    }
}

#[test]
fn wrong_flags_are_wrong_usage() {
    let mut child = worker(&["--threads", "none"]).spawn().expect("it starts");
    assert_eq!(ended(&mut child).code(), Some(2));
}
