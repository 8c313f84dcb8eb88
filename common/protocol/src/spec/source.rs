//! `[data.csv]`, `[data.sql]` and so on: where rows come from and how they are
//! written there, and nothing else.
//!
//! Secrets are never in a job file: a source names the environment variable or
//! the file that holds one, to whoever reads the data.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The one source that a valid [`DataSpec`](super::DataSpec) names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SourceSpec<'a> {
    /// `[data.csv]`
    Csv(&'a CsvSpec),
    /// `[data.parquet]`
    Parquet(&'a ParquetSpec),
    /// `[data.json]`
    Json(&'a JsonSpec),
    /// `[data.arrow]`
    Arrow(&'a ArrowSpec),
    /// `[data.text]`
    Text(&'a TextSpec),
    /// `[data.images]`
    Images(&'a ImagesSpec),
    /// `[data.label_studio]`
    LabelStudio(&'a LabelStudioSpec),
    /// `[data.sql]`
    Sql(&'a SqlSpec),
    /// `[data.http]`
    Http(&'a HttpSpec),
}

impl<'a> SourceSpec<'a> {
    /// The key of `[data]` that names it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Csv(_) => "csv",
            Self::Parquet(_) => "parquet",
            Self::Json(_) => "json",
            Self::Arrow(_) => "arrow",
            Self::Text(_) => "text",
            Self::Images(_) => "images",
            Self::LabelStudio(_) => "label_studio",
            Self::Sql(_) => "sql",
            Self::Http(_) => "http",
        }
    }

    /// The file, folder, glob or URL of an object store that it reads, if it reads files.
    pub fn path(self) -> Option<&'a Path> {
        match self {
            Self::Csv(csv) => Some(&csv.path),
            Self::Parquet(parquet) => Some(&parquet.path),
            Self::Json(json) => Some(&json.path),
            Self::Arrow(arrow) => Some(&arrow.path),
            Self::Text(text) => Some(&text.path),
            Self::Images(images) => Some(&images.path),
            Self::LabelStudio(tasks) => Some(&tasks.path),
            Self::Sql(sql) => sql.sqlite.as_deref(),
            Self::Http(_) => None,
        }
    }

    /// Whether it is a text, which has bytes and no columns.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text(_))
    }
}

/// Whether a path is the URL of an object store.
pub fn is_url(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.contains("://"))
}

/// Whether a path stands for all files whose names are like it.
pub fn is_glob(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.contains(['*', '?', '[']))
}

/// CSV or TSV files with a header line, compressed (gzip, Zstandard, bzip2) or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvSpec {
    /// The file, relative to the job file; a glob (`data/*.csv.gz`) or a URL (`s3://bucket/data/*.csv`) for several with the same columns.
    pub path: PathBuf,
    /// Cells that mean "missing", after trimming. Your list takes the place of this one.
    #[serde(default = "missing_cells")]
    pub missing: Vec<String>,
    /// Character between cells: a tab or an ASCII sign.
    #[serde(default = "comma")]
    pub delimiter: char,
}

/// Parquet files. A column of lists or of bytes is an image or a vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetSpec {
    /// The file, relative to the job file; a glob or a URL for several with the same columns.
    pub path: PathBuf,
}

/// Files with a JSON object on each line, compressed or not. Objects within are columns `outer.inner`; lists are kept as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonSpec {
    /// The file, relative to the job file; a glob or a URL for several.
    pub path: PathBuf,
}

/// Arrow IPC files (Feather). A column of lists or of bytes is an image or a vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArrowSpec {
    /// The file, relative to the job file; a glob or a URL for several with the same columns.
    pub path: PathBuf,
}

/// A plain text, for language models: the model predicts each next byte, or each next token with `encode.text = "bpe"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// The file, relative to the job file; a glob or a URL for several, one after the other.
    pub path: PathBuf,
    /// Bytes (or tokens) in one sample: the model's context, from 1 to 65,536.
    #[serde(default = "context")]
    pub context: usize,
}

/// PNG and JPEG images of `data.shape`, as a column `image` of bytes and a column `label`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagesSpec {
    /// The folder, relative to the job file, or its URL. The folder in which an image lies is its class.
    pub path: PathBuf,
    /// A CSV file with the columns `file` and `label`, instead of a folder for each class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// Brings images of other sizes to that of `data.shape`; without it they are malformed.
    #[serde(default)]
    pub resize: bool,
}

/// Tasks as Label Studio exports them (its JSON, not JSON-MIN), one row each: the fields of `data`, and for each control and annotator a column
/// `CONTROL.ANNOTATOR` with the choice or the number that they gave. The step `vote` makes one label of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelStudioSpec {
    /// The file, relative to the job file; a glob or a URL for several.
    pub path: PathBuf,
}

/// The rows of one query. The names of its columns are those of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlSpec {
    /// A SQLite database, relative to the job file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlite: Option<PathBuf>,
    /// A PostgreSQL database, as in `postgres://user@host/database`, without a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<String>,
    /// The environment variable that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
    /// The file that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The query. It must say `ORDER BY`, so that rows come in the same order each time.
    pub query: String,
}

/// The rows of a JSON interface over HTTP, page after page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSpec {
    /// The address of the first page.
    pub url: String,
    /// Where in an answer the list of rows is: a JSON pointer such as `/data/items`. Empty: the answer is the list.
    #[serde(default)]
    pub rows: String,
    /// How the next page is asked for. Without it there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<PagesSpec>,
    /// The environment variable that holds a token, which is sent as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
    /// The file that holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The most requests in a second.
    #[serde(default = "requests_per_second")]
    pub requests_per_second: f64,
    /// How often a request is repeated that was not answered, or with 408, 429 or 5xx; the pauses double from half a second on.
    #[serde(default = "retries")]
    pub retries: u32,
}

/// How the next page is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PagesSpec {
    /// By what.
    pub by: PageBy,
    /// The parameter of the address that says which page; by default `page`, `offset` or `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The first page's number, or its offset; by default 1 or 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Where in an answer the next cursor is, for `by = "cursor"`: a JSON pointer. Absent, null or empty there: the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The most pages; more are an error.
    #[serde(default = "pages_max")]
    pub max: u32,
}

/// By what the next page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PageBy {
    /// A number that grows by one. A page without rows is behind the last.
    Number,
    /// The number of rows before the page. A page without rows is behind the last.
    Offset,
    /// A text from the answer before.
    Cursor,
    /// The `Link` header of the answer before, `rel="next"`.
    Link,
}

fn missing_cells() -> Vec<String> {
    ["", "?", "NA", "N/A", "NaN", "nan", "null"].map(String::from).to_vec()
}

fn comma() -> char {
    ','
}

fn context() -> usize {
    128
}

fn requests_per_second() -> f64 {
    5.0
}

fn retries() -> u32 {
    5
}

fn pages_max() -> u32 {
    10_000
}
