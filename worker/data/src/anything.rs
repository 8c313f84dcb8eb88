//! Any bytes, read as a source of any kind: for fuzzing and tests, which look for
//! what makes a reader panic or hang.

use phalanx_protocol::spec::{ArrowSpec, CsvSpec, DataSpec, ImagesSpec, JsonSpec, Malformed, ParquetSpec};

use crate::{
    PrepareError,
    intake::{Input, SourceFile, hash_file},
    label_studio,
};

/// Reads `content` as a source whose kind `kind` chooses: how many rows it has, or why it has none.
///
/// # Errors
///
/// What is wrong with it.
///
/// # Panics
///
/// If no file can be written, and if a reader has a mistake.
#[doc(hidden)]
pub fn read_anything(kind: u8, content: &[u8]) -> Result<u64, PrepareError> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("anything.png");
    std::fs::write(&path, content).expect("a file can be written");
    let mut spec = DataSpec { target: Some("y".to_owned()), ..DataSpec::default() };
    match kind % 6 {
        0 => spec.csv = Some(CsvSpec { path: path.clone(), missing: vec![String::new()], delimiter: ',' }),
        1 => spec.json = Some(JsonSpec { path: path.clone() }),
        2 => spec.parquet = Some(ParquetSpec { path: path.clone() }),
        3 => spec.arrow = Some(ArrowSpec { path: path.clone() }),
        4 => {
            spec.images =
                Some(ImagesSpec { path: folder.path().to_owned(), labels: None, resize: kind >= 128 });
            spec.shape = Some([1, 8, 8]);
        }
        _ => return label_studio::count(&SourceFile::unhashed(&path)?),
    }
    if kind >= 64 {
        spec.malformed = Malformed::Quarantine;
    }
    let file = hash_file(path.clone(), path, true, |_| Ok(()))?;
    let input = Input::open(&spec, vec![file])?;
    let mut rows = 0;
    input.read(
        |piece| Ok(piece.batch.num_rows() as u64),
        |some| {
            rows += some;
            Ok(())
        },
    )?;
    Ok(rows)
}
