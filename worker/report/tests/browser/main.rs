//! The pages of reports in a real browser: in light and dark, on a screen, a phone and paper, without a
//! network. `PHALANX_CHROMIUM` names one, as `scripts/chromium.sh` finds it; without it the test says that
//! it is skipped. Pictures of all of them are left in cargo's temporary folder for tests.

mod devtools;
#[path = "../sample/mod.rs"]
mod sample;

use std::{env, fs, path::Path};

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
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut wrong = Vec::new();
    for (name, report) in sample::all()? {
        let page = folder.path().join(format!("{name}.html"));
        fs::write(&page, report.to_html())?;
        for look in &LOOKS {
            let found =
                inspect(&mut browser, &page, look).with_context(|| format!("{name}, {}", look.name))?;
            wrong.extend(found.into_iter().map(|found| format!("{name}, {}: {found}", look.name)));
            fs::write(pictures.join(format!("report-{name}-{}.png", look.name)), screenshot(&mut browser)?)?;
        }
        let sheets = print(&mut browser).with_context(|| format!("{name} on paper"))?;
        fs::write(pictures.join(format!("report-{name}.pdf")), sheets)?;
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Opens a page, and tells what is wrong with it.
fn inspect(browser: &mut Browser, page: &Path, look: &Look) -> anyhow::Result<Vec<String>> {
    let Look { width, height, .. } = look;
    let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": *width < 500 });
    browser.call("Emulation.setDeviceMetricsOverride", screen)?;
    let features = json!([{ "name": "prefers-color-scheme", "value": look.scheme }]);
    browser.call("Emulation.setEmulatedMedia", json!({ "media": look.medium, "features": features }))?;
    browser.take_events();
    let url = format!("file://{}", page.display());
    browser.open(&url)?;
    let audit = browser.evaluate(include_str!("audit.js"))?;
    let told = browser.take_events().into_iter().filter_map(|event| complaint(&event, &url));
    let mut wrong: Vec<String> = told.collect();
    for (what, findings) in audit.as_object().context("no audit")? {
        let findings = findings.as_array().context("no findings")?;
        wrong.extend(findings.iter().map(|finding| format!("{what}: {finding}")));
    }
    Ok(wrong)
}

/// What the browser complains of, or what the page asks for beside itself.
fn complaint(event: &Value, url: &str) -> Option<String> {
    let told = &event["params"];
    match event["method"].as_str()? {
        "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded" => {
            Some(format!("the browser complains: {told}"))
        }
        "Network.requestWillBeSent" if told["request"]["url"] != json!(url) => {
            Some(format!("the page asks for {}", told["request"]["url"]))
        }
        _ => None,
    }
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
