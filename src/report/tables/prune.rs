//! Tables of pruning: criteria, scores, plans.

use crate::prune::{About, CRITERIA, Form, Plan, PlanReport, ScoreRow};
use crate::report::{
    cell::Cell,
    table::{Column, Table},
};

/// A row for each convolution that a plan changes; what the whole network costs is in the title.
pub fn plan(plan: &Plan, report: &PlanReport) -> Table {
    let human = |value| Cell::Count(value).human();
    let title = format!(
        "plan for {} · {} · {} → {} MACs ({}) at {} px · {} → {} parameters ({})",
        plan.model,
        plan.asked,
        human(report.before.macs),
        human(report.after.macs),
        Cell::Percent(report.macs_share()).human(),
        report.size,
        human(report.before.params),
        human(report.after.params),
        Cell::Percent(report.params_share()).human()
    );
    let columns = [
        Column::from("layer"),
        Column::from("channels").sum(),
        Column::from("stay").sum(),
        Column::from("go").sum(),
        Column::new("go_share", "share"),
        Column::new("params", "parameters").sum(),
        Column::new("params_after", "after").sum(),
        Column::new("macs", "MACs").sum(),
        Column::new("macs_after", "after").sum(),
    ];
    let mut table = Table::new(title, columns);
    for row in &report.rows {
        let [before, after] = row.channels;
        table.push([
            row.layer.as_str().into(),
            before.into(),
            after.into(),
            (before - after).into(),
            Cell::Percent((before - after) as f64 / before.max(1) as f64),
            Cell::Count(row.params[0]),
            Cell::Count(row.params[1]),
            Cell::Count(row.macs[0]),
            Cell::Count(row.macs[1]),
        ]);
    }
    table
}

/// A row for each coupled channel that could go.
pub fn scores(title: &str, rows: &[ScoreRow]) -> Table {
    let columns = [
        Column::from("layer"),
        Column::from("channel"),
        Column::from("group"),
        Column::from("score"),
        Column::from("rank"),
        Column::from("ignored"),
        Column::new("params", "parameters"),
        Column::new("macs", "MACs"),
    ];
    let mut table = Table::new(title, columns);
    for row in rows {
        table.push([
            row.layer.as_str().into(),
            row.channel.into(),
            row.group.as_str().into(),
            Cell::Float(row.score),
            Cell::Float(row.rank),
            row.ignored.into(),
            Cell::Count(row.params),
            Cell::Count(row.macs),
        ]);
    }
    table
}

/// A row for each formula of each criterion.
pub fn criteria() -> Table {
    let columns = ["name", "strategy", "granularity", "needs", "formula", "paper"];
    let mut table = Table::new("criteria", columns);
    for criterion in CRITERIA {
        let About { name, strategy, forms, paper, aliases: _ } = criterion.about();
        for form in forms {
            let Form { granularities: _, units: _, data, formula } = *form;
            let granularities = form.names().into();
            let (strategy, data) = (strategy.name().into(), data.name().into());
            table.push([name.into(), strategy, granularities, data, formula.into(), paper.into()]);
        }
    }
    table
}
