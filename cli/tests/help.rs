//! Every page of help, as users read it.

use std::process::{Command, Output};

fn phalanx(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phalanx"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PHALANX_") || name == "COLUMNS" {
            command.env_remove(name);
        }
    }
    command.args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("help is UTF-8")
}

const COMMANDS: &[&str] = &[
    "run",
    "resume",
    "check",
    "jobs",
    "job",
    "follow",
    "cancel",
    "models",
    "model",
    "alias",
    "predict",
    "evaluate",
    "compare",
    "cross-validate",
    "learning-curve",
    "report",
    "submit",
    "workers",
    "data",
    "gc",
    "audit",
    "coordinator",
    "worker",
    "bench",
    "completions",
];

#[test]
fn the_first_page_lists_every_command() {
    let page = text(&phalanx(&["--help"]).stdout);
    for command in COMMANDS {
        assert!(page.contains(&format!("\n  {command} ")), "{command}");
    }
    insta::assert_snapshot!("phalanx", page);
}

#[test]
fn every_command_has_a_page() {
    for command in COMMANDS {
        let output = phalanx(&[command, "--help"]);
        assert!(output.status.success(), "{command}");
        insta::assert_snapshot!(*command, text(&output.stdout));
    }
}

#[test]
fn wrong_usage_ends_with_two_and_says_what_is_expected() {
    for (arguments, expected) in [
        (&["run"][..], "<JOB>"),
        (&["run", "job.toml", "--set", "epochs"][..], "KEY=VALUE"),
        (&["run", "job.toml", "--workers", "0"][..], "--workers"),
        (&["alias", "mnist", "champion", "first"][..], "<VERSION>"),
        (&["gc", "--older-than", "5m"][..], "an hour at least"),
        (&["nonsense"][..], "nonsense"),
    ] {
        let output = phalanx(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = phalanx(&["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("resume"), "{shell}");
    }
}

#[test]
fn a_wrong_job_file_makes_no_home() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (job, home) = (folder.path().join("job.toml"), folder.path().join("home"));
    std::fs::write(&job, "name = \"x\"\n[train]\nepoch = 3\n").expect("it can be written");
    let [job, home_text] = [&job, &home].map(|path| path.to_str().expect("temporary paths are UTF-8"));
    let output = phalanx(&["run", job, "--home", home_text]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("{job}:3:1: error: ")), "{said}");
    assert!(!home.exists());
}

#[test]
fn a_home_that_is_not_there_is_wrong_usage() {
    let output = phalanx(&["jobs", "--home", "/nonexistent/home"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("phalanx run JOB"), "{said}");
}
