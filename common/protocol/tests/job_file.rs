//! A job file as users meet it: text in, mistakes with their places out.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use phalanx_protocol::spec::{JOB_FILE_BYTES_MAX, JobFile, MISTAKES_MAX, Mistakes};
use proptest::prelude::*;

fn parse(text: &str, settings: &[&str]) -> Result<JobFile, Mistakes> {
    let overrides: Vec<(String, String)> = settings
        .iter()
        .filter_map(|setting| setting.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    JobFile::parse(text, Path::new("/jobs/job.toml"), &overrides)
}

/// Expects exactly these lines, each from its place on; a line of `expected` may end early.
#[track_caller]
fn check(text: &str, settings: &[&str], expected: &[&str]) {
    let printed = parse(text, settings).expect_err("there are mistakes").to_string();
    let lines: Vec<&str> = printed.lines().map(|line| line.trim_start_matches("/jobs/")).collect();
    let fits = lines.len() == expected.len()
        && lines.iter().zip(expected).all(|(line, expected)| line.starts_with(expected));
    assert!(fits, "expected {expected:#?}\n     got {lines:#?}");
}

const JOB: &str = "\
name = \"digits\"

[data]
target = \"label\"
shape = [1, 28, 28]

[data.parquet]
path = \"digits.parquet\"

[model.cnn]

[train]
batch_size = 128
epochs = 3
learning_rate = 0.01
";

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let entries = fs::read_dir(folder).expect("there is a folder of examples");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect()
}

#[test]
fn every_example_is_right_and_finds_its_data() {
    let examples = examples();
    assert!(examples.len() >= 4, "{examples:?}");
    for path in examples {
        let text = fs::read_to_string(&path).expect("it can be read");
        let mut job = JobFile::parse(&text, &path, &[]).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        for data in job.spec.data.paths_mut() {
            assert!(data.is_file(), "{} is missing", data.display());
        }
    }
}

#[test]
fn paths_of_data_are_relative_to_the_job_file() {
    let path = |text: &str, at: &str| {
        let mut job = JobFile::parse(text, Path::new(at), &[]).expect("it is right");
        job.spec.data.paths_mut().next().expect("it has a source").clone()
    };
    assert_eq!(path(JOB, "/jobs/a/job.toml"), Path::new("/jobs/a/digits.parquet"));
    assert_eq!(
        path(&JOB.replace("digits.p", "/data/digits.p"), "/jobs/job.toml"),
        Path::new("/data/digits.parquet")
    );
    assert!(path(JOB, "job.toml").is_absolute());
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place() {
    let text = "\
name = \"My Job\"
colour = \"red\"

[data]
target = 7
shape = [1, 28]
parquet = { path = \"digits.parquet\" }

[model.cnn]
kernle = 4
channels = [16, \"x\"]

[train]
batch_size = 128
lanes = 5
epochs = -1
optimizer = { kind = \"adma\" }

[evaluate]
gates = [\"accuracy >= 0.9\", \"accuracy\", \"acuracy > 0.5\"]

[register]
alias = \"best\"
";
    check(
        text,
        &[],
        &[
            "job.toml:1:8: `name` must be",
            "job.toml:2:1: unknown key `colour`; expected",
            "job.toml:5:10: `data.target` must be a text, got the number 7",
            "job.toml:6:9: `data.shape` must be a list of 3 whole numbers, got a list of 2",
            "job.toml:10:1: unknown key `kernle` in [model.cnn]; did you mean `kernel`?",
            "job.toml:10:10: `model.cnn.kernel` must be an odd number",
            "job.toml:11:17: `model.cnn.channels` must be a whole number, got the text \"x\"",
            "job.toml:13:1: missing key `learning_rate`",
            "job.toml:15:9: `train.lanes` must divide",
            "job.toml:16:10: `train.epochs` must be a whole number from 0 to 4294967295, got -1",
            "job.toml:17:22: `train.optimizer.kind` must be `sgd`, `adam`",
            "job.toml:20:29: `evaluate.gates` does not fit: `accuracy` is no gate",
            "job.toml:20:41: `evaluate.gates` names the unknown metric `acuracy`; did you mean `accuracy`?",
            "job.toml:22:1: missing key `model`",
        ],
    );
}

#[test]
fn mistakes_of_the_schedule_have_their_places() {
    let job = |settings: &str| format!("{JOB}\n[schedule]\n{settings}\n");
    check(
        &job("priority = 101\nproject = \"My Project\"\nprioritee = 1"),
        &[],
        &[
            "job.toml:18:12: `schedule.priority` must be from -100 to 100, got 101",
            "job.toml:19:11: `schedule.project` must be 1 to 63 lower-case letters",
            "job.toml:20:1: unknown key `prioritee` in [schedule]; expected",
        ],
    );
    for (value, told) in [
        ("2.5", "a whole number, got the number 2.5"),
        ("\"high\"", "a whole number, got the text \"high\""),
        ("-3000000000", "a whole number from -2147483648 to 2147483647, got -3000000000"),
    ] {
        let told = format!("job.toml:18:12: `schedule.priority` must be {told}");
        check(&job(&format!("priority = {value}")), &[], &[&told]);
    }
    let schedule =
        parse(&job("priority = -16\nproject = \"vision\""), &[]).expect("it is right").spec.schedule;
    assert_eq!((schedule.priority, schedule.project.as_str()), (-16, "vision"));
    let schedule = parse(JOB, &[]).expect("it is right").spec.schedule;
    assert_eq!((schedule.priority, schedule.project.as_str()), (0, "default"));
}

#[test]
fn an_empty_file_lacks_all_that_is_required() {
    let expected = [
        "job.toml:1:1: missing key `name`",
        "job.toml:1:1: missing section `[data]`",
        "job.toml:1:1: missing section `[model]`",
        "job.toml:1:1: missing section `[train]`",
    ];
    check("", &[], &expected);
}

#[test]
fn several_mistakes_of_syntax_are_told_together_with_others() {
    let text = JOB.replace("epochs = 3", "epochs = ").replace("target =", "target") + "colour = 1\n";
    check(
        &text,
        &[],
        &[
            "job.toml:4:8: key with no value",
            "job.toml:14:10: string values must be quoted",
            "job.toml:16:1: unknown key `colour`",
        ],
    );
    check("[train\nbatch_size = 1", &[], &["job.toml:1:7: unclosed table, expected `]`"]);
    let text = JOB.replace("[model.cnn]", "[model.cnn]\nkernel = [3").replace("batch_size =", "batch");
    check(&text, &[], &["job.toml:11:12: unclosed array", "job.toml:13:1: missing comma"]);
    check(&JOB.replace("3", "\"\"\"3"), &[], &["job.toml:14:10: ", "job.toml:16:1: invalid multi-line"]);
    check(
        &JOB.replace("target", "shape"),
        &[],
        &["job.toml:4:9: `data.shape` must be a list of 3 whole numbers", "job.toml:5:1: duplicate key"],
    );
    check("\u{0}\u{1}", &[], &["job.toml:1:1: "]);
}

#[test]
fn a_key_in_the_wrong_section_is_told_where_it_belongs() {
    let text = JOB.replace("[model.cnn]", "[model.cnn]\nepochs = 2");
    check(&text, &[], &["job.toml:11:1: unknown key `epochs` in [model.cnn]; it belongs to `[train]`"]);
}

#[test]
fn one_model_is_named() {
    let two = JOB.replace("[model.cnn]", "[model.cnn]\n[model.mlp]");
    check(&two, &[], &["job.toml:11:1: `model` must be one of its kinds, got `cnn` and `mlp`: keep one"]);
    let none = JOB.replace("[model.cnn]", "[model]");
    check(&none, &[], &["job.toml:10:1: `model` names nothing: expected `[model.linear]`"]);
    let other = JOB.replace("[model.cnn]", "[model.resnet]");
    check(&other, &[], &["job.toml:10:8: unknown key `resnet` in [model]; expected `linear`"]);
    let word = JOB.replace("[model.cnn]", "").replace("[data]", "model = \"cnn\"\n[data]");
    check(&word, &[], &["job.toml:3:9: `model` must be a section, got the text \"cnn\""]);
}

#[test]
fn settings_take_the_place_of_the_file_and_their_mistakes_name_them() {
    let job =
        parse(JOB, &["train.epochs=7", "name=other", "evaluate.gates=['accuracy > 0.5']"]).expect("right");
    assert_eq!((job.spec.train.epochs, job.spec.name.as_str()), (Some(7), "other"));
    assert_eq!(job.spec.evaluate.gates.len(), 1);
    check(
        JOB,
        &["train.epochs=x"],
        &["--set train.epochs=x: `train.epochs` must be a whole number, got the text \"x\""],
    );
    check(JOB, &["train.epohcs=1"], &["--set train.epohcs=1: unknown key `epohcs` in [train]; "]);
    check(JOB, &["train.lanes=5"], &["--set train.lanes=5: `train.lanes` must divide"]);
    check(
        JOB,
        &["evaluate.gates=['f1 > 0', 'f1']"],
        &["--set evaluate.gates=['f1 > 0', 'f1']: `evaluate.gates`"],
    );
    check(JOB, &["name.first=x"], &["--set name.first=x: `name` is a value and no section"]);
    check(JOB, &["=x", "a..b=1"], &["--set =x: `` names no key", "--set a..b=1: `a..b` names no key"]);
    check(
        &JOB.replace("epochs = 3", "epochs = 3\nlanes = 5"),
        &["train.optimizer={kind='adma'}"],
        &["job.toml:15:9: `train.lanes`", "--set train.optimizer={kind='adma'}: `train.optimizer.kind`"],
    );
}

#[test]
fn a_column_counts_characters() {
    let text =
        JOB.replace("name = \"digits\"", "name = \"digits\" # ä\nregister = { model = \"ää\", alias = 3 }");
    check(&text, &[], &["job.toml:2:22: `register.model`", "job.toml:2:36: `register.alias`"]);
}

#[test]
fn free_settings_hold_what_json_can() {
    let job =
        |settings: &str| JOB.replace("[model.cnn]", &format!("[model.custom]\ntask = \"own\"\n{settings}"));
    assert!(parse(&job("settings = { depth = 3, name = \"a\", list = [1.5, true] }"), &[]).is_ok());
    for wrong in ["1979-05-27", "nan", "99999999999999999999"] {
        check(
            &job(&format!("settings = {{ a = [{wrong}] }}")),
            &[],
            &["job.toml:12:12: `model.custom.settings`"],
        );
    }
}

#[test]
fn a_mistake_is_one_short_line_whatever_the_file_holds() {
    let text =
        JOB.replace("epochs = 3", "epochs = \"a\\u001b[2J\\n\"") + &format!("{} = 1\n", "x".repeat(9_000));
    let mistakes = parse(&text, &[]).expect_err("there are mistakes");
    assert_eq!(mistakes.mistakes.len(), 2);
    for mistake in &mistakes.mistakes {
        let line = mistake.to_string();
        assert!(line.chars().count() < 700 && !line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn a_file_and_its_mistakes_are_bounded() {
    let long = format!("{JOB}# {}", "x".repeat(JOB_FILE_BYTES_MAX));
    check(&long, &[], &["job.toml:1:1: too long"]);
    let mut many = JOB.to_owned();
    for number in 0..1_000 {
        writeln!(many, "strange_{number} = 1").expect("a text can be written to");
    }
    let mistakes = parse(&many, &[]).expect_err("there are mistakes");
    assert_eq!((mistakes.mistakes.len(), mistakes.left_out), (MISTAKES_MAX, 1_000 - MISTAKES_MAX));
    assert!(mistakes.to_string().ends_with("and 900 more"));
    let deep = format!("a = {}", "[".repeat(10_000));
    assert!(parse(&deep, &[]).is_err());
}

#[test]
fn a_file_of_nothing_but_mistakes_comes_to_an_end() {
    for line in ["x\n", "[[a]]\n", "a = [\n", "\"", "a.b.c = 1\n", "a = {b = \n"] {
        assert!(parse(&line.repeat(3_000), &[]).is_err());
    }
}

proptest! {
    /// A job file in which a stretch was replaced by signs that mean something in TOML.
    #[test]
    fn a_damaged_file_is_an_error_with_a_place_and_never_a_panic(
        start in 0..JOB.len(),
        length in 0_usize..40,
        put in "[a-z0-9 =\\[\\]{}\"'.,#\nä]{0,12}",
        value in "[a-z0-9 =\\[\\]{}\"'.,#ä]{0,12}",
    ) {
        let end = (start + length).min(JOB.len());
        let text = format!("{}{put}{}", &JOB[..start], &JOB[end..]);
        let setting = format!("train.optimizer={value}");
        if let Err(mistakes) = parse(&text, &[&setting]) {
            prop_assert!(!mistakes.mistakes.is_empty());
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,200}") {
        let mistakes = parse(&text, &[&text]).expect_err("it is no job");
        prop_assert!(!mistakes.mistakes.is_empty());
    }
}

#[test]
fn what_columns_are_for_has_moved_from_the_source_to_the_data() {
    let old = JOB.replace("[data]\ntarget = \"label\"\nshape = [1, 28, 28]\n", "");
    let old =
        old.replace("digits.parquet\"\n", "digits.parquet\"\ntarget = \"label\"\nshape = [1, 28, 28]\n");
    check(
        &old,
        &[],
        &[
            "job.toml:6:1: `data.parquet.target` has moved to `data.target`",
            "job.toml:7:1: `data.parquet.shape` has moved to `data.shape`",
        ],
    );
}
