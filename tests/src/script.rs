//! Scripts that test something by themselves, and end with 77 where they lack what they need.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// How a script says that it lacks something.
const SKIPPED: i32 = 77;

/// The root of the workspace.
///
/// # Panics
///
/// Where there is none.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

/// Runs a script of `scripts/` and gives what it prints. `None`, and a line that says so, where it
/// lacks something.
///
/// # Panics
///
/// Where it fails.
pub fn script(name: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(root().join("scripts").join(name));
    command.args(arguments).stdin(Stdio::null());
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if status.code() == Some(SKIPPED) {
        eprintln!("SKIPPED: {}", stderr.lines().last().unwrap_or(name));
        return None;
    }
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    Some(stdout)
}
