//! Files: tables as CSV, lines as SVG.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// Colours that are told apart on white, also by who sees no red or green (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(86, 180, 233),
    RGBColor(160, 110, 0),
];

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
    let bottom = if powers { least(|point| point.1).floor() } else { 0.0 };
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

/// An axis with labels where we want them.
struct Axis(RangedCoordf64, Vec<f64>);

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn range(&self) -> Range<f64> {
        self.0.range()
    }

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.0.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.1.clone()
    }
}

/// Where an axis is labelled: at powers of ten, and at 2 and 5 times them if there are few.
fn ticks(powers: bool, from: f64, to: f64) -> Vec<f64> {
    if !powers {
        return RangedCoordf64::from(from..to).key_points(10);
    }
    let parts: &[f64] = if to - from < 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let whole = (from.floor() as i32)..=(to.ceil() as i32);
    let all = whole.flat_map(|power| parts.iter().map(move |part| part.log10() + f64::from(power)));
    all.filter(|tick| (from - 1e-9..=to + 1e-9).contains(tick)).collect()
}

/// The corner, or else the side, where the fewest of the lines run.
fn emptiest(lines: &[Line], (from, to): ((f64, f64), (f64, f64))) -> SeriesLabelPosition {
    let part = |value: f64, from: f64, to: f64| (value - from) / (to - from).max(f64::MIN_POSITIVE);
    let places = [
        (SeriesLabelPosition::UpperLeft, 0.0, 1.0),
        (SeriesLabelPosition::UpperRight, 1.0, 1.0),
        (SeriesLabelPosition::LowerRight, 1.0, 0.0),
        (SeriesLabelPosition::LowerLeft, 0.0, 0.0),
        (SeriesLabelPosition::MiddleRight, 1.0, 0.5),
        (SeriesLabelPosition::MiddleLeft, 0.0, 0.5),
    ];
    let along = |pair: &[(f64, f64)]| {
        let [(x, y), (next_x, next_y)] = [pair[0], pair[pair.len() - 1]];
        (0..=20).map(move |nth| f64::from(nth) / 20.0).map(move |at| (x + at * (next_x - x), y + at * (next_y - y)))
    };
    let near = |x: f64, y: f64| {
        let points = lines.iter().flat_map(|line| line.points.windows(2)).flat_map(along);
        let within = |(at_x, at_y): &(f64, f64)| {
            (part(*at_x, from.0, to.0) - x).abs() < 0.35 && (part(*at_y, from.1, to.1) - y).abs() < 0.22
        };
        points.filter(within).count()
    };
    let best = places.into_iter().min_by_key(|(_, x, y)| near(*x, *y));
    best.map_or(SeriesLabelPosition::UpperLeft, |(position, ..)| position)
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
    let to = (most(|point| point.0), most(|point| point.1) * 1.08);
    let range = |from: f64, to: f64, powers| Axis((from..to).into(), ticks(powers, from, to));
    let root = SVGBackend::new(path, (900, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 22))
        .margin(12)
        .margin_right(36)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(range(axes.from.0, to.0, axes.powers.0), range(axes.from.1, to.1, axes.powers.1))?;
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
            false => COLOURS[nth % COLOURS.len()].stroke_width(2),
        };
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))?
            .label(line.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .label_font(("sans-serif", 15))
        .position(emptiest(lines, (axes.from, to)))
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
