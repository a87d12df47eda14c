//! Curves and histograms as text.

use textplots::{Chart, LabelBuilder, LabelFormat, Plot, Shape, TickDisplay, TickDisplayBuilder};

use super::cell::significant;
use super::plot::Panel;

/// The width of the terminal in columns, if the output is one.
pub fn terminal_width() -> Option<u16> {
    comfy_table::Table::new().width()
}

/// A panel's lines one below the other, each with its range, for a terminal of so many columns.
pub fn curves(panel: &Panel, columns: Option<u16>) -> String {
    let mut text = format!("{}\n", panel.title);
    for series in &panel.series {
        let points: Vec<(f32, f32)> = series.finite().map(|(x, y)| (x as f32, y as f32)).collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
        text += &format!("{}: {} to {}\n", series.name, number(first.1), number(last.1));
        // One point or a level line says no more than its value.
        if points.iter().all(|point| point.1 == first.1) {
            continue;
        }
        let (width, height) = (dots(columns), 24);
        let shape = Shape::Lines(&points);
        let mut chart = Chart::new(width, height, first.0, last.0);
        let chart = chart
            .lineplot(&shape)
            .x_label_format(LabelFormat::Custom(Box::new(number)))
            .y_label_format(LabelFormat::Custom(Box::new(number)))
            .y_tick_display(TickDisplay::Sparse);
        chart.figures();
        text += &lines(&chart.to_string());
    }
    text.truncate(text.trim_end().len());
    text
}

/// How often values fall into bins of equal width from `low` to `high`: one bar a bin, the tallest one's count in the
/// heading.
pub fn histogram(title: &str, (low, high): (f32, f32), counts: &[u64], columns: Option<u16>) -> String {
    let width = (high - low) / counts.len().max(1) as f32;
    let mut points: Vec<(f32, f32)> =
        counts.iter().enumerate().map(|(bin, &count)| (low + bin as f32 * width, count as f32)).collect();
    if points.is_empty() || width.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
        return format!("{title}\n  all values are {}", number(low));
    }
    points.push((high, 0.0));
    let shape = Shape::Bars(&points);
    let most = counts.iter().max().copied().unwrap_or(1).max(1) as f32;
    let mut chart = Chart::new_with_y_range(dots(columns), 40, low, high, 0.0, most);
    let chart = chart
        .lineplot(&shape)
        .x_label_format(LabelFormat::Custom(Box::new(number)))
        .y_label_format(LabelFormat::Custom(Box::new(|count| format!("{count:.0}"))))
        .y_tick_display(TickDisplay::Sparse);
    chart.figures();
    let total: u64 = counts.iter().sum();
    format!("{title} · {total} values, the tallest bar has {most:.0}\n{}", lines(&chart.to_string()).trim_end())
}

/// Dots across: two a column of the terminal, with room for the labels.
fn dots(columns: Option<u16>) -> u32 {
    (u32::from(columns.unwrap_or(80)).saturating_sub(14).min(72) * 2).max(32)
}

fn number(value: f32) -> String {
    significant(f64::from(value), 3)
}

fn lines(text: &str) -> String {
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Series;

    #[test]
    fn a_histogram_has_a_peak_and_its_edges() {
        let text = histogram("weights", (-1.0, 1.0), &[1, 2, 10, 3, 1], Some(60));
        assert!(
            text.starts_with("weights · 17 values, the tallest bar has 10\n")
                && text.contains("-1.00")
                && text.contains("1.00"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(histogram("zeros", (0.0, 0.0), &[5], None).contains("all values are 0"));
    }

    #[test]
    fn curves_say_where_they_begin_and_end() {
        let series = vec![Series::over_epochs("loss", [2.0, 1.0, 0.5]), Series::over_epochs("one", [7.0])];
        let text = curves(&Panel { title: "run".into(), x: "epoch".into(), series }, Some(50));
        assert!(text.contains("loss: 2.00 to 0.500") && text.contains("one: 7.00 to 7.00"), "{text}");
        assert!(text.lines().count() > 6, "{text}");
        let level = Panel { title: "t".into(), x: "epoch".into(), series: vec![Series::over_epochs("a", [1.0, 1.0])] };
        assert_eq!(curves(&level, None), "t\na: 1.00 to 1.00");
    }
}
