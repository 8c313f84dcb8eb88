//! The reference page of the job file, `docs/job-file.md`.
/// page
pub fn reference_page() -> String {
    String::new()
}
