//! Files that users name for output: written whole or not at all.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::error::CliError;

/// Writes `path` by `write`: what a regular file held before stays until all of the new content
/// is there. A device or a pipe is written to; a link stays one.
///
/// # Errors
///
/// What `write` or the system says.
pub(crate) fn write_whole<T, E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&target).is_ok_and(|there| !there.is_file()) {
        let mut file = BufWriter::new(File::options().write(true).open(&target)?);
        let written = write(&mut file)?;
        file.flush()?;
        return Ok(written);
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let mut staged = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        // The message names the temporary file, which means nothing to users.
        .map_err(|error| io::Error::from(error.kind()))?;
    let mut file = BufWriter::new(staged.as_file_mut());
    let written = write(&mut file)?;
    file.flush()?;
    drop(file);
    staged.persist(target).map_err(|error| error.error)?;
    Ok(written)
}

/// Writes `text` to `path`, whole or not at all.
///
/// # Errors
///
/// If it cannot be written; the message names the file.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), CliError> {
    let written: io::Result<()> = write_whole(path, |file| file.write_all(text.as_bytes()));
    written.map_err(|error| CliError::failed(format!("{} cannot be written: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) -> io::Result<()> {
        write_whole(path, |file| file.write_all(text.as_bytes()))
    }

    #[test]
    fn a_file_is_replaced_through_its_link_and_only_by_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| folder.path().join(name));
        write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let failed: io::Result<()> =
            write_whole(&file, |file| file.write_all(b"half").and(Err(io::Error::other("no"))));
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_device_is_written_to() {
        use std::os::unix::fs::FileTypeExt as _;
        write(Path::new("/dev/null"), "gone").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
