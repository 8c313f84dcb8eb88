//! The pages of reports in a real browser: in light and dark, on a screen, a phone and paper, without a
//! network. `PHALANX_CHROMIUM` names one, as `scripts/chromium.sh` finds it; without it the test says that
//! it is skipped. Pictures of all of them are left in cargo's temporary folder for tests.

mod devtools;
#[path = "../sample/mod.rs"]
mod sample;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use devtools::Browser;
use serde_json::{Value, json};

/// How a page is looked at.
struct Look {
    name: &'static str,
    width: u32,
    height: u32,
    scheme: &'static str,
    medium: &'static str,
}

const LOOKS: [Look; 5] = [
    Look { name: "light", width: 1280, height: 900, scheme: "light", medium: "screen" },
    Look { name: "dark", width: 1440, height: 900, scheme: "dark", medium: "screen" },
    Look { name: "phone", width: 390, height: 844, scheme: "light", medium: "screen" },
    Look { name: "phone-dark", width: 390, height: 844, scheme: "dark", medium: "screen" },
    // Paper is light, whatever the screen is; 718 points is A4 less its margins.
    Look { name: "print", width: 718, height: 1017, scheme: "dark", medium: "print" },
];

#[test]
fn pages_are_read_in_a_browser_without_a_network_on_screen_phone_and_paper() -> anyhow::Result<()> {
    let Some(chromium) = env::var_os("PHALANX_CHROMIUM").filter(|path| !path.is_empty()) else {
        eprintln!(
            "SKIPPED: pages_are_read_in_a_browser_without_a_network_on_screen_phone_and_paper needs \
             PHALANX_CHROMIUM=$(scripts/chromium.sh)"
        );
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let mut browser = Browser::start(Path::new(&chromium), &folder.path().join("profile"))?;
    for (name, report) in sample::all()? {
        let page = folder.path().join(format!("{name}.html"));
        fs::write(&page, report.to_html())?;
        for look in &LOOKS {
            inspect(&mut browser, &page, look).with_context(|| format!("{name}, {}", look.name))?;
            let picture =
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}-{}.png", look.name));
            fs::write(picture, screenshot(&mut browser)?)?;
        }
        let sheet = print(&mut browser).with_context(|| format!("{name} on paper"))?;
        fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}.pdf")), sheet)?;
    }
    Ok(())
}

fn inspect(browser: &mut Browser, page: &PathBuf, look: &Look) -> anyhow::Result<()> {
    let Look { width, height, .. } = look;
    let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": *width < 500 });
    browser.call("Emulation.setDeviceMetricsOverride", screen)?;
    let features = json!([{ "name": "prefers-color-scheme", "value": look.scheme }]);
    browser.call("Emulation.setEmulatedMedia", json!({ "media": look.medium, "features": features }))?;
    browser.take_events();
    let url = format!("file://{}", page.display());
    browser.open(&url)?;
    let audit = browser.evaluate(include_str!("audit.js"))?;
    for event in browser.take_events() {
        let (method, told) = (event["method"].as_str().unwrap_or_default(), &event["params"]);
        let complaint =
            matches!(method, "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded");
        ensure!(!complaint, "the browser complains: {told}");
        let asked = &told["request"]["url"];
        ensure!(method != "Network.requestWillBeSent" || *asked == json!(url), "the page asks for {asked}");
    }
    let none = json!([]);
    ensure!(audit["scroll"] == audit["screen"], "wider than the screen: {audit}");
    ensure!(audit["wide"] == none, "beyond the edge: {}", audit["wide"]);
    ensure!(audit["pale"] == none, "too pale to read: {}", audit["pale"]);
    ensure!(
        audit["unnamed"] == 0 && audit["twice"] == 0,
        "drawings without a name, or ids that are there twice: {audit}"
    );
    ensure!(audit["dangling"] == none, "links to nowhere: {}", audit["dangling"]);
    Ok(())
}

fn screenshot(browser: &mut Browser) -> anyhow::Result<Vec<u8>> {
    let asked = json!({ "format": "png", "captureBeyondViewport": true });
    decoded(&browser.call("Page.captureScreenshot", asked)?)
}

fn print(browser: &mut Browser) -> anyhow::Result<Vec<u8>> {
    let sheet = json!({ "paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": true });
    decoded(&browser.call("Page.printToPDF", sheet)?)
}

/// The bytes that an answer has in base64.
fn decoded(answer: &Value) -> anyhow::Result<Vec<u8>> {
    let text = answer["data"].as_str().context("no data")?;
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() * 3 / 4), 0_u32, 0_u32);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => anyhow::bail!("no base64"),
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Ok(bytes)
}
