//! The rows of one query to SQLite or PostgreSQL, written down as JSON lines as
//! they come. A database is read and never changed, and a password is used and
//! never shown.

use std::{
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    pin::pin,
};

use futures::TryStreamExt as _;
use phalanx_protocol::spec::SqlSpec;
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use rustls_platform_verifier::ConfigVerifierExt as _;
use serde_json::{Map, Value};
use tokio::{io::AsyncWriteExt as _, task::spawn_blocking};
use tokio_postgres::Config;

use crate::{PrepareError, secret::secret};

/// Asks the query: what people call the source, and the file in which its rows are.
pub(crate) async fn write_down(spec: &SqlSpec, scratch: &Path) -> Result<(PathBuf, PathBuf), PrepareError> {
    let place = scratch.join("rows.jsonl");
    let shown = match (&spec.sqlite, &spec.postgres) {
        (Some(file), _) => file.display().to_string(),
        (None, Some(address)) => address.split('?').next().unwrap_or_default().to_owned(),
        (None, None) => "no database".to_owned(),
    };
    let refuse = |reason: String| PrepareError::Fetch { url: shown.clone(), reason };
    if let Some(file) = spec.sqlite.clone() {
        let (query, to) = (spec.query.clone(), place.clone());
        let written = spawn_blocking(move || sqlite(&file, &query, &to)).await;
        written.map_err(|_| PrepareError::Crashed { path: PathBuf::from(&shown) })?.map_err(&refuse)?;
    } else if let Some(address) = &spec.postgres {
        postgres(spec, address, &place).await.map_err(&refuse)?;
    }
    Ok((PathBuf::from(&shown), place))
}

fn sqlite(file: &Path, query: &str, to: &Path) -> Result<(), String> {
    let told = |error: rusqlite::Error| error.to_string();
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(told)?;
    let mut statement = connection.prepare(query).map_err(told)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([]).map_err(told)?;
    let mut file = BufWriter::new(std::fs::File::create(to).map_err(|error| error.to_string())?);
    let mut number = 0_u64;
    while let Some(row) = rows.next().map_err(told)? {
        number += 1;
        let mut object = Map::new();
        for (index, name) in names.iter().enumerate() {
            let value = match row.get_ref(index).map_err(told)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(integer) => integer.into(),
                ValueRef::Real(real) => serde_json::Number::from_f64(real).map_or(Value::Null, Value::Number),
                ValueRef::Text(text) => {
                    let text = std::str::from_utf8(text);
                    text.map_err(|_| {
                        format!("row {number}, column `{name}`: expected UTF-8, found other bytes")
                    })?
                    .into()
                }
                ValueRef::Blob(_) => {
                    return Err(format!(
                        "row {number}, column `{name}`: expected text or a number, found bytes"
                    ));
                }
            };
            object.insert(name.clone(), value);
        }
        writeln!(file, "{}", Value::Object(object)).map_err(|error| error.to_string())?;
    }
    file.flush().map_err(|error| error.to_string())
}

async fn postgres(spec: &SqlSpec, address: &str, to: &Path) -> Result<(), String> {
    let mut config: Config = address.parse().map_err(|error: tokio_postgres::Error| told(&error))?;
    if let Some(password) = secret(spec.password_env.as_deref(), spec.password_file.as_deref())? {
        config.password(password);
    }
    // The process may have chosen a provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = rustls::ClientConfig::with_platform_verifier().map_err(|error| error.to_string())?;
    let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
    let (client, connection) = config.connect(tls).await.map_err(|error| told(&error))?;
    let talking = tokio::spawn(connection);
    let written = copy(&client, &spec.query, to).await;
    talking.abort();
    written
}

async fn copy(client: &tokio_postgres::Client, query: &str, to: &Path) -> Result<(), String> {
    let told = |error: tokio_postgres::Error| told(&error);
    client.batch_execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY").await.map_err(told)?;
    // The database knows how to write each of its types down.
    let query = format!("SELECT row_to_json(q)::text FROM ({}) AS q", query.trim().trim_end_matches(';'));
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 0] = [];
    let mut rows = pin!(client.query_raw(&query, parameters).await.map_err(told)?);
    let file = tokio::fs::File::create(to).await.map_err(|error| error.to_string())?;
    let mut file = tokio::io::BufWriter::new(file);
    while let Some(row) = rows.try_next().await.map_err(told)? {
        let row: String = row.try_get(0).map_err(told)?;
        file.write_all(row.as_bytes()).await.map_err(|error| error.to_string())?;
        file.write_all(b"\n").await.map_err(|error| error.to_string())?;
    }
    file.flush().await.map_err(|error| error.to_string())
}

/// What the database said, or why it cannot be talked to.
fn told(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(said), _) => said.message().to_owned(),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}
