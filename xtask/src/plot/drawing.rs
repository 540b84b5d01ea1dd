//! From lines to a picture.

use anyhow::Result;
use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::drawing::IntoDrawingArea;
use plotters::element::PathElement;
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color, RGBColor, WHITE};

const SIZE: (u32, u32) = (960, 420);
const FONT: &str = "sans-serif";
/// Colours that people who see few can tell apart too.
const COLORS: [RGBColor; 5] = [
    RGBColor(0, 90, 181),
    RGBColor(213, 94, 0),
    RGBColor(0, 135, 96),
    RGBColor(170, 60, 140),
    RGBColor(90, 90, 90),
];

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What the legend says of it.
    pub(super) name: String,
    /// Which colour it has: lines that belong together have one.
    pub(super) color: usize,
    /// Whether it stands back.
    pub(super) is_faint: bool,
    /// Seconds since the first request, and what was measured then.
    pub(super) points: Vec<(f64, f64)>,
}

/// What is drawn.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// What it shows.
    pub(super) title: &'static str,
    /// What its height means.
    pub(super) unit: &'static str,
    /// The lines.
    pub(super) lines: Vec<Line>,
}

/// Draws it as SVG.
///
/// # Errors
/// It has no extent.
pub(super) fn draw(picture: &Picture) -> Result<String> {
    let mut svg = String::new();
    draw_into(&mut svg, picture)?;
    Ok(svg)
}

fn draw_into(svg: &mut String, picture: &Picture) -> Result<()> {
    let all = || picture.lines.iter().flat_map(|line| &line.points);
    let width = all().map(|(x, _)| *x).fold(1.0, f64::max);
    let height = all().map(|(_, y)| *y).fold(0.001, f64::max) * 1.1;
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(picture.title, (FONT, 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(68)
        .build_cartesian_2d(0.0..width, 0.0..height)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("seconds since the first request")
        .y_desc(picture.unit)
        .draw()?;
    for line in &picture.lines {
        let color = COLORS.get(line.color % COLORS.len()).copied().unwrap_or(BLACK);
        let style = color.mix(if line.is_faint { 0.45 } else { 1.0 }).stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))?
            .label(line.name.as_str())
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 13))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_drawn_and_named() {
        let line = |name: &str, points: Vec<(f64, f64)>| Line {
            name: name.to_owned(),
            color: 7,
            is_faint: false,
            points,
        };
        let picture = Picture {
            title: "Throughput",
            unit: "payments a second",
            lines: vec![
                line("one", vec![(1.0, 100.0), (2.0, 300.0), (3.0, 200.0)]),
                line("other", vec![]),
            ],
        };
        let svg = draw(&picture).unwrap();
        for text in ["Throughput", "payments a second", "one", "other"] {
            assert!(svg.contains(text), "{text}");
        }
    }
}
