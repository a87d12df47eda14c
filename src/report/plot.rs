//! Plots in files.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{
    drawing::{Drawing, Refusal, save_drawing, svg},
    error::{Error, Result},
};

/// A line over points, such as a loss over epochs. Points that are not finite are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// The points (x, y), by x.
    pub points: Vec<(f64, f64)>,
}

/// Lines in one pair of axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What stands above.
    pub title: String,
    /// What the horizontal axis counts.
    pub x: String,
    /// The lines.
    pub series: Vec<Series>,
}

impl Series {
    /// A line over 1, 2, 3, ….
    pub fn over_epochs(name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        let points = values.into_iter().enumerate().map(|(at, value)| (at as f64 + 1.0, value)).collect();
        Self { name: name.into(), points }
    }

    /// The points that can be drawn.
    pub(super) fn finite(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
    }
}

impl Panel {
    /// The least and largest x and y, a little widened where they coincide; `None` without a finite point.
    pub(super) fn bounds(&self) -> Option<[(f64, f64); 2]> {
        let mut bounds: Option<[(f64, f64); 2]> = None;
        for (x, y) in self.series.iter().flat_map(Series::finite) {
            let [xs, ys] = bounds.unwrap_or([(x, x), (y, y)]);
            bounds = Some([(xs.0.min(x), xs.1.max(x)), (ys.0.min(y), ys.1.max(y))]);
        }
        let widen = |(low, high): (f64, f64)| match low {
            _ if low < high => (low, high),
            0.0 => (0.0, 1.0),
            _ => (low - low.abs() / 2.0, low + low.abs() / 2.0),
        };
        bounds.map(|[xs, ys]| [widen(xs), widen(ys)])
    }
}

/// Draws panels beside and below each other into an `.svg` or `.png` file, which appears whole or not at all.
pub fn plot(panels: &[Panel], path: &Path) -> Result<()> {
    let panels: Vec<&Panel> = panels.iter().filter(|panel| panel.bounds().is_some()).collect();
    if panels.is_empty() {
        return Err(Error::NothingToPlot);
    }
    let columns = if panels.len() == 1 { 1 } else { 2 };
    let rows = panels.len().div_ceil(columns);
    save_drawing(&Panels { panels, rows, columns, size: PANEL }, path)
}

/// One panel as vectors, without its title, for a page that writes that itself; nothing where no point is finite.
///
/// # Errors
/// The drawing library's refusal.
pub(super) fn panel_svg(panel: &Panel) -> Result<Option<String>> {
    let untitled = Panel { title: String::new(), ..panel.clone() };
    let drawn = Panels { panels: vec![&untitled], rows: 1, columns: 1, size: SMALL };
    panel.bounds().map(|_| svg(&drawn)).transpose()
}

/// Panels beside and below each other.
struct Panels<'a> {
    panels: Vec<&'a Panel>,
    rows: usize,
    columns: usize,
    /// Width and height of each.
    size: (u32, u32),
}

impl Drawing for Panels<'_> {
    fn size(&self) -> (u32, u32) {
        (self.columns as u32 * self.size.0, self.rows as u32 * self.size.1)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> std::result::Result<(), Refusal<B>> {
        let areas = area.split_evenly((self.rows, self.columns));
        self.panels.iter().zip(&areas).try_for_each(|(panel, area)| draw_panel(area, panel, super::font::family()))
    }
}

/// Width and height of a panel in pixels, in a file.
const PANEL: (u32, u32) = (640, 400);
/// And in a page, where it has no title and is to be read on a phone.
const SMALL: (u32, u32) = (480, 300);

/// Colours that people with colour-blindness tell apart (Okabe and Ito 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

fn draw_panel<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    panel: &Panel,
    font: &str,
) -> std::result::Result<(), Refusal<B>> {
    let Some([xs, ys]) = panel.bounds() else { return Ok(()) };
    let margin = (ys.1 - ys.0) * 0.06;
    let mut builder = ChartBuilder::on(area);
    if !panel.title.is_empty() {
        builder.caption(&panel.title, (font, 20));
    }
    let mut chart = builder
        .margin(14)
        .x_label_area_size(40)
        .y_label_area_size(62)
        .build_cartesian_2d(xs.0..xs.1, ys.0 - margin..ys.1 + margin)?;
    let whole = panel.series.iter().flat_map(Series::finite).all(|(x, _)| x.fract() == 0.0);
    chart
        .configure_mesh()
        .x_desc(&panel.x)
        .x_labels(if whole { ((xs.1 - xs.0) as usize + 1).clamp(2, 10) } else { 10 })
        .x_label_formatter(&|x| if whole { format!("{x:.0}") } else { super::cell::significant(*x, 3) })
        .y_label_formatter(&|y| super::cell::significant(if y.abs() < 1e-12 { 0.0 } else { *y }, 3))
        .max_light_lines(2)
        .light_line_style(RGBColor(244, 244, 244))
        .bold_line_style(RGBColor(225, 225, 225))
        .axis_style(RGBColor(90, 90, 90))
        .label_style((font, 14))
        .draw()?;
    for (series, colour) in panel.series.iter().zip(COLOURS.into_iter().cycle()) {
        let points: Vec<(f64, f64)> = series.finite().collect();
        if points.is_empty() {
            continue;
        }
        let dots = points.len() <= 40;
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(&series.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        if dots {
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
        }
    }
    chart
        .configure_series_labels()
        .position(legend_place(panel, xs, ys))
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font((font, 14))
        .legend_area_size(24)
        .margin(8)
        .draw()?;
    Ok(())
}

/// The corner in which fewest points lie.
fn legend_place(panel: &Panel, xs: (f64, f64), ys: (f64, f64)) -> SeriesLabelPosition {
    let corners = [
        (SeriesLabelPosition::UpperRight, true, true),
        (SeriesLabelPosition::LowerRight, true, false),
        (SeriesLabelPosition::UpperLeft, false, true),
        (SeriesLabelPosition::LowerLeft, false, false),
    ];
    let share = |value: f64, (low, high): (f64, f64)| (value - low) / (high - low);
    let inside = |right: bool, upper: bool| {
        let points = panel.series.iter().flat_map(Series::finite);
        points
            .filter(|&(x, y)| {
                let (x, y) = (share(x, xs), share(y, ys));
                (if right { x > 0.6 } else { x < 0.4 }) && (if upper { y > 0.6 } else { y < 0.4 })
            })
            .count()
    };
    let best = corners.into_iter().min_by_key(|(_, right, upper)| inside(*right, *upper));
    best.map_or(SeriesLabelPosition::UpperRight, |(place, _, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panels() -> Vec<Panel> {
        let falling = |scale: f64| (1..=30).map(move |epoch| scale / f64::from(epoch).sqrt());
        let rising = (1..=30).map(|epoch| 0.55 * (1.0 - (-f64::from(epoch) / 6.0).exp()));
        let losses = ["box", "objectness", "class"].iter().zip([0.09, 0.06, 0.02]);
        vec![
            Panel {
                title: "training losses".into(),
                x: "epoch".into(),
                series: losses.map(|(name, scale)| Series::over_epochs(*name, falling(scale))).collect(),
            },
            Panel {
                title: "accuracy on val".into(),
                x: "epoch".into(),
                series: vec![Series::over_epochs("mAP50-95", rising), Series::over_epochs("no", [f64::NAN])],
            },
        ]
    }

    #[test]
    fn draws_lines_axes_and_legend() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        plot(&panels(), &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["training losses", "epoch", "objectness", "mAP50-95", "polyline"] {
            assert!(text.contains(word), "{word}");
        }
        let path = folder.path().join("curves.png");
        plot(&panels(), &path).unwrap();
        let picture = image::open(&path).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (2 * PANEL.0, PANEL.1));
        let blue = picture.pixels().filter(|pixel| pixel.0 == [0, 114, 178]).count();
        assert!(blue > 500, "{blue} pixels of the first line");
    }

    #[test]
    fn what_cannot_be_drawn_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let text = |error: Error| error.to_string();
        assert!(text(plot(&panels(), &folder.path().join("a.jpg")).unwrap_err()).contains(".svg or .png"));
        let empty = Panel { title: "t".into(), x: "x".into(), series: vec![Series::over_epochs("a", [f64::NAN])] };
        assert!(text(plot(&[empty], &folder.path().join("a.svg")).unwrap_err()).contains("nothing to plot"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(text(plot(&panels(), &file.join("a.svg")).unwrap_err()).contains("file/a.svg"));
    }

    #[test]
    fn one_epoch_alone_can_be_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let panel = Panel { title: "t".into(), x: "epoch".into(), series: vec![Series::over_epochs("a", [0.5])] };
        plot(&[panel], &folder.path().join("a.png")).unwrap();
    }
}
