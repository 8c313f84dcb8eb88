//! being written
/// page
pub fn reference_page() -> String {
    String::new()
}
