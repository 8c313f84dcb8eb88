//! What tells a worker to leave: signals, and notices that its machine will soon be gone.
//!
//! | what | then |
//! | --- | --- |
//! | the first `SIGTERM`, or Ctrl-C in a terminal; a notice | it finishes its step, hands its work over, and leaves |
//! | another signal, or the limit is over | it leaves at once; what it was doing is done by others |
//!
//! A worker that another process has started for itself leaves at once.

use std::{io, path::PathBuf, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tracing::{info, warn};

/// How often is looked whether there is a notice.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest that an endpoint may take to say whether there is one.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The most bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 4_096;

/// Where a machine that will soon be gone says so.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    /// A file that appears.
    pub file: Option<PathBuf>,
    /// An HTTP endpoint that answers with success, and with anything but `FALSE` or nothing.
    pub url: Option<String>,
}

impl Notices {
    /// Waits for a notice; for ever where none can come.
    pub(crate) async fn wait(&self) {
        if self.file.is_none() && self.url.is_none() {
            return std::future::pending().await;
        }
        phalanx_tls::use_ring();
        let client = reqwest::Client::builder().timeout(ANSWER_MAX).no_proxy().build();
        let client = client.inspect_err(|error| warn!(%error, "--preempt-url is not looked at")).ok();
        loop {
            if let Some(file) = self.file.as_ref().filter(|file| file.exists()) {
                return info!(file = %file.display(), "a notice: this machine will soon be gone");
            }
            if let (Some(url), Some(client)) = (&self.url, &client)
                && announces(client, url).await
            {
                return info!(url, "a notice: this machine will soon be gone");
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Whether the endpoint says that the machine will be gone. One that cannot be reached does not.
async fn announces(client: &reqwest::Client, url: &str) -> bool {
    // Google's endpoint wants to see that it is asked on purpose.
    let answer = client.get(url).header("Metadata-Flavor", "Google").send().await;
    let Ok(mut answer) = answer.and_then(reqwest::Response::error_for_status) else { return false };
    let mut text = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await
        && text.len() < ANSWER_BYTES_MAX
    {
        text.extend_from_slice(&piece);
    }
    let text = text.trim_ascii();
    !text.is_empty() && !text.eq_ignore_ascii_case(b"false")
}

/// The signals that tell the process to end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Whether Ctrl-C is for this process, and not for the one that has started it.
    interruptible: bool,
}

impl Signals {
    pub(crate) fn new(interruptible: bool) -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, interruptible })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return info!("told to end"),
                // Ctrl-C reaches every process of a terminal; whoever started this one decides.
                _ = self.interrupt.recv() => if self.interruptible { return info!("interrupted") },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn a_file_that_appears_is_a_notice() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("preempted");
        let notices = Notices { file: Some(file.clone()), url: None };
        assert!(tokio::time::timeout(Duration::from_millis(50), notices.wait()).await.is_err());
        std::fs::write(file, "").expect("the folder can be written");
        notices.wait().await;
    }

    /// Whether an endpoint that gives this answer announces something.
    async fn check(status: &str, body: &str, expected: bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port can be had");
        let url = format!("http://{}/spot", listener.local_addr().expect("it is bound"));
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("it is asked");
            let _ = stream.read(&mut [0; 1_024]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        phalanx_tls::use_ring();
        assert_eq!(announces(&reqwest::Client::new(), &url).await, expected, "{status} {body}");
    }

    #[tokio::test]
    async fn an_endpoint_that_says_so_is_a_notice_and_others_are_none() {
        check("200 OK", r#"{"action": "terminate"}"#, true).await;
        check("200 OK", "TRUE", true).await;
        check("200 OK", "FALSE\n", false).await;
        check("200 OK", "", false).await;
        check("404 Not Found", "no notice", false).await;
        assert!(!announces(&reqwest::Client::new(), "http://127.0.0.1:1/spot").await);
    }
}
