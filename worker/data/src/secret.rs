//! Secrets: taken from an environment variable or a file of whoever reads the
//! data, used, and never written, shown, or part of an error.

use std::path::Path;

/// The most bytes of a secret.
const BYTES_MAX: u64 = 64 << 10;

/// The secret in a variable or a file, if either is named.
///
/// # Errors
///
/// That it is not there, in words that name the place.
pub(crate) fn secret(variable: Option<&str>, file: Option<&Path>) -> Result<Option<String>, String> {
    if let Some(variable) = variable {
        let value = std::env::var(variable);
        return value
            .map(Some)
            .map_err(|_| format!("the environment variable `{variable}` is not set, or no text"));
    }
    let Some(file) = file else { return Ok(None) };
    let failed = |reason: &str| format!("{}: {reason}", file.display());
    let size = std::fs::metadata(file).map_err(|error| failed(&error.to_string()))?.len();
    if size > BYTES_MAX {
        return Err(failed("too long for a secret"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| failed(&error.to_string()))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}
