//! Rules of the sources in `[data]`.

use std::path::Path;

use super::Rules;
use crate::spec::{
    CsvSpec, DataSpec, HttpSpec, ImagesSpec, PageBy, SourceSpec, SqlSpec, is_glob, suggest::listed,
};

/// The longest context of a text sample, in bytes.
const CONTEXT_MAX: u64 = 65_536;

/// The most pages of an interface.
const PAGES_MAX: u64 = 1_000_000;

/// The most repetitions of a request: the last pause is over a minute then.
const RETRIES_MAX: u64 = 10;

/// The kinds of source, as a job file writes them.
const KINDS: [&str; 9] = [
    "[data.csv]",
    "[data.parquet]",
    "[data.json]",
    "[data.arrow]",
    "[data.text]",
    "[data.images]",
    "[data.label_studio]",
    "[data.sql]",
    "[data.http]",
];

pub(super) fn check(data: &DataSpec, rules: &mut Rules) {
    let given: Vec<String> = data.sources().map(|source| format!("[data.{}]", source.kind())).collect();
    rules.require(!given.is_empty(), ["data"], || {
        format!("`data` names no source: expected one of {}", listed(KINDS, "or"))
    });
    rules.require(given.len() < 2, ["data"], || {
        let given = listed(given.iter().map(String::as_str), "and");
        format!("`data` must name one source, got {given}: keep one")
    });
    for source in data.sources() {
        if let Some(path) = source.path() {
            let sqlite = matches!(source, SourceSpec::Sql(_));
            let key =
                if sqlite { "data.sql.sqlite".to_owned() } else { format!("data.{}.path", source.kind()) };
            file(&key, path, rules);
        }
        match source {
            SourceSpec::Csv(csv) => delimiter(csv, rules),
            SourceSpec::Text(text) => rules.whole("data.text.context", text.context, 1..=CONTEXT_MAX),
            SourceSpec::Images(folder) => images(data, folder, rules),
            SourceSpec::Sql(query) => sql(query, rules),
            SourceSpec::Http(interface) => http(interface, rules),
            SourceSpec::Parquet(_)
            | SourceSpec::Json(_)
            | SourceSpec::Arrow(_)
            | SourceSpec::LabelStudio(_) => {}
        }
    }
}

fn file(setting: &str, path: &Path, rules: &mut Rules) {
    rules.require(!path.as_os_str().is_empty(), [setting], || {
        format!("`{setting}` must name a file, got an empty text")
    });
}

fn delimiter(csv: &CsvSpec, rules: &mut Rules) {
    let delimiter = csv.delimiter;
    let holds = delimiter == '\t' || (delimiter.is_ascii() && !delimiter.is_ascii_control());
    let holds = holds && !delimiter.is_ascii_alphanumeric() && !matches!(delimiter, '"' | '.' | '-');
    rules.require(holds, ["data.csv.delimiter"], || {
        format!(
            "`data.csv.delimiter` must be a tab or an ASCII sign that no cell begins with, got {delimiter:?}"
        )
    });
}

fn images(data: &DataSpec, folder: &ImagesSpec, rules: &mut Rules) {
    rules.require(!is_glob(&folder.path), ["data.images.path"], || {
        "`data.images.path` must name a folder, without `*`, `?` or `[`".to_owned()
    });
    let channels = data.shape.map(|[channels, ..]| channels);
    rules.require(matches!(channels, Some(1 | 3)), ["data.shape", "data.images"], || {
        "`data.shape` must be [1, height, width] for grey images or [3, height, width] for coloured ones"
            .to_owned()
    });
    rules.require(data.features.is_none(), ["data.features", "data.images"], || {
        "`data.features` must be left out: images have one".to_owned()
    });
}

fn sql(query: &SqlSpec, rules: &mut Rules) {
    let databases = usize::from(query.sqlite.is_some()) + usize::from(query.postgres.is_some());
    rules.require(databases == 1, ["data.sql"], || {
        format!("`data.sql` must name one database, `sqlite` or `postgres`, got {databases}")
    });
    let text = query.query.to_lowercase();
    let ordered = text.split_whitespace().collect::<Vec<_>>().windows(2).any(|pair| pair == ["order", "by"]);
    rules.require(ordered, ["data.sql.query"], || {
        "`data.sql.query` must say `ORDER BY`: without it a database may give rows in another order each time"
            .to_owned()
    });
    if let Some(postgres) = &query.postgres {
        let address = postgres.strip_prefix("postgres://").or(postgres.strip_prefix("postgresql://"));
        rules.require(address.is_some(), ["data.sql.postgres"], || {
            "`data.sql.postgres` must be an address as in `postgres://user@host/database`".to_owned()
        });
        let user = address.and_then(|address| address.split_once('@')).map_or("", |(user, _)| user);
        let secret = user.contains(':') || postgres.contains("password=");
        rules.require(!secret, ["data.sql.postgres"], || {
            "`data.sql.postgres` must not hold a password: put it into an environment variable or a file, and name that in \
             `password_env` or `password_file`"
                .to_owned()
        });
    }
    let both = query.password_env.is_some() && query.password_file.is_some();
    rules.require(!both, ["data.sql.password_env", "data.sql.password_file"], || {
        "`data.sql` must have one of `password_env` and `password_file`: keep one".to_owned()
    });
}

fn http(interface: &HttpSpec, rules: &mut Rules) {
    let url = &interface.url;
    let fits = url.starts_with("http://") || url.starts_with("https://");
    rules.require(fits, ["data.http.url"], || {
        "`data.http.url` must begin with `https://` or `http://`".to_owned()
    });
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    rules.require(!authority.contains('@'), ["data.http.url"], || {
        "`data.http.url` must not hold a user or a password: name the token's variable in `token_env`"
            .to_owned()
    });
    let both = interface.token_env.is_some() && interface.token_file.is_some();
    rules.require(!both, ["data.http.token_env", "data.http.token_file"], || {
        "`data.http` must have one of `token_env` and `token_file`: keep one".to_owned()
    });
    pointer("data.http.rows", &interface.rows, rules);
    let rate = interface.requests_per_second;
    rules.number(
        "data.http.requests_per_second",
        rate,
        rate > 0.0 && rate <= 1_000.0,
        "above 0 and at most 1000",
    );
    rules.whole("data.http.retries", interface.retries, 0..=RETRIES_MAX);
    let Some(pages) = &interface.pages else { return };
    rules.whole("data.http.pages.max", pages.max, 1..=PAGES_MAX);
    rules.require((pages.by == PageBy::Cursor) == pages.next.is_some(), ["data.http.pages.next"], || {
        "`data.http.pages.next` must be given for `by = \"cursor\"`, and for nothing else".to_owned()
    });
    if let Some(next) = &pages.next {
        pointer("data.http.pages.next", next, rules);
    }
}

fn pointer(setting: &str, pointer: &str, rules: &mut Rules) {
    rules.require(pointer.is_empty() || pointer.starts_with('/'), [setting], || {
        format!("`{setting}` must be a JSON pointer such as `/data/items`, got \"{pointer}\"")
    });
}
