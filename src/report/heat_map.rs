//! Heat maps: numbers in coloured cells.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::FontDesc;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{
    cell::significant,
    drawing::{Drawing, Refusal, save_drawing},
    error::{Error, Result},
    font,
};

/// Rows of coloured cells. Zero is white, what is above it yellow to dark red, what is below it blue, by the square root of
/// the share of the largest magnitude, so that small differences show beside large ones.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// What stands above.
    pub title: String,
    /// What the columns are, written above their names.
    pub across: String,
    /// The columns' names.
    pub columns: Vec<String>,
    /// Each row's name and its values, from the first column on; a row may have fewer than there are columns. Values that
    /// are not finite are left grey.
    pub rows: Vec<(String, Vec<f64>)>,
}

/// Draws a heat map into an `.svg` or `.png` file, which appears whole or not at all. Numbers stand in the cells unless there are
/// more than sixteen columns.
///
/// # Errors
/// No finite value, another ending, a file that cannot be written.
pub fn plot_heat_map(map: &HeatMap, path: &Path) -> Result<()> {
    let largest = map.rows.iter().flat_map(|(_, values)| values).filter(|value| value.is_finite());
    let largest = largest
        .map(|value| value.abs())
        .fold(None, |largest: Option<f64>, value| Some(largest.map_or(value, |largest| largest.max(value))));
    let largest = largest.ok_or(Error::NothingToPlot)?;
    let refused = |error: &dyn std::fmt::Display| Error::Draw { path: path.into(), message: error.to_string() };
    let width = |text: &str, size: u32| -> Result<u32> {
        let font: FontDesc = (font::family(), size).into();
        Ok(font.box_size(text).map_err(|error| refused(&error))?.0)
    };
    let names = map.rows.iter().map(|(name, _)| width(name, LETTERS)).collect::<Result<Vec<u32>>>()?;
    let names = names.into_iter().max().unwrap_or(0) + 2 * GAP;
    let numbered = map.columns.len() <= NUMBERED;
    let cells = map.columns.len() as u32 * if numbered { CELL.0 } else { NARROW };
    let width = (names + cells).max(width(&map.title, TITLE)? + GAP).max(names + LEGEND) + GAP;
    save_drawing(&Sized { map, largest, names, width, numbered }, path)
}

/// Width and height of a cell with a number in it, in pixels.
const CELL: (u32, u32) = (72, 20);
/// Width of a cell without a number.
const NARROW: u32 = 9;
/// With more columns cells have no numbers.
const NUMBERED: usize = 16;
/// Pixels between parts.
const GAP: u32 = 10;
/// Height of letters in cells and names.
const LETTERS: u32 = 13;
/// Height of letters in the title.
const TITLE: u32 = 17;
/// What lies above the cells: title, what is across, names of columns.
const ABOVE: u32 = 70;
/// What lies below the cells: the legend.
const BELOW: u32 = 50;
/// Least width of the legend.
const LEGEND: u32 = 260;

struct Sized<'a> {
    map: &'a HeatMap,
    /// The largest magnitude.
    largest: f64,
    /// Width of the rows' names.
    names: u32,
    width: u32,
    numbered: bool,
}

impl Drawing for Sized<'_> {
    fn size(&self) -> (u32, u32) {
        (self.width, ABOVE + self.map.rows.len() as u32 * CELL.1 + BELOW)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> std::result::Result<(), Refusal<B>> {
        let write = |text: &str, (x, y): (u32, u32), size: u32, colour: RGBColor, side: HPos| {
            let style = FontDesc::from((font::family(), size)).color(&colour).pos(Pos::new(side, VPos::Center));
            area.draw(&Text::new(text.to_owned(), (x as i32, y as i32), style))
        };
        let rectangle = |(x, y): (u32, u32), (width, height): (u32, u32), colour: RGBColor| {
            let corners = [(x as i32, y as i32), ((x + width) as i32, (y + height) as i32)];
            area.draw(&Rectangle::new(corners, colour.filled()))
        };
        let cell = if self.numbered { CELL.0 } else { NARROW };
        let left = |column: usize| self.names + column as u32 * cell;
        write(&self.map.title, (GAP, 18), TITLE, BLACK, HPos::Left)?;
        write(&self.map.across, (self.names, 40), LETTERS, FAINT, HPos::Left)?;
        for (column, name) in self.map.columns.iter().enumerate() {
            let middle = left(column) + cell / 2;
            if self.numbered || column.is_multiple_of(10) {
                write(name, (middle, 59), LETTERS, BLACK, HPos::Center)?;
            }
        }
        for (row, (name, values)) in self.map.rows.iter().enumerate() {
            let top = ABOVE + row as u32 * CELL.1;
            write(name, (self.names - GAP, top + CELL.1 / 2), LETTERS, BLACK, HPos::Right)?;
            for (column, &value) in values.iter().take(self.map.columns.len()).enumerate() {
                let colour = self.colour(value);
                rectangle((left(column), top), (cell - 1, CELL.1 - 1), colour)?;
                if self.numbered {
                    let ink = if luminance(colour) > 130.0 { BLACK } else { WHITE };
                    let middle = (left(column) + cell / 2, top + CELL.1 / 2);
                    write(&significant(value, 2), middle, LETTERS, ink, HPos::Center)?;
                }
            }
        }
        self.legend(area, &write)
    }
}

/// What a text is written by: text, place, size, colour, which side of it the place is.
type Write<'a, B> = &'a dyn Fn(&str, (u32, u32), u32, RGBColor, HPos) -> std::result::Result<(), Refusal<B>>;

impl Sized<'_> {
    /// A strip of the colours with their values below.
    fn legend<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        write: Write<B>,
    ) -> std::result::Result<(), Refusal<B>> {
        let values = self.map.rows.iter().flat_map(|(_, values)| values).filter(|value| value.is_finite());
        let least = values.fold(0.0, |least: f64, &value| least.min(value));
        let top = self.size().1 - BELOW + 12;
        let at = |step: u32| {
            let share = f64::from(step) / f64::from(LEGEND - 1);
            // Even steps of the root, so that the strip shows every colour alike.
            let [low, high] = [least, self.largest].map(|value| value.signum() * value.abs().sqrt());
            let root = low + (high - low) * share;
            root.signum() * root * root
        };
        for step in 0..LEGEND {
            let x = (self.names + step) as i32;
            let corners = [(x, top as i32), (x + 1, top as i32 + 10)];
            area.draw(&Rectangle::new(corners, self.colour(at(step)).filled()))?;
        }
        for (step, side) in [(0, HPos::Left), (LEGEND / 2, HPos::Center), (LEGEND - 1, HPos::Right)] {
            write(&significant(at(step), 2), (self.names + step, top + 20), LETTERS, FAINT, side)?;
        }
        Ok(())
    }

    /// The colour of a value.
    fn colour(&self, value: f64) -> RGBColor {
        if !value.is_finite() {
            return RGBColor(200, 200, 200);
        }
        let share = if self.largest > 0.0 { (value.abs() / self.largest).sqrt() } else { 0.0 };
        let stops: &[[f64; 3]] = if value < 0.0 { &BELOW_ZERO } else { &ABOVE_ZERO };
        let place = share * (stops.len() - 1) as f64;
        let index = (place as usize).min(stops.len() - 2);
        let mix = |channel: usize| {
            let (from, to) = (stops[index][channel], stops[index + 1][channel]);
            (from + (to - from) * (place - index as f64)).round() as u8
        };
        RGBColor(mix(0), mix(1), mix(2))
    }
}

/// Letters that matter less.
const FAINT: RGBColor = RGBColor(90, 90, 90);
/// Colours from zero up, even steps apart, each darker than the one before.
const ABOVE_ZERO: [[f64; 3]; 5] =
    [[255.0, 255.0, 255.0], [255.0, 237.0, 160.0], [254.0, 178.0, 76.0], [227.0, 60.0, 36.0], [128.0, 0.0, 38.0]];
/// Colours from zero down.
const BELOW_ZERO: [[f64; 3]; 3] = [[255.0, 255.0, 255.0], [158.0, 202.0, 225.0], [8.0, 81.0, 156.0]];

fn luminance(RGBColor(red, green, blue): RGBColor) -> f64 {
    0.299 * f64::from(red) + 0.587 * f64::from(green) + 0.114 * f64::from(blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(columns: usize) -> HeatMap {
        let row = |row: usize| (0..columns).map(|column| (row as f64 - 1.0) * column as f64).collect();
        HeatMap {
            title: "what it costs".into(),
            across: "share that goes".into(),
            columns: (0..columns).map(|column| format!("c{column}")).collect(),
            rows: (0..4).map(|index| (format!("model.{index}.conv"), row(index))).collect(),
        }
    }

    #[test]
    fn every_cell_has_the_colour_of_its_value_and_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let svg = folder.path().join("map.svg");
        plot_heat_map(&map(3), &svg).unwrap();
        let text = std::fs::read_to_string(&svg).unwrap();
        for word in ["what it costs", "share that goes", "model.3.conv", "c2", "-2.0", "4.0"] {
            assert!(text.contains(word), "{word}");
        }
        // The largest is 4 (darkest red), the least −2: the root of a half, between the last two blues.
        assert!(text.contains("#800026"), "the darkest red");
        let png = folder.path().join("map.png");
        plot_heat_map(&map(3), &png).unwrap();
        let picture = image::open(&png).unwrap().into_rgb8();
        let dark = picture.pixels().filter(|pixel| pixel.0 == [128, 0, 38]).count();
        assert!(dark > 800, "{dark} pixels of the largest cell");
        assert!(picture.height() == ABOVE + 4 * CELL.1 + BELOW);
    }

    #[test]
    fn many_columns_are_narrow_and_without_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.svg");
        plot_heat_map(&map(128), &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("c120") && !text.contains("c121"), "every tenth column is named");
        assert!(text.matches("<rect").count() > 4 * 128);
    }

    #[test]
    fn what_cannot_be_drawn_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = HeatMap { rows: vec![("a".into(), vec![f64::NAN])], ..map(1) };
        let error = plot_heat_map(&nothing, &folder.path().join("map.svg")).unwrap_err().to_string();
        assert!(error.contains("nothing to plot"), "{error}");
        let zeros = HeatMap { rows: vec![("a".into(), vec![0.0])], ..map(1) };
        plot_heat_map(&zeros, &folder.path().join("map.svg")).unwrap();
    }
}
