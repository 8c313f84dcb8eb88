//! Tasks as Label Studio exports them, written down as JSON lines: the fields of a task's data, and what
//! each annotator has said, in a column for each control and annotator.
//!
//! Tasks are read one after the other: memory is bounded by the largest. Annotations that were cancelled do not
//! count; where a task has some that are marked as ground truth, no others do; of several by one
//! annotator the last one does. What a model has predicted is no annotation.

use std::{
    cell::Cell,
    fmt,
    fs::File,
    io::{self, BufWriter, Read, Write as _},
    path::{Path, PathBuf},
    rc::Rc,
};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use crate::{
    PrepareError,
    error::cut,
    intake::{SourceFile, is_bomb, open_plain},
};

/// The most bytes of one task.
const TASK_BYTES_MAX: usize = 64 << 20;

/// Writes all tasks of some files down: what people call the source, and the file in which its rows are.
pub(crate) async fn write_down(
    found: Vec<(PathBuf, PathBuf)>,
    scratch: &Path,
) -> Result<(PathBuf, PathBuf), PrepareError> {
    let place = scratch.join("rows.jsonl");
    let shown = match found.as_slice() {
        [] => PathBuf::new(),
        [(only, _)] => only.clone(),
        [(first, _), rest @ ..] => format!("{} and {} more", first.display(), rest.len()).into(),
    };
    let (name, to) = (shown.clone(), place.clone());
    let written = spawn_blocking(move || {
        let failed = |error: io::Error| PrepareError::Scratch { path: to.clone(), reason: error.to_string() };
        let mut out = BufWriter::new(File::create(&to).map_err(failed)?);
        for (name, path) in found {
            let mut file = SourceFile::unhashed(&path)?;
            file.name = name;
            tasks(&file, &mut |row| writeln!(out, "{}", Value::Object(row)))?;
        }
        out.flush().map_err(failed)
    });
    written.await.map_err(|_| PrepareError::Crashed { path: name })??;
    Ok((shown, place))
}

/// How many tasks a file has.
pub(crate) fn count(file: &SourceFile) -> Result<u64, PrepareError> {
    let mut rows = 0;
    tasks(file, &mut |_| {
        rows += 1;
        Ok(())
    })?;
    Ok(rows)
}

/// Hands the row of each task of a file to `row`.
fn tasks(
    file: &SourceFile,
    row: &mut dyn FnMut(Map<String, Value>) -> io::Result<()>,
) -> Result<(), PrepareError> {
    let left = Rc::new(Cell::new(TASK_BYTES_MAX));
    let bounded = Bounded { inner: open_plain(file)?, left: left.clone(), bomb: Rc::new(Cell::new(false)) };
    let bomb = bounded.bomb.clone();
    let mut json = serde_json::Deserializer::from_reader(io::BufReader::new(bounded));
    let read = Tasks { row, left }.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| match bomb.get() {
        true => PrepareError::Bomb { path: file.name.clone() },
        false => PrepareError::Damaged { path: file.name.clone(), reason: cut(&error.to_string(), 300) },
    })
}

/// A reader that gives no more than one task may have.
struct Bounded {
    inner: Box<dyn Read + Send>,
    left: Rc<Cell<usize>>,
    bomb: Rc<Cell<bool>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).inspect_err(|error| self.bomb.set(is_bomb(error)))?;
        let left = self.left.get().checked_sub(read);
        let too_large = || io::Error::other(format!("a task is larger than {} MiB", TASK_BYTES_MAX >> 20));
        self.left.set(left.ok_or_else(too_large)?);
        Ok(read)
    }
}

/// The list of all tasks.
struct Tasks<'a> {
    row: &'a mut dyn FnMut(Map<String, Value>) -> io::Result<()>,
    left: Rc<Cell<usize>>,
}

impl<'de> DeserializeSeed<'de> for Tasks<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Tasks<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the list of tasks that Label Studio exports as JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        let mut number = 0_u64;
        while let Some(task) = all.next_element::<Task>()? {
            number += 1;
            self.left.set(TASK_BYTES_MAX);
            let row = task.row().map_err(|reason| A::Error::custom(format!("task {number}: {reason}")))?;
            (self.row)(row).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Task {
    data: Option<Map<String, Value>>,
    annotations: Option<Vec<Annotation>>,
}

#[derive(Deserialize)]
struct Annotation {
    completed_by: Option<Value>,
    was_cancelled: Option<bool>,
    ground_truth: Option<bool>,
    result: Option<Vec<Said>>,
}

/// What an annotator has said with one control.
#[derive(Deserialize)]
struct Said {
    from_name: Option<String>,
    value: Option<Map<String, Value>>,
}

impl Task {
    fn row(self) -> Result<Map<String, Value>, String> {
        let mut row = self.data.ok_or("there is no `data`; export as JSON, not as JSON-MIN")?;
        let mut counts: Vec<Annotation> = self.annotations.unwrap_or_default();
        counts.retain(|annotation| annotation.was_cancelled != Some(true));
        if counts.iter().any(|annotation| annotation.ground_truth == Some(true)) {
            counts.retain(|annotation| annotation.ground_truth == Some(true));
        }
        for annotation in counts {
            let annotator = annotator(annotation.completed_by.as_ref());
            for said in annotation.result.unwrap_or_default() {
                let (Some(control), Some(value)) = (said.from_name, said.value) else { continue };
                if let Some(label) = label(&control, &value)? {
                    row.insert(format!("{control}.{annotator}"), label);
                }
            }
        }
        Ok(row)
    }
}

/// What an annotator is called: by address, name or number.
fn annotator(completed_by: Option<&Value>) -> String {
    match completed_by {
        Some(Value::Object(user)) => {
            let known = ["email", "username", "id"].iter().find_map(|key| user.get(*key));
            annotator(known.filter(|known| !known.is_object()))
        }
        Some(Value::String(name)) => name.clone(),
        Some(Value::Number(id)) => id.to_string(),
        Some(Value::Null | Value::Bool(_) | Value::Array(_)) | None => "unknown".to_owned(),
    }
}

/// The choice or the number in a control's value; `None` of one that is neither, such as a box in an image.
fn label(control: &str, value: &Map<String, Value>) -> Result<Option<Value>, String> {
    if let Some(choices) = value.get("choices") {
        return match choices.as_array().map(Vec::as_slice) {
            Some([Value::String(choice)]) => Ok(Some(choice.clone().into())),
            Some([]) => Ok(None),
            Some(several) => Err(format!(
                "`{control}`: expected one choice, found {}: a label is one of several classes",
                several.len()
            )),
            None => Err(format!(
                "`{control}`: expected a list of choices, found {}",
                cut(&choices.to_string(), 60)
            )),
        };
    }
    let number = value.get("number").or_else(|| value.get("rating"));
    match number {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(Some(number.clone().into())),
        Some(other) => Err(format!("`{control}`: expected a number, found {}", cut(&other.to_string(), 60))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(content: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.json");
        std::fs::write(&path, content).unwrap();
        let mut rows = Vec::new();
        let file = SourceFile::unhashed(&path).map_err(|error| error.to_string())?;
        let read = tasks(&file, &mut |row| {
            rows.push(Value::Object(row).to_string());
            Ok(())
        });
        read.map(|()| rows).map_err(|error| error.to_string())
    }

    /// A task that anna and user 2 have annotated with these values, and this added to the second annotation.
    fn task(first: &str, second: &str, more: &str) -> String {
        let said = |value: &str| {
            format!(r#"[{{"from_name": "mood", "to_name": "t", "type": "x", "value": {value}}}]"#)
        };
        format!(
            r#"[{{"id": 1, "data": {{"t": "hi"}}, "predictions": [{{"result": []}}], "annotations": [
            {{"completed_by": {{"id": 1, "email": "anna@x"}}, "result": {}}},
            {{"completed_by": 2, "result": {}{more}}}]}}]"#,
            said(first),
            said(second),
        )
    }

    #[test]
    fn each_annotator_has_a_column() {
        let check = |first: &str, second: &str, more: &str, expected: &str| {
            assert_eq!(rows(&task(first, second, more)).unwrap(), [expected], "{first} {second} {more}");
        };
        let (good, bad) = (r#"{"choices": ["good"]}"#, r#"{"choices": ["bad"]}"#);
        check(good, bad, "", r#"{"t":"hi","mood.anna@x":"good","mood.2":"bad"}"#);
        check(good, bad, r#", "was_cancelled": true"#, r#"{"t":"hi","mood.anna@x":"good"}"#);
        check(good, bad, r#", "ground_truth": true"#, r#"{"t":"hi","mood.2":"bad"}"#);
        check(r#"{"number": 1.5}"#, r#"{"rating": 4}"#, "", r#"{"t":"hi","mood.anna@x":1.5,"mood.2":4}"#);
        check(r#"{"x": 1, "width": 2}"#, r#"{"choices": []}"#, "", r#"{"t":"hi"}"#);
        assert_eq!(rows("[]").unwrap(), Vec::<String>::new());
        assert_eq!(rows(r#"[{"data": {"a": 1}}]"#).unwrap(), [r#"{"a":1}"#]);
    }

    #[test]
    fn what_is_no_export_is_refused_with_the_task() {
        let check = |content: &str, part: &str| {
            let error = rows(content).unwrap_err();
            assert!(error.contains(part), "{content}: {error}");
        };
        check("{}", "the list of tasks that Label Studio exports as JSON");
        check("", "EOF while parsing");
        check(
            r#"[{"data": {}}, {"text": "hi"}]"#,
            "task 2: there is no `data`; export as JSON, not as JSON-MIN",
        );
        check(&task(r#"{"choices": ["a", "b"]}"#, "{}", ""), "task 1: `mood`: expected one choice, found 2");
        check(&task(r#"{"number": "x"}"#, "{}", ""), "`mood`: expected a number, found \"x\"");
        check("[1]", "line 1 column 3");
        check(r#"[{"data": {}}] x"#, "trailing characters");
    }
}
