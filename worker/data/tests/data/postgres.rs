//! PostgreSQL gives the same rows as a file, asked over a server of its own, which is started for the
//! test. Where none is installed the test says that it is skipped.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use phalanx_data::validate;
use phalanx_protocol::spec::DataSpec;
use tempfile::TempDir;
use tokio_postgres::NoTls;

const PASSWORD: &str = "a-secret-of-nobody";

/// Who runs the server where the test is run by root, whom PostgreSQL refuses.
const NOBODY: u32 = 65_534;

/// A server that is stopped at the end.
struct Server {
    folder: TempDir,
    process: Child,
    port: u16,
}

impl Server {
    /// Starts one with the programs in this folder.
    fn start(programs: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        let is_root = is_root_of(folder.path());
        if is_root {
            for path in [folder.path(), &password] {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let data = folder.path().join("data");
        let run = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
            command.arg("-D").arg(&data);
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let made = run("initdb")
            .args(["--username=tester", "--auth=scram-sha-256", "--no-sync", "--pwfile"])
            .arg(&password)
            .status();
        assert!(made.unwrap().success(), "initdb failed");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = run("postgres")
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .args(["-c", "unix_socket_directories="])
            .spawn()
            .unwrap();
        Self { folder, process, port }
    }

    /// Runs statements, once the server answers.
    async fn execute(&self, statements: &str) {
        let address = format!("postgres://tester:{PASSWORD}@127.0.0.1:{}/postgres", self.port);
        let deadline = Instant::now() + Duration::from_secs(60);
        let (client, connection) = loop {
            match tokio_postgres::connect(&address, NoTls).await {
                Ok(connected) => break connected,
                Err(error) if Instant::now() > deadline => panic!("the server does not answer: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        let talking = tokio::spawn(connection);
        client.batch_execute(statements).await.unwrap();
        talking.abort();
    }

    fn spec(&self, query: &str) -> DataSpec {
        serde_json::from_value(serde_json::json!({
            "target": "t",
            "sql": {
                "postgres": format!("postgres://tester@127.0.0.1:{}/postgres", self.port),
                "password_file": self.folder.path().join("password"),
                "query": query,
            },
        }))
        .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether this process is root: whoever makes a folder owns it.
fn is_root_of(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(folder).unwrap().uid() == 0
}

/// The folder of PostgreSQL's programs.
fn programs() -> Option<PathBuf> {
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    told.into_iter().chain(debian).find(|folder| folder.join("initdb").exists())
}

#[tokio::test]
async fn postgres_gives_the_same_rows() {
    let Some(programs) = programs() else {
        eprintln!("SKIPPED: postgres_gives_the_same_rows needs PostgreSQL");
        return;
    };
    let server = Server::start(&programs);
    let rows = "CREATE TABLE r (a int, b double precision, t text, day date);
                INSERT INTO r VALUES (2, 1.5, 'z', '2026-01-31'), (1, 0.5, 'x', NULL)";
    server.execute(rows).await;

    let validation = validate(&server.spec("SELECT * FROM r ORDER BY a;"), &mut |_| {}).await.unwrap();
    let found: Vec<_> = validation
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.data_type.as_str(), column.missing))
        .collect();
    assert_eq!(found, [("a", "Int64", 0), ("b", "Float64", 0), ("t", "Utf8", 0), ("day", "Utf8", 1)]);
    assert_eq!(validation.funnel.rows_clean, 2);

    let refused = |spec: DataSpec| async move { validate(&spec, &mut |_| {}).await.unwrap_err().to_string() };
    let error = refused(server.spec("SELECT * FROM nowhere ORDER BY a")).await;
    assert!(error.contains("nowhere") && error.contains("127.0.0.1"), "{error}");
    let error = refused(server.spec("SELECT nextval('s'), 1 FROM (SELECT 1 ORDER BY 1) q")).await;
    assert!(error.contains("\"s\""), "{error}");

    let wrong = server.folder.path().join("wrong");
    fs::write(&wrong, "another").unwrap();
    let mut spec = server.spec("SELECT * FROM r ORDER BY a");
    spec.sql.as_mut().unwrap().password_file = Some(wrong);
    let error = refused(spec).await;
    assert!(error.contains("password") && !error.contains("another"), "{error}");
}
