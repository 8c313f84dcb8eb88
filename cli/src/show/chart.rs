//! A loss curve drawn in the terminal, in braille dots.

use std::fmt::Write as _;

use anstyle::{Ansi256Color, AnsiColor, Style as Look};
use phalanx_protocol::view::Curve;
use ratatui_core::{
    buffer::Buffer,
    layout::{Constraint, Rect},
    style::{Color, Modifier, Style},
    symbols::Marker,
    text::Line,
    widgets::Widget as _,
};
use ratatui_widgets::chart::{Axis, Chart, Dataset, GraphType, LegendPosition};

use super::number::{count, figure};

/// Lines of a chart, its axis included.
const LINES: u16 = 14;

/// A chart as wide as `columns`; nothing if there are not two points.
pub(super) fn chart(curve: &Curve, columns: usize) -> Option<String> {
    let width = u16::try_from(columns.saturating_sub(2)).unwrap_or(u16::MAX).clamp(30, 118);
    // Braille has two dots a column: more points than that would blur into a band.
    let train = thinned(&curve.train, usize::from(width) * 2);
    let validation = floats(&curve.validation);
    let mut datasets = vec![line("training", &train, Color::Cyan)];
    if !validation.is_empty() {
        datasets.push(line("validation", &validation, Color::Yellow));
    }
    let all: Vec<(f64, f64)> = train.iter().chain(&validation).copied().collect();
    let (last, low, high) = bounds(&all)?;

    let middle = if last % 2.0 == 0.0 { count(last as u64 / 2) } else { String::new() };
    let steps = [count(0), middle, format!("{} steps", count(last as u64))].map(Line::from);
    let losses = [low, f64::midpoint(low, high), high].map(|loss| Line::from(figure(loss)));
    let dim = Style::default().fg(Color::DarkGray);
    let chart = Chart::new(datasets)
        .x_axis(Axis::default().style(dim).bounds([0.0, last]).labels(steps))
        .y_axis(Axis::default().style(dim).bounds([low, high]).labels(losses))
        .legend_position(Some(LegendPosition::TopRight))
        .hidden_legend_constraints((Constraint::Percentage(100), Constraint::Percentage(100)));
    let area = Rect::new(0, 0, width, LINES);
    let mut buffer = Buffer::empty(area);
    chart.render(area, &mut buffer);
    Some(text(&buffer))
}

fn line<'a>(name: &'a str, points: &'a [(f64, f64)], color: Color) -> Dataset<'a> {
    let style = Style::default().fg(color);
    Dataset::default()
        .name(name)
        .data(points)
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(style)
}

/// The last step, and the range of the losses, widened where it is none.
fn bounds(points: &[(f64, f64)]) -> Option<(f64, f64, f64)> {
    let last = points.iter().map(|(step, _)| *step).fold(0.0, f64::max);
    let low = points.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|(_, loss)| *loss).fold(f64::NEG_INFINITY, f64::max);
    if points.len() < 2 || last <= 0.0 || !(low.is_finite() && high.is_finite()) {
        return None;
    }
    let low = if low > 0.0 && low < high / 4.0 { 0.0 } else { low };
    Some(if high > low { (last, low, high) } else { (last, low - 0.5, high + 0.5) })
}

fn floats(points: &[(u64, f64)]) -> Vec<(f64, f64)> {
    points.iter().filter(|(_, loss)| loss.is_finite()).map(|(step, loss)| (*step as f64, *loss)).collect()
}

/// At most `limit` points, each the mean of its neighbours.
fn thinned(points: &[(u64, f64)], limit: usize) -> Vec<(f64, f64)> {
    let points = floats(points);
    let size = points.len().div_ceil(limit).max(1);
    let mean = |points: &[(f64, f64)]| {
        let many = points.len() as f64;
        let (steps, losses) = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (steps / many, losses / many)
    };
    points.chunks(size).map(mean).collect()
}

/// The buffer as lines, with colours, moved in by two.
fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in buffer.area.top()..buffer.area.bottom() {
        let mut line = String::from("  ");
        let mut look = Look::new();
        for x in buffer.area.left()..buffer.area.right() {
            let cell = &buffer[(x, y)];
            let next = if cell.symbol() == " " { look } else { as_look(cell.fg, cell.modifier) };
            if next != look {
                let _ = write!(line, "{look:#}{next}");
                look = next;
            }
            line.push_str(cell.symbol());
        }
        let kept = line.trim_end().len();
        line.truncate(kept);
        let _ = writeln!(text, "{line}{look:#}");
    }
    text
}

fn as_look(color: Color, modifier: Modifier) -> Look {
    let look = match color {
        Color::Cyan => Look::new().fg_color(Some(AnsiColor::Cyan.into())),
        Color::Yellow => Look::new().fg_color(Some(AnsiColor::Yellow.into())),
        Color::DarkGray => Look::new().fg_color(Some(Ansi256Color(244).into())),
        _ => Look::new(),
    };
    if modifier.contains(Modifier::BOLD) { look.bold() } else { look }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falling() -> Curve {
        let train = (1..=900_u64).map(|step| (step, 2.3 / (1.0 + step as f64 / 60.0) + 0.05)).collect();
        let validation = (1..=6_u64).map(|epoch| (epoch * 150, 1.9 / epoch as f64)).collect();
        Curve { train, validation }
    }

    #[test]
    fn a_curve_falls_from_the_upper_left_to_the_lower_right() {
        let drawn = chart(&falling(), 80).unwrap();
        insta::assert_snapshot!(anstream::adapter::strip_str(&drawn).to_string());
    }

    #[test]
    fn without_two_points_there_is_no_chart() {
        assert_eq!(chart(&Curve::default(), 80), None);
        assert_eq!(chart(&Curve { train: vec![(1, 0.5)], validation: vec![] }, 80), None);
        assert_eq!(chart(&Curve { train: vec![(1, f64::NAN), (2, f64::NAN)], validation: vec![] }, 80), None);
    }

    #[test]
    fn a_flat_curve_is_drawn() {
        assert!(chart(&Curve { train: vec![(1, 0.5), (2, 0.5)], validation: vec![] }, 40).is_some());
    }
}
