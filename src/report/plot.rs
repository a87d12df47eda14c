//! Plots in files.

use std::path::Path;

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
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
    let series: Vec<&Series> = panel.series.iter().filter(|series| series.finite().next().is_some()).collect();
    let margin = (ys.1 - ys.0) * 0.06;
    let titled = !panel.title.is_empty();
    let (width, height) = area.dim_in_pixel();
    let (names, lines) = (legend_width(&series), LEGEND_LINE * series.len() as u32 + LEGEND_LINE / 2);
    // Long names stand below, where they are few.
    let beside = 3 * names < width || 3 * lines > height;
    let (area, legend) = if beside {
        area.split_horizontally(width - names.min(width / 2))
    } else {
        area.split_vertically(height - lines)
    };
    let place = match (beside, titled) {
        (true, true) => (2, 50),
        (true, false) => (2, 26),
        (false, _) => (80, LETTERS as i32 / 2),
    };
    draw_legend(&legend, &series, place, font)?;
    let mut builder = ChartBuilder::on(&area);
    if titled {
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
    for (at, series) in series.into_iter().enumerate() {
        let points: Vec<(f64, f64)> = series.finite().collect();
        let line = Line::of(at);
        match line.dash {
            None => chart.draw_series(LineSeries::new(points.iter().copied(), line.style))?,
            Some(dash) => chart.draw_series(DashedLineSeries::new(points.iter().copied(), dash, dash, line.style))?,
        };
        if points.len() <= 40 {
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, line.style.filled())))?;
        }
    }
    Ok(())
}

/// How a series is drawn: beyond as many as there are colours they come again, dashed.
struct Line {
    style: ShapeStyle,
    dash: Option<u32>,
}

impl Line {
    fn of(series: usize) -> Self {
        let round = series / COLOURS.len();
        let style = COLOURS[series % COLOURS.len()].stroke_width(2);
        Self { style, dash: (round > 0).then(|| 6 / round.min(3) as u32) }
    }
}

/// In a legend: the size of the letters, how wide one of them is about, and how far its lines are apart.
const LETTERS: u32 = 14;
const LETTER: usize = 8;
const LEGEND_LINE: u32 = 18;

/// How wide a legend of these series is.
fn legend_width(series: &[&Series]) -> u32 {
    let longest = series.iter().map(|series| series.name.chars().count()).max().unwrap_or(0);
    (34 + LETTER * longest) as u32
}

/// A line and a name below each other for each series, from a place on, as many as there is room for.
fn draw_legend<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    series: &[&Series],
    (left, top): (i32, i32),
    font: &str,
) -> std::result::Result<(), Refusal<B>> {
    let room = ((area.dim_in_pixel().1 as i32 - top) / LEGEND_LINE as i32).max(1) as usize;
    let drawn = if series.len() <= room { series.len() } else { room - 1 };
    let y = |at: usize| top + at as i32 * LEGEND_LINE as i32;
    let write =
        |text: &str, x: i32, at: usize| area.draw(&Text::new(text, (x, y(at) - LETTERS as i32 / 2), (font, LETTERS)));
    for (at, series) in series.iter().enumerate().take(drawn) {
        let (line, y) = (Line::of(at), y(at));
        let ends = [(left, y), (left + 20, y)];
        match line.dash {
            None => area.draw(&PathElement::new(ends, line.style))?,
            Some(dash) => area.draw(&DashedPathElement::new(ends, dash, dash, line.style))?,
        }
        write(&series.name, left + 26, at)?;
    }
    if drawn < series.len() {
        write(&format!("and {} more", series.len() - drawn), left, drawn)?;
    }
    Ok(())
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
    fn long_names_stand_below_the_lines_that_they_explain() {
        let name = "pruned to half of the multiply-accumulates, then distilled from the first";
        let panel = Panel { title: String::new(), x: "s".into(), series: vec![Series::over_epochs(name, [0.5, 0.6])] };
        let text = panel_svg(&panel).unwrap().unwrap();
        let written = text.split("<text").find(|element| element.contains(name)).unwrap();
        let y: u32 = written.split("y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        assert!(y > SMALL.1 - 2 * LEGEND_LINE, "{written}");
    }

    #[test]
    fn of_many_lines_the_last_are_not_named() {
        let series = (0..80).map(|class| Series::over_epochs(format!("class {class} of many"), [0.1, 0.2])).collect();
        let panel = Panel { title: String::new(), x: "recall".into(), series };
        let text = panel_svg(&panel).unwrap().unwrap();
        let named = (0..80).filter(|class| text.contains(&format!("class {class} of many"))).count();
        assert!((10..20).contains(&named) && text.contains(&format!("and {} more", 80 - named)), "{named}");
    }

    #[test]
    fn one_epoch_alone_can_be_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let panel = Panel { title: "t".into(), x: "epoch".into(), series: vec![Series::over_epochs("a", [0.5])] };
        plot(&[panel], &folder.path().join("a.png")).unwrap();
    }
}
