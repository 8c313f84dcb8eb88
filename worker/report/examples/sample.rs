//! Writes the reports that the tests look at, as `NAME.html`, `NAME.json` and `NAME.md`, into a folder.
//!
//! ```text
//! cargo run -p phalanx-report --example sample -- FOLDER
//! ```

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::{env, fs, path::PathBuf};

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).context("which folder? `--example sample -- FOLDER`")?);
    fs::create_dir_all(&folder)?;
    for (name, report) in sample::all()? {
        fs::write(folder.join(format!("{name}.json")), report.to_json()?)?;
        fs::write(folder.join(format!("{name}.html")), report.to_html())?;
        fs::write(folder.join(format!("{name}.md")), report.to_model_card())?;
    }
    Ok(())
}
