//! Folders of PNG and JPEG images: a row for each, with its bytes and its label.
//! Decoding is bounded by the size that the job file names, before it begins.

use std::{
    collections::BTreeMap,
    io::Cursor,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, BinaryBuilder, StringBuilder},
    datatypes::{DataType, Field},
};
use image::{DynamicImage, ImageReader, Limits, imageops::FilterType};
use phalanx_protocol::spec::ImagesSpec;

use super::{Rejects, SourceFile, at};
use crate::{PrepareError, source::unreadable};

/// Images that are decoded together.
const IMAGES_AT_ONCE: usize = 64;

/// The most pixels on a side of an image that is resized.
const SIDE_MAX: u32 = 16_384;

/// The most bytes that decoding one image may take.
const DECODED_BYTES_MAX: u64 = 512 << 20;

/// Images whose labels are known.
#[derive(Debug)]
pub(super) struct ImagesForm {
    shape: [usize; 3],
    resize: bool,
    /// The number of each image's file, and its label.
    images: Vec<(usize, Option<String>)>,
}

/// Whether a file's name is that of an image.
pub(crate) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["png", "jpg", "jpeg"].contains(&extension.to_lowercase().as_str()))
}

impl ImagesForm {
    /// Finds the label of each image.
    pub(super) fn open(
        spec: &ImagesSpec,
        shape: Option<[usize; 3]>,
        files: &[SourceFile],
    ) -> Result<(Self, Vec<Field>), PrepareError> {
        let shape = shape.ok_or_else(|| PrepareError::Recipe {
            reason: "`shape` must say the images' channels, height and width".to_owned(),
        })?;
        let labels = spec.labels.as_deref().map(read_labels).transpose()?;
        let mut images = Vec::new();
        for (number, file) in files.iter().enumerate().filter(|(_, file)| is_image(&file.name)) {
            let label = match &labels {
                None => file.name.parent().and_then(Path::file_name).map(|name| name.display().to_string()),
                Some(labels) => label_of(&file.name, labels),
            };
            images.push((number, label));
        }
        if images.is_empty() {
            return Err(PrepareError::Empty { path: spec.path.clone(), expected: "PNG or JPEG images" });
        }
        let fields =
            vec![Field::new("image", DataType::Binary, true), Field::new("label", DataType::Utf8, true)];
        Ok((Self { shape, resize: spec.resize, images }, fields))
    }

    /// Which images are decoded together.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Range<usize>> + Send + use<> {
        let images = self.images.len();
        (0..images).step_by(IMAGES_AT_ONCE).map(move |from| from..images.min(from + IMAGES_AT_ONCE))
    }

    /// Decodes some images: the columns, and where each stands.
    pub(super) fn parse(
        &self,
        range: Range<usize>,
        rejects: &mut Rejects<'_>,
    ) -> Result<(Vec<ArrayRef>, Vec<u64>), PrepareError> {
        let (mut pixels, mut labels, mut places) = (BinaryBuilder::new(), StringBuilder::new(), Vec::new());
        for (file, label) in &self.images[range] {
            let (source, place) = (&rejects.files[*file], at(*file, 1));
            let content = std::fs::read(&source.path).map_err(|error| unreadable(&source.name, error))?;
            match decode(content, self.shape, self.resize) {
                Ok(image) => {
                    pixels.append_value(image);
                    labels.append_option(label.as_deref());
                    places.push(place);
                }
                Err(reason) => {
                    let error = PrepareError::Image { path: source.name.clone(), reason };
                    rejects.add(place, b"", error)?;
                }
            }
        }
        Ok((vec![Arc::new(pixels.finish()), Arc::new(labels.finish())], places))
    }
}

/// The label of the file whose path ends with one that is named, the longest first.
fn label_of(file: &Path, labels: &BTreeMap<PathBuf, String>) -> Option<String> {
    let mut parts = file.components();
    while !parts.as_path().as_os_str().is_empty() {
        if let Some(label) = labels.get(parts.as_path()) {
            return Some(label.clone());
        }
        parts.next();
    }
    None
}

/// The pixels of an image, channel after channel.
fn decode(content: Vec<u8>, [channels, height, width]: [usize; 3], resize: bool) -> Result<Vec<u8>, String> {
    let mut reader =
        ImageReader::new(Cursor::new(content)).with_guessed_format().map_err(|error| error.to_string())?;
    let mut limits = Limits::default();
    let most = |side: usize| if resize { SIDE_MAX } else { u32::try_from(side).unwrap_or(SIDE_MAX) };
    (limits.max_image_width, limits.max_image_height) = (Some(most(width)), Some(most(height)));
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| error.to_string())?;
    let (found_width, found_height) = (image.width() as usize, image.height() as usize);
    let image = match (found_width, found_height) == (width, height) {
        true => image,
        false if resize => image.resize_exact(width as u32, height as u32, FilterType::Triangle),
        false => {
            return Err(format!(
                "expected {width}×{height} pixels, as in `data.shape`, found {found_width}×{found_height}; \
                 `data.images.resize = true` brings it to that size"
            ));
        }
    };
    Ok(planes(&image, channels))
}

fn planes(image: &DynamicImage, channels: usize) -> Vec<u8> {
    if channels == 1 {
        return image.to_luma8().into_raw();
    }
    let colours = image.to_rgb8().into_raw();
    (0..3).flat_map(|channel| colours.iter().skip(channel).step_by(3).copied()).collect()
}

/// The labels in a CSV file with the columns `file` and `label`.
fn read_labels(path: &Path) -> Result<BTreeMap<PathBuf, String>, PrepareError> {
    let failed = |reason: String| PrepareError::Damaged { path: path.to_owned(), reason };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(crate::source::open(path)?);
    let header = reader.headers().map_err(|error| failed(error.to_string()))?.clone();
    let column = |name: &str| {
        let index = header.iter().position(|found| found == name);
        index.ok_or_else(|| failed(format!("expected the columns `file` and `label`, there is no `{name}`")))
    };
    let (file, label) = (column("file")?, column("label")?);
    let mut labels = BTreeMap::new();
    for row in reader.records() {
        let row = row.map_err(|error| failed(error.to_string()))?;
        if let (Some(file), Some(label)) = (row.get(file), row.get(label)) {
            labels.insert(PathBuf::from(file), label.to_owned());
        }
    }
    Ok(labels)
}
