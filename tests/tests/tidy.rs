//! The shape of the code: what ARCHITECTURE.md and the style say about files,
//! functions, layers and scripts, checked on the sources themselves. Reads files
//! and compiles nothing.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use syn::{spanned::Spanned as _, visit::Visit};

/// The most lines in a source file, its tests left out.
const FILE_LINES_MAX: usize = 500;

/// The most lines in a function.
const FUNCTION_LINES_MAX: usize = 70;

/// The most lines in `main.rs`.
const MAIN_LINES_MAX: usize = 80;

/// The most lines in a script.
const SCRIPT_LINES_MAX: usize = 50;

/// What a crate of a folder must not depend on, tests included. A name that ends in `*` is a prefix.
const FORBIDDEN_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("common/protocol", &["phalanx-*", "burn*", "arrow*", "axum*", "tokio", "object_store", "rand"]),
    ("common", &["phalanx-core", "phalanx-server", "burn*", "arrow*", "parquet", "etcd-client"]),
    ("common", WORKER_CRATES),
    ("coordinator/core", &["tokio*", "axum*", "reqwest", "object_store", "rand", "redb", "phalanx-server"]),
    ("coordinator", &["burn*", "arrow*", "parquet", "cudarc", "phalanx"]),
    ("coordinator", WORKER_CRATES),
    ("coordinator/server", &["phalanx-member", "kube*", "k8s-openapi"]),
    (
        "coordinator/kubernetes",
        &["phalanx-core", "phalanx-storage", "phalanx-member", "axum*", "redb", "etcd-client"],
    ),
    ("worker/member", &["phalanx-storage", "phalanx-telemetry", "phalanx-tls", "burn*", "tokio*", "tarpc"]),
    ("worker/member", &["tracing*", "rand", "fastrand", "phalanx-data", "phalanx-evaluate"]),
    ("worker/member", &["phalanx-collective", "phalanx-train", "phalanx-agent"]),
    ("worker", &["phalanx-core", "phalanx-server", "phalanx", "axum", "redb", "etcd-client"]),
    ("worker/evaluate", &["burn*", "arrow*", "tokio*", "phalanx-storage", "phalanx-data", "phalanx-train"]),
    (
        "worker/assess",
        &["burn*", "arrow*", "tokio*", "phalanx-storage", "phalanx-data", "phalanx-train", "phalanx-agent"],
    ),
    (
        "worker/report",
        &["burn*", "arrow*", "tokio*", "phalanx-storage", "phalanx-data", "phalanx-train", "phalanx-agent"],
    ),
    ("worker/collective", &["phalanx-protocol", "phalanx-storage", "phalanx-telemetry", "phalanx-data"]),
    ("worker/collective", &["phalanx-train", "phalanx-evaluate", "phalanx-agent", "burn*", "tokio*"]),
    ("common/tls", &["phalanx-*", "tokio*"]),
    ("worker/data", &["burn*", "phalanx-train", "phalanx-agent", "phalanx-collective"]),
    ("cli", &["phalanx-core", "phalanx-collective", "burn*", "arrow*", "redb", "tarpc"]),
];

const WORKER_CRATES: &[&str] = &[
    "phalanx-collective",
    "phalanx-data",
    "phalanx-evaluate",
    "phalanx-assess",
    "phalanx-report",
    "phalanx-train",
    "phalanx-agent",
];

/// What only the tests of a folder may depend on: the simulation runs the workers' decisions.
const FOR_TESTS_ALONE: &[(&str, &[&str])] = &[("coordinator/core", &["phalanx-member"])];

/// What the code of a folder must not say, comments and tests left out.
const FORBIDDEN_WORDS: &[(&str, &[&str])] = &[
    ("coordinator/core/src", PURE),
    (
        "common/protocol/src",
        &["tokio::", "std::fs", "Instant::now", "SystemTime", "rand::", "thread_rng", "TcpStream"],
    ),
    ("worker/evaluate/src", PURE),
    ("worker/assess/src", PURE),
    ("coordinator/kubernetes/src/scaling", PURE),
    ("worker/member/src", PURE),
    ("worker/report/src", PURE),
    ("worker/train/src", &["tokio::", "std::fs", "std::net", "TcpStream", "tarpc", "SystemTime"]),
];

const PURE: &[&str] = &[
    "tokio::",
    "std::net",
    "std::fs",
    "std::env",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "rand::",
    "thread_rng",
    "println!",
    "HashMap",
    "HashSet",
];

/// What no source says: work that is left for later belongs to an issue.
const UNFINISHED: &[&str] = &["todo!(", "unimplemented!(", "TODO", "FIXME", "XXX"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' crate lies in the workspace").to_owned()
}

/// All files below `folder` with this ending, sorted, build outputs left out.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every source with its path from the root.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let folders = ["common", "coordinator", "worker", "cli", "tests", "examples"];
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("it lies in the workspace").to_string_lossy().into_owned();
        (name, text(&path))
    };
    folders.iter().flat_map(|folder| files(&root.join(folder), "rs")).map(read).collect()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of a source before its tests, which stand last.
fn without_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests {").map_or(text, |tests| &text[..tests])
}

/// Fails with all findings at once.
#[track_caller]
fn expect_none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn every_source_opens_with_its_purpose() {
    let bare = sources().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    expect_none(bare.map(|(name, _)| format!("{name}: begins without `//!`")).collect());
}

#[test]
fn no_source_is_too_long() {
    let long = |(name, text): (String, String)| {
        let limit = if name.ends_with("main.rs") { MAIN_LINES_MAX } else { FILE_LINES_MAX };
        let lines = without_tests(&text).lines().count();
        let is_test_crate = name.contains("/tests/") && name.ends_with("main.rs");
        (lines > limit && !is_test_crate).then(|| format!("{name}: {lines} lines, at most {limit}"))
    };
    expect_none(sources().into_iter().filter_map(long).collect());
}

#[test]
fn no_function_is_too_long() {
    struct Functions<'a> {
        name: &'a str,
        long: Vec<String>,
    }

    impl Functions<'_> {
        fn check(&mut self, signature: &syn::Signature, block: &syn::Block) {
            let (begin, end) = (signature.span().start().line, block.span().end().line);
            let lines = end - begin + 1;
            if lines > FUNCTION_LINES_MAX {
                let function = &signature.ident;
                self.long.push(format!("{}:{begin}: `{function}` has {lines} lines", self.name));
            }
        }
    }

    impl<'ast> Visit<'ast> for Functions<'_> {
        fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
            self.check(&function.sig, &function.block);
            syn::visit::visit_item_fn(self, function);
        }

        fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
            self.check(&function.sig, &function.block);
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    let long = sources().into_iter().flat_map(|(name, text)| {
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut functions = Functions { name: &name, long: Vec::new() };
        functions.visit_file(&file);
        functions.long
    });
    expect_none(long.collect());
}

#[test]
fn nothing_is_left_unfinished() {
    let own = "tests/tests/tidy.rs";
    let unfinished = sources().into_iter().filter(|(name, _)| name != own).flat_map(|(name, text)| {
        let words = UNFINISHED.iter().filter(|word| text.contains(**word));
        words.map(|word| format!("{name}: says `{word}`")).collect::<Vec<_>>()
    });
    expect_none(unfinished.collect());
}

#[test]
fn layers_do_not_depend_on_what_they_must_not_know() {
    let root = root();
    let mut findings = Vec::new();
    for manifest in files(&root, "toml").into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let folder = manifest.parent().unwrap().strip_prefix(&root).unwrap().to_owned();
        let everywhere = dependencies(&manifest, &["dependencies", "build-dependencies", "dev-dependencies"]);
        let outside_tests = dependencies(&manifest, &["dependencies", "build-dependencies"]);
        let rules = FORBIDDEN_DEPENDENCIES.iter().map(|rule| (rule, &everywhere));
        for ((layer, forbidden), names) in
            rules.chain(FOR_TESTS_ALONE.iter().map(|rule| (rule, &outside_tests)))
        {
            if !folder.starts_with(layer) {
                continue;
            }
            let is_forbidden = |name: &&String| forbidden.iter().any(|pattern| matches(pattern, name));
            let found = names.iter().filter(is_forbidden);
            findings.extend(found.map(|name| format!("{}: depends on {name}", folder.display())));
        }
    }
    expect_none(findings);
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}

/// Names of all crates that a manifest names for these kinds of use.
fn dependencies(manifest: &Path, kinds: &[&str]) -> BTreeSet<String> {
    let table: toml::Table =
        text(manifest).parse().unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let targets = table.get("target").and_then(|targets| targets.as_table()).into_iter().flatten();
    let all = targets.filter_map(|(_, target)| target.as_table()).chain([&table]);
    let tables = all.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    tables.flat_map(|table| table.keys().cloned()).collect()
}

#[test]
fn pure_code_knows_no_clock_no_files_and_no_chance() {
    let mut findings = Vec::new();
    for (name, text) in sources() {
        for (folder, words) in FORBIDDEN_WORDS {
            if !name.starts_with(folder) || name.ends_with("tests.rs") || name.contains("/tests/") {
                continue;
            }
            for (number, line) in without_tests(&text).lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let said = words.iter().filter(|word| code.contains(**word));
                findings.extend(said.map(|word| format!("{name}:{}: says `{word}`", number + 1)));
            }
        }
    }
    expect_none(findings);
}

/// The first numbered list below `heading`, on one line.
fn list_below(heading: &str, text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_start_matches("//!").trim());
    let list = lines.skip_while(|line| *line != heading).skip_while(|line| !line.starts_with("1. "));
    list.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_architecture_states_the_invariants_that_the_simulation_checks() {
    let root = root();
    let stated = list_below("## What always holds", &text(&root.join("ARCHITECTURE.md")));
    let checked = list_below("# Invariants", &text(&root.join("coordinator/core/src/lib.rs")));
    assert!(!checked.is_empty());
    assert_eq!(stated, checked);
}

#[test]
fn scripts_are_short_and_stop_at_errors() {
    let root = root();
    let mut scripts = files(&root.join("scripts"), "sh");
    scripts.push(root.join(".ci/run"));
    let findings = scripts.iter().flat_map(|path| {
        let text = text(path);
        let lines = text.lines().count();
        let long = (lines > SCRIPT_LINES_MAX).then(|| format!("{lines} lines, at most {SCRIPT_LINES_MAX}"));
        let lax = (!text.contains("\nset -euo pipefail\n")).then(|| "no `set -euo pipefail`".to_owned());
        long.into_iter().chain(lax).map(|what| format!("{}: {what}", path.display())).collect::<Vec<_>>()
    });
    expect_none(findings.collect());
}
