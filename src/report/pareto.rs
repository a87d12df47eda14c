//! What costs least for what it gives: points with error bars, and the front of those that no other beats in both.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{
    cell::{Cell, significant},
    drawing::{Drawing, Refusal, save_drawing, svg},
    error::{Error, Result},
    font,
    table::Table,
};

/// Points of cost against gain.
#[derive(Clone, Debug, PartialEq)]
pub struct Pareto {
    /// What stands above.
    pub title: String,
    /// What the horizontal axis is; less is better.
    pub x: String,
    /// What the vertical axis is; more is better.
    pub y: String,
    /// The points.
    pub points: Vec<ParetoPoint>,
}

/// One point.
#[derive(Clone, Debug, PartialEq)]
pub struct ParetoPoint {
    /// What stands beside it.
    pub name: String,
    /// Its cost.
    pub x: f64,
    /// Its gain.
    pub y: f64,
    /// The standard deviation of its gain.
    pub sd: f64,
}

impl Pareto {
    /// A table's column `y` against its column `x`: a point for each row that has both, by the name in its first column. A column
    /// of the name `{y}_sd` gives standard deviations.
    ///
    /// # Errors
    /// A column that the table hasn't.
    pub fn of_table(table: &Table, x: &str, y: &str) -> Result<Self> {
        let ([x, y], sd) = ([table.position(x)?, table.position(y)?], table.position(&format!("{y}_sd")).ok());
        let point = |row: &Vec<Cell>| {
            let sd = sd.and_then(|sd| row[sd].number()).unwrap_or(0.0);
            Some(ParetoPoint { name: short(&row[0].human()), x: row[x].number()?, y: row[y].number()?, sd })
        };
        let heading = |at: usize| table.columns()[at].heading.clone();
        Ok(Self {
            title: format!("{} against {}", heading(y), heading(x)),
            x: heading(x),
            y: heading(y),
            points: table.rows().iter().filter_map(point).collect(),
        })
    }

    /// Places of the points that no other beats in one thing and equals in the other, by cost.
    pub fn front(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.points.len()).filter(|&at| self.points[at].is_finite()).collect();
        let point = |at: usize| &self.points[at];
        order.sort_by(|&a, &b| point(a).x.total_cmp(&point(b).x).then(point(b).y.total_cmp(&point(a).y)));
        let mut best = f64::NEG_INFINITY;
        order.retain(|&at| {
            let better = self.points[at].y > best;
            best = best.max(self.points[at].y);
            better
        });
        order
    }
}

/// So much of a name as there is room for beside a point.
fn short(name: &str) -> String {
    const LETTERS: usize = 36;
    if name.chars().count() <= LETTERS {
        return name.to_owned();
    }
    name.chars().take(LETTERS - 1).chain(['…']).collect()
}

impl ParetoPoint {
    fn is_finite(&self) -> bool {
        [self.x, self.y, self.sd].iter().all(|number| number.is_finite())
    }
}

/// Draws points, their error bars and the front into an `.svg` or `.png` file, which appears whole or not at all.
///
/// # Errors
/// No finite point, another ending, a file that cannot be written.
pub fn plot_pareto(pareto: &Pareto, path: &Path) -> Result<()> {
    if pareto.front().is_empty() {
        return Err(Error::NothingToPlot);
    }
    save_drawing(pareto, path)
}

/// The same as vectors without its title, for a page that writes that itself; nothing without a finite point.
///
/// # Errors
/// The drawing library's refusal.
pub(super) fn pareto_svg(pareto: &Pareto) -> Result<Option<String>> {
    let untitled = Pareto { title: String::new(), ..pareto.clone() };
    if pareto.front().is_empty() { Ok(None) } else { svg(&untitled).map(Some) }
}

/// A cost as an axis tells it: large ones as counts of things, such as MACs.
fn cost(value: f64) -> String {
    if value >= 1e4 { Cell::Count(value.round() as u64).human() } else { significant(value, 3) }
}

/// What is not on the front.
const BEATEN: RGBColor = RGBColor(120, 120, 120);
const FRONT: RGBColor = RGBColor(0, 114, 178);

impl Drawing for Pareto {
    fn size(&self) -> (u32, u32) {
        (860, 560)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> std::result::Result<(), Refusal<B>> {
        let (front, font) = (self.front(), font::family());
        let drawn: Vec<usize> = (0..self.points.len()).filter(|&at| self.points[at].is_finite()).collect();
        let range = |ends: &dyn Fn(&ParetoPoint) -> [f64; 2], margins: [f64; 2]| {
            let all = drawn.iter().flat_map(|&at| ends(&self.points[at]));
            let (low, high) =
                all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(end), high.max(end)));
            let width = if high > low { high - low } else { high.abs().max(1.0) / 2.0 };
            low - margins[0] * width..high + margins[1] * width
        };
        // Names stand to the right of their points.
        let xs = range(&|point| [point.x; 2], [0.06, 0.3]);
        let ys = range(&|point| [point.y - point.sd, point.y + point.sd], [0.08, 0.08]);
        let (width, height) = (xs.end - xs.start, ys.end - ys.start);
        let mut builder = ChartBuilder::on(area);
        if !self.title.is_empty() {
            builder.caption(&self.title, (font, 20));
        }
        let mut chart = builder.margin(14).x_label_area_size(44).y_label_area_size(70).build_cartesian_2d(xs, ys)?;
        chart
            .configure_mesh()
            .x_desc(&self.x)
            .y_desc(&self.y)
            .x_label_formatter(&|x| cost(*x))
            .y_label_formatter(&|y| significant(*y, 3))
            .max_light_lines(2)
            .light_line_style(RGBColor(244, 244, 244))
            .bold_line_style(RGBColor(225, 225, 225))
            .axis_style(RGBColor(90, 90, 90))
            .label_style((font, 14))
            .draw()?;
        let along = front.iter().map(|&at| (self.points[at].x, self.points[at].y));
        chart.draw_series(LineSeries::new(along, FRONT.stroke_width(2)))?;
        for &at in &drawn {
            let ParetoPoint { name, x, y, sd } = &self.points[at];
            let colour = if front.contains(&at) { FRONT } else { BEATEN };
            if *sd > 0.0 {
                let cap = 0.006 * width;
                let across = |y: f64| vec![(x - cap, y), (x + cap, y)];
                let bar = [across(y - sd), vec![(*x, y - sd), (*x, y + sd)], across(y + sd)];
                chart.draw_series(bar.map(|line| PathElement::new(line, colour.stroke_width(1))))?;
            }
            chart.draw_series([Circle::new((*x, *y), 4, colour.filled())])?;
            let beside = (x + 0.012 * width, y + 0.022 * height);
            chart.draw_series([Text::new(name.clone(), beside, (font, 13).into_font().color(&colour))])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pareto(points: &[(f64, f64)]) -> Pareto {
        let point = |(at, &(x, y)): (usize, &(f64, f64))| ParetoPoint { name: format!("p{at}"), x, y, sd: 0.02 };
        let points = points.iter().enumerate().map(point).collect();
        Pareto { title: "all".into(), x: "MACs".into(), y: "mAP50-95".into(), points }
    }

    #[test]
    fn the_front_is_what_no_other_beats() {
        let found = pareto(&[(3.0, 0.6), (1.0, 0.4), (2.0, 0.3), (2.0, 0.5), (4.0, 0.6), (f64::NAN, 0.9)]);
        assert_eq!(found.front(), [1, 3, 0]);
    }

    #[test]
    fn a_table_gives_its_rows_that_have_both() {
        let mut table = Table::new("t", [("name", "name"), ("macs", "MACs"), ("map", "mAP"), ("map_sd", "±")]);
        table.push(["a".into(), Cell::Count(5), Cell::Float(0.5), Cell::Float(0.1)]);
        table.push(["b".repeat(50).into(), Cell::Count(7), Cell::Float(0.6), Cell::Missing]);
        table.push(["c".into(), Cell::Count(9), Cell::Missing, Cell::Missing]);
        let found = Pareto::of_table(&table, "macs", "map").unwrap();
        assert_eq!((found.title.as_str(), found.points.len()), ("mAP against MACs", 2));
        assert_eq!(found.points[0], ParetoPoint { name: "a".into(), x: 5.0, y: 0.5, sd: 0.1 });
        assert!(found.points[1].name.ends_with('…') && found.points[1].sd == 0.0);
        let error = Pareto::of_table(&table, "mac", "map").unwrap_err().to_string();
        assert!(error.contains("did you mean") && error.contains("macs"), "{error}");
    }

    #[test]
    fn points_front_and_names_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("front.svg");
        plot_pareto(&pareto(&[(3.0, 0.6), (1.0, 0.4), (2.0, 0.3)]), &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["p0", "p1", "p2", "mAP50-95", "MACs"] {
            assert!(text.contains(word), "{word}");
        }
        assert_eq!(text.matches("<circle").count(), 3);
        assert_eq!([cost(4.5e7), cost(0.25)], ["45.0 M", "0.250"]);
        // One point alone, and none.
        plot_pareto(&pareto(&[(0.0, 0.0)]), &folder.path().join("one.png")).unwrap();
        let none = plot_pareto(&pareto(&[(f64::NAN, 0.5)]), &path).unwrap_err().to_string();
        assert!(none.contains("nothing to plot"), "{none}");
    }
}
