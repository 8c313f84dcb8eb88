//! Wrong files, each with a message that names the place and what was expected,
//! exit code 2, and nothing half-written.

use phalanx_tests::{Home, Job, Running, examples};

/// Runs the job file `toml` and expects it to be refused, with all of `words` in
/// what is said.
fn refused(home: &Home, toml: &str, words: &[&str]) {
    let file = home.write("job.toml", toml);
    let file = file.to_str().expect("temporary paths are UTF-8");
    let ended = home.phalanx(&["run", file, "--workers", "1"]);
    assert_eq!(ended.code, Some(2), "{toml}\n{ended:#?}");
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is missing in: {}", ended.stderr);
    }
    let left = walk(&home.path().join("store"));
    assert!(left.is_empty(), "nothing half-written: {left:?}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| entry.path())
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}

/// A job over a CSV file with this content, predicting `y`.
fn over_csv(home: &Home, csv: &str, extra: &str) -> String {
    let path = home.write("data.csv", csv);
    format!(
        "name = \"bad\"\n[data]\ntarget = \"y\"\n{extra}[data.csv]\npath = {path:?}\n[model.linear]\n\
         [train]\nbatch_size = 4\nlanes = 4\nsteps = 2\nlearning_rate = 0.1\n"
    )
}

fn rows(row: impl Fn(usize) -> String) -> String {
    let lines: Vec<_> = (0..40).map(row).collect();
    format!("x,y\n{}\n", lines.join("\n"))
}

#[test]
fn a_job_file_that_is_not_there_is_named() {
    let home = Home::new();
    let ended = home.phalanx(&["run", "absent.toml"]);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("absent.toml"), "{}", ended.stderr);
    assert!(!home.path().exists(), "no home is made for nothing");
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_line() {
    let home = Home::new();
    refused(&home, "name = \"x\"\n[data\n", &["job.toml:2"]);
    assert!(!home.path().exists(), "no home is made for a wrong job");
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_key() {
    let toml = Job::mlp().to_toml().replace("lanes = 4", "lanez = 4");
    refused(&Home::new(), &toml, &["job.toml:", "lanez", "lanes"]);
}

#[test]
fn lanes_that_do_not_divide_the_batch_are_refused() {
    let toml = Job::mlp().to_toml().replace("lanes = 4", "lanes = 5");
    refused(&Home::new(), &toml, &["job.toml:", "lanes", "48 samples"]);
}

#[test]
fn every_mistake_of_a_job_file_is_told_at_once() {
    let toml =
        Job::mlp().to_toml().replace("lanes = 4", "lanes = 5").replace("hidden = [16]", "hiden = [16]");
    refused(&Home::new(), &toml, &["lanes", "hiden"]);
}

#[test]
fn a_missing_data_file_is_named() {
    let toml = Job::mlp().to_toml().replace("adult.csv", "absent.csv");
    refused(&Home::new(), &toml, &["absent.csv"]);
}

#[test]
fn an_absent_target_is_named_with_the_columns_that_are_there() {
    let home = Home::new();
    let toml = over_csv(&home, "x,z\n1,2\n", "");
    refused(&home, &toml, &["data.csv", "`y`", "`z`"]);
}

#[test]
fn text_in_a_numeric_column_is_refused_with_its_line_and_column() {
    let home = Home::new();
    let csv =
        rows(|i| if i == 20 { "many,yes".to_owned() } else { format!("{i}.5,{}", ["yes", "no"][i % 2]) });
    refused(&home, &over_csv(&home, &csv, ""), &["data.csv", "line 22", "`x`", "many"]);
}

#[test]
fn nan_in_the_target_is_refused_with_its_line() {
    let home = Home::new();
    let csv = rows(|i| if i == 20 { "1,nan".to_owned() } else { format!("{i},{i}.5") });
    let toml = over_csv(&home, &csv, "objective = \"regression\"\n");
    refused(&home, &toml, &["data.csv", "line 22", "`y`"]);
}

#[test]
fn an_empty_data_set_is_refused() {
    let home = Home::new();
    refused(&home, &over_csv(&home, "x,y\n", ""), &["data.csv", "no rows"]);
    refused(&home, &over_csv(&home, "", ""), &["data.csv", "empty"]);
}

#[test]
fn a_target_of_one_class_is_refused() {
    let home = Home::new();
    refused(&home, &over_csv(&home, &rows(|i| format!("{i},yes")), ""), &["data.csv", "`y`", "yes"]);
}

#[test]
fn a_ragged_row_is_refused_with_its_line() {
    let home = Home::new();
    let csv = rows(|i| if i == 20 { "1,2,3".to_owned() } else { format!("{i},{}", ["yes", "no"][i % 2]) });
    refused(&home, &over_csv(&home, &csv, ""), &["data.csv", "line 22"]);
}

#[test]
fn a_truncated_parquet_file_is_refused() {
    let home = Home::new();
    let whole = std::fs::read(examples().join("data/mnist.parquet")).expect("the example is there");
    let cut = home.folder().join("cut.parquet");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("the temporary folder can be written");
    let toml = Job::cnn().to_toml();
    let path = examples().join("data/mnist.parquet");
    let toml = toml.replace(path.to_str().expect("UTF-8"), cut.to_str().expect("UTF-8"));
    refused(&home, &toml, &["cut.parquet"]);
}

#[test]
fn a_gate_that_fails_ends_the_job_with_its_reason_and_no_model() {
    let home = Home::new();
    let job = Job::mlp().with(
        "[evaluate]\ngates = [\"accuracy >= 0.999\"]\n[register]\nmodel = \"census\"\nalias = \"best\"\n",
    );
    let ended = home.start(&job, 1).wait();
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let said = ended.stdout + &ended.stderr;
    assert!(said.contains("accuracy >= 0.999"), "{said}");
    let models = home.phalanx(&["models", "--json"]);
    assert_eq!(models.stdout.trim(), "[]", "{models:#?}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be had");
    let taken_addr = taken.local_addr().expect("it is bound");
    let address = taken_addr.to_string();
    let home = Home::new();
    let mut command = std::process::Command::new(phalanx_tests::binary("phalanx"));
    command.args(["coordinator", "--listen", &address]);
    command.args(["--state", &format!("{}", home.folder().join("state.redb").display())]);
    command.args(["--store", &format!("file://{}", home.folder().join("store").display())]);
    let ended = Running::start(command).wait();
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains(&taken_addr.port().to_string()), "{}", ended.stderr);
}
