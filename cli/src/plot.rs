//! A loss curve as a picture, SVG or PNG. Letters come from a font inside the
//! binary, so that a machine without fonts draws the same picture.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Once,
};

use phalanx_protocol::view::Curve;
use plotters::{
    coord::Shift,
    prelude::*,
    style::{FontStyle, register_font},
};

use crate::output::write_whole;

/// DejaVu Sans, Latin letters only; its licence lies beside it.
const FONT: &[u8] = include_bytes!("../assets/DejaVuSans-Latin.ttf");

const SIZE: (u32, u32) = (1_200, 720);
const INK: RGBColor = RGBColor(38, 43, 51);
const FAINT: RGBColor = RGBColor(225, 228, 233);
const TRAINING: RGBColor = RGBColor(31, 119, 180);
const VALIDATION: RGBColor = RGBColor(230, 97, 1);

/// The smoothed line is the mean over this share of all points.
const SMOOTH_SHARE: f64 = 0.05;

/// Fewer points than this are not smoothed.
const SMOOTH_POINTS_MIN: usize = 60;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlotError {
    /// The file's name says neither format.
    #[error("`{0}` names no picture: expected a file that ends in .svg or .png")]
    Format(String),
    /// There is nothing to draw yet.
    #[error("there is no loss curve yet: the job has not made two steps")]
    Empty,
    /// The file cannot be written.
    #[error("{file} cannot be written: {reason}")]
    Write {
        /// It.
        file: String,
        /// What the system says.
        reason: String,
    },
}

/// A file for a picture, whose name says the format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PictureFile {
    path: PathBuf,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Svg,
    Png,
}

impl PictureFile {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl FromStr for PictureFile {
    type Err = PlotError;

    fn from_str(path: &str) -> Result<Self, PlotError> {
        let path = PathBuf::from(path);
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
        let format = match ending.as_ref().and_then(|ending| ending.to_str()) {
            Some("svg") => Format::Svg,
            Some("png") => Format::Png,
            _ => return Err(PlotError::Format(path.display().to_string())),
        };
        Ok(Self { path, format })
    }
}

/// Writes the curve of a job called `title` to `file`.
///
/// # Errors
///
/// If there are not two points, or the file cannot be written.
pub(crate) fn plot(curve: &Curve, title: &str, file: &PictureFile) -> Result<(), PlotError> {
    static REGISTERED: Once = Once::new();
    // A second registration of the same font changes nothing; the first cannot fail on our own file.
    REGISTERED.call_once(|| drop(register_font("sans-serif", FontStyle::Normal, FONT)));
    let lines = Lines::of(curve).ok_or(PlotError::Empty)?;
    let picture = match file.format {
        Format::Svg => svg(&lines, title),
        Format::Png => png(&lines, title),
    };
    let written = picture
        .map_err(io::Error::other)
        .and_then(|picture| write_whole(&file.path, |file| file.write_all(&picture)));
    written.map_err(|error| PlotError::Write {
        file: file.path.display().to_string(),
        reason: error.to_string(),
    })
}

fn svg(lines: &Lines, title: &str) -> Result<Vec<u8>, String> {
    let mut text = String::new();
    draw(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), lines, title)?;
    Ok(text.into_bytes())
}

fn png(lines: &Lines, title: &str) -> Result<Vec<u8>, String> {
    // The encoder takes the format from a file's name.
    let file = tempfile::Builder::new().suffix(".png").tempfile().map_err(|error| error.to_string())?;
    draw(&BitMapBackend::new(file.path(), SIZE).into_drawing_area(), lines, title)?;
    fs::read(file.path()).map_err(|error| error.to_string())
}

/// What is drawn.
struct Lines {
    /// Each step's loss.
    raw: Vec<(f64, f64)>,
    /// The same without its jitter; empty where there are few points.
    smooth: Vec<(f64, f64)>,
    validation: Vec<(f64, f64)>,
    last_step: f64,
    low: f64,
    high: f64,
}

impl Lines {
    fn of(curve: &Curve) -> Option<Self> {
        let raw = floats(&curve.train);
        let validation = floats(&curve.validation);
        let smooth = if raw.len() < SMOOTH_POINTS_MIN { Vec::new() } else { smoothed(&raw) };
        let all = || raw.iter().chain(&validation);
        let last_step = all().map(|(step, _)| *step).fold(0.0, f64::max);
        let low = all().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
        let high = all().map(|(_, loss)| *loss).fold(f64::NEG_INFINITY, f64::max);
        if all().count() < 2 || last_step <= 0.0 {
            return None;
        }
        let margin = if high > low { (high - low) * 0.04 } else { 0.5 };
        let low = if low >= 0.0 { (low - margin).max(0.0) } else { low - margin };
        Some(Self { raw, smooth, validation, last_step, low, high: high + margin })
    }
}

fn draw<B: DrawingBackend>(area: &DrawingArea<B, Shift>, lines: &Lines, title: &str) -> Result<(), String> {
    draw_on(area, lines, title).map_err(|e| e.to_string())
}

fn draw_on<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    lines: &Lines,
    title: &str,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let letters = |size: i32| ("sans-serif", size).into_font().color(&INK);
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("Loss of {title}"), letters(30))
        .margin(24)
        .x_label_area_size(64)
        .y_label_area_size(92)
        .build_cartesian_2d(0.0..lines.last_step, lines.low..lines.high)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .label_style(letters(19))
        .axis_desc_style(letters(21))
        .x_desc("step")
        .y_desc("loss")
        .x_label_formatter(&|step| indicatif::HumanCount(*step as u64).to_string())
        .y_label_formatter(&|loss| tick(*loss, lines.high - lines.low))
        .draw()?;

    let (thin, thick) = (TRAINING.mix(0.30).stroke_width(1), TRAINING.stroke_width(3));
    if lines.smooth.is_empty() {
        chart.draw_series(LineSeries::new(lines.raw.iter().copied(), thick))?
    } else {
        chart.draw_series(LineSeries::new(lines.raw.iter().copied(), thin))?;
        chart.draw_series(LineSeries::new(lines.smooth.iter().copied(), thick))?
    }
    .label("training")
    .legend(move |(x, y)| PathElement::new([(x, y), (x + 26, y)], thick));
    if !lines.validation.is_empty() {
        let style = VALIDATION.stroke_width(2);
        chart.draw_series(LineSeries::new(lines.validation.iter().copied(), style))?;
        let dots = lines.validation.iter().map(|point| Circle::new(*point, 5, VALIDATION.filled()));
        chart
            .draw_series(dots)?
            .label("validation")
            .legend(|(x, y)| Circle::new((x + 13, y), 5, VALIDATION.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(FAINT)
        .margin(14)
        .legend_area_size(40)
        .label_font(letters(20))
        .draw()?;
    area.present()
}

/// As many decimals as tell neighbouring ticks apart.
fn tick(loss: f64, range: f64) -> String {
    let decimals = (1.0 - range.log10()).ceil().clamp(0.0, 8.0) as usize;
    format!("{loss:.decimals$}")
}

fn floats(points: &[(u64, f64)]) -> Vec<(f64, f64)> {
    points.iter().filter(|(_, loss)| loss.is_finite()).map(|(step, loss)| (*step as f64, *loss)).collect()
}

/// Each point's mean with its neighbours on both sides, so that the line does not lag.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = ((points.len() as f64 * SMOOTH_SHARE / 2.0) as usize).max(1);
    let mean = |index: usize| {
        // As many on either side, or the ends would bend.
        let reach = reach.min(index).min(points.len() - 1 - index);
        let near = &points[index - reach..=index + reach];
        let sum: f64 = near.iter().map(|(_, loss)| loss).sum();
        (points[index].0, sum / near.len() as f64)
    };
    (0..points.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve() -> Curve {
        let jitter = |step: u64| ((step * 7_919) % 101) as f64 / 101.0 - 0.5;
        let loss = |step: u64| 2.25 / (1.0 + step as f64 / 60.0) + 0.06;
        let train = (1..=900).map(|step| (step, loss(step) * (1.0 + 0.35 * jitter(step)))).collect();
        let validation = (1..=6).map(|epoch| (epoch * 150, loss(epoch * 150) * 1.1)).collect();
        Curve { train, validation }
    }

    #[test]
    fn a_picture_is_written_in_the_format_that_its_name_says() {
        let folder = tempfile::tempdir().unwrap();
        let [svg, png] = ["loss.svg", "loss.png"].map(|name| folder.path().join(name));
        for file in [&svg, &png] {
            plot(&curve(), "mnist-3", &file.to_str().unwrap().parse().unwrap()).unwrap();
        }
        let text = std::fs::read_to_string(svg).unwrap();
        assert!(text.starts_with("<svg") && text.contains("Loss of mnist-3") && text.contains("validation"));
        assert!(std::fs::read(&png).unwrap().starts_with(b"\x89PNG"));
        if let Some(kept) = std::env::var_os("PHALANX_KEEP_PLOT") {
            std::fs::copy(png, kept).unwrap();
        }
    }

    #[test]
    fn another_ending_is_refused() {
        for name in ["loss", "loss.pdf", "svg"] {
            assert!(matches!(name.parse::<PictureFile>(), Err(PlotError::Format(_))), "{name}");
        }
        assert!("LOSS.PNG".parse::<PictureFile>().is_ok());
    }

    #[test]
    fn one_point_is_no_curve_and_a_flat_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("loss.svg").to_str().unwrap().parse().unwrap();
        let one = Curve { train: vec![(1, 0.5)], validation: vec![] };
        assert!(matches!(plot(&one, "x", &file), Err(PlotError::Empty)));
        let flat = Curve { train: vec![(1, 0.5), (2, 0.5)], validation: vec![(2, f64::NAN)] };
        plot(&flat, "x", &file).unwrap();
    }
}
