//! A Chromium without a window, spoken to over two pipes (its DevTools protocol: JSON, each message ended
//! by a zero byte). Owns the process and ends it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// A browser answers within milliseconds; a loaded machine may take longer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A browser with one page.
pub(crate) struct Browser {
    process: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    sent: u64,
    /// What it told unasked, since the last [`Browser::take_events`].
    events: Vec<Value>,
}

impl Browser {
    /// Starts `chromium` with a profile of its own in `folder`.
    pub(crate) fn start(chromium: &Path, folder: &Path) -> anyhow::Result<Self> {
        // It reads from descriptor 3 and writes to 4, which a shell can make and Rust's `Command` cannot.
        let mut process = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 >/dev/null 2>&1"#])
            .arg(chromium)
            .args([
                "--headless",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
            ])
            .args(["--disable-background-networking", "--force-color-profile=srgb", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("no shell")?;
        let to = process.stdin.take().context("no pipe")?;
        let mut from_pipe = BufReader::new(process.stdout.take().context("no pipe")?);
        let (told, from) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while from_pipe.read_until(0, &mut message).is_ok_and(|bytes| bytes > 0) {
                message.pop();
                let read = serde_json::from_slice(&message);
                if read.is_ok_and(|message: Value| told.send(message).is_err()) {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self { process, to, from, session: None, sent: 0, events: Vec::new() };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attached = browser
            .call("Target.attachToTarget", json!({ "targetId": page["targetId"], "flatten": true }))?;
        browser.session = Some(attached["sessionId"].as_str().context("no session")?.to_owned());
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Calls a method and waits for its result.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> anyhow::Result<Value> {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(message.to_string().as_bytes())?;
        self.to.write_all(&[0])?;
        self.to.flush()?;
        let deadline = Instant::now() + ANSWER_MAX;
        loop {
            let told = self.next(deadline).with_context(|| format!("{method}: no answer"))?;
            if told["id"] != json!(self.sent) {
                self.events.push(told);
            } else if told.get("error").is_some() {
                bail!("{method}: {}", told["error"]);
            } else {
                return Ok(told["result"].clone());
            }
        }
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str) -> anyhow::Result<()> {
        self.call("Page.navigate", json!({ "url": url }))?;
        let deadline = Instant::now() + ANSWER_MAX;
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next(deadline).context("the page does not load")?;
            self.events.push(event);
        }
        Ok(())
    }

    /// What a script comes to, as JSON.
    pub(crate) fn evaluate(&mut self, script: &str) -> anyhow::Result<Value> {
        let asked = json!({ "expression": script, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", asked)?;
        if answer.get("exceptionDetails").is_some() {
            bail!("the script failed: {}", answer["exceptionDetails"]);
        }
        Ok(answer["result"]["value"].clone())
    }

    /// What the browser told unasked.
    pub(crate) fn take_events(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.events)
    }

    fn next(&self, deadline: Instant) -> anyhow::Result<Value> {
        Ok(self.from.recv_timeout(deadline.saturating_duration_since(Instant::now()))?)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its children end with it. That it may be gone already is no matter.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
