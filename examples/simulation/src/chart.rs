//! Files: tables as CSV, lines as SVG.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

/// A line of a chart.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    /// What the paper says, or a formula: thin and grey.
    pub(crate) reference: bool,
}

/// Writes a chart of lines.
pub(crate) fn chart(path: &Path, title: &str, (x, y): (&str, &str), lines: &[Line]) -> Result<()> {
    let plain = Axes { from: (0.0, 0.0), powers: (false, false) };
    draw(path, title, (x, y), lines, &plain).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

/// Writes a chart of lines over numbers of peers, which are drawn in powers of ten; the values too if `powers`.
pub(crate) fn chart_by_size(path: &Path, title: &str, y: &str, lines: &[Line], powers: bool) -> Result<()> {
    let value = |value: f64| if powers { value.max(f64::MIN_POSITIVE).log10() } else { value };
    let drawn: Vec<Line> = lines
        .iter()
        .map(|Line { name, points, reference }| Line {
            name: name.clone(),
            points: points.iter().map(|(size, found)| (size.log10(), value(*found))).collect(),
            reference: *reference,
        })
        .collect();
    let all = || drawn.iter().flat_map(|line| line.points.iter());
    let least = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(f64::MAX, f64::min);
    let bottom = if powers { least(|point| point.1).floor().min(0.0) } else { 0.0 };
    let axes = Axes { from: (least(|point| point.0), bottom), powers: (true, powers) };
    draw(path, title, ("Peers", y), &drawn, &axes).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

/// Where axes begin, and whether what is drawn are powers of ten.
struct Axes {
    from: (f64, f64),
    powers: (bool, bool),
}

/// How a number is written on an axis.
fn label(powers: bool, value: f64) -> String {
    let plain = if powers { 10f64.powf(value) } else { value };
    match plain.abs() {
        large if large >= 1e6 => format!("{:.3} M", plain / 1e6).replace(".000", ""),
        large if large >= 100.0 => format!("{plain:.0}"),
        _ => format!("{:.4}", plain).trim_end_matches('0').trim_end_matches('.').to_string(),
    }
}

fn draw(
    path: &Path,
    title: &str,
    (x, y): (&str, &str),
    lines: &[Line],
    axes: &Axes,
) -> Result<(), Box<dyn std::error::Error>> {
    let all = || lines.iter().flat_map(|line| line.points.iter());
    let most = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(f64::MIN_POSITIVE, f64::max);
    let root = SVGBackend::new(path, (900, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(axes.from.0..most(|point| point.0), axes.from.1..most(|point| point.1) * 1.08)?;
    let (of_x, of_y) = (|value: &f64| label(axes.powers.0, *value), |value: &f64| label(axes.powers.1, *value));
    chart
        .configure_mesh()
        .x_label_formatter(&of_x)
        .y_label_formatter(&of_y)
        .x_desc(x)
        .y_desc(y)
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 17))
        .light_line_style(WHITE)
        .draw()?;
    for (nth, line) in lines.iter().enumerate() {
        let style = match line.reference {
            true => RGBColor(130, 130, 130).stroke_width(1),
            false => Palette99::pick(nth).stroke_width(2),
        };
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))?
            .label(line.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .label_font(("sans-serif", 15))
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Writes a table. Cells hold numbers and plain words, so nothing is quoted.
pub(crate) fn csv(path: &Path, head: &[String], rows: &[Vec<String>]) -> Result<()> {
    let mut text = String::new();
    for row in std::iter::once(head).chain(rows.iter().map(Vec::as_slice)) {
        writeln!(text, "{}", row.join(","))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A number as a cell.
pub(crate) fn cell(number: f64) -> String {
    format!("{number:.4}")
}
