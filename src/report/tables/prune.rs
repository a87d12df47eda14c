//! Tables of pruning: criteria, scores, plans.

use crate::prune::{
    About, BranchScore, CRITERIA, DiffRow, Form, Gradual, GradualStep, MaskRow, MaskScoreRow, Plan, PlanReport,
    ScoreRow,
};
use crate::report::{
    cell::Cell,
    plot::{Panel, Series},
    table::{Column, Table},
};

/// A row for each convolution that a plan changes; what the whole network costs is in the title.
pub fn plan(plan: &Plan, report: &PlanReport) -> Table {
    if !report.masks.is_empty() {
        return masks(plan, report);
    }
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

/// A row for each convolution, where a plan has masks: the weights that are held at zero.
fn masks(plan: &Plan, report: &PlanReport) -> Table {
    let sum = |count: fn(&MaskRow) -> u64| report.masks.iter().map(count).sum::<u64>();
    let (weights, zeros) = (sum(|row| row.weights), sum(zeros_after));
    let human = |value| Cell::Count(value).human();
    let title = format!(
        "plan for {} · {} · {} of {} weights zero ({}) · held by masks: on this CPU that saves no time, only compressed size",
        plan.model,
        plan.asked,
        human(zeros),
        human(weights),
        Cell::Percent(zeros as f64 / weights.max(1) as f64).human()
    );
    let columns = [
        Column::from("layer"),
        Column::from("weights").sum(),
        Column::from("zeros").sum(),
        Column::new("zeros_share", "share"),
        Column::new("zeros_before", "zeros now"),
        Column::new("near_zeros", "near 0 now"),
        Column::from("mask"),
    ];
    let mut table = Table::new(title, columns);
    for row in &report.masks {
        let zeros = zeros_after(row);
        table.push([
            row.layer.as_str().into(),
            Cell::Count(row.weights),
            Cell::Count(zeros),
            Cell::Percent(zeros as f64 / row.weights.max(1) as f64),
            Cell::Percent(row.zeros_before),
            Cell::Percent(row.near_zeros),
            if row.zeros.is_some() { "yes" } else { "stays as it is" }.into(),
        ]);
    }
    table
}

/// Weights that are zero once a plan is applied.
fn zeros_after(row: &MaskRow) -> u64 {
    row.zeros.unwrap_or_else(|| (row.zeros_before * row.weights as f64).round() as u64)
}

/// A row for each convolution: what the scores of its single weights are like.
pub fn mask_scores(title: &str, rows: &[MaskScoreRow]) -> Table {
    let columns = [
        Column::from("layer"),
        Column::from("weights").sum(),
        Column::from("units").sum(),
        Column::new("least", "least"),
        Column::new("quartile", "quartile"),
        Column::new("median", "median"),
        Column::new("upper_quartile", "upper quartile"),
        Column::new("largest", "largest"),
        Column::from("ignored"),
    ];
    let mut table = Table::new(title, columns);
    for row in rows {
        let units = row.units.map_or(Cell::Missing, Cell::Count);
        let facts = [row.layer.as_str().into(), Cell::Count(row.weights), units];
        table.push(facts.into_iter().chain(row.scores.map(Cell::Float)).chain([row.ignored.into()]));
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

/// A row for each residual branch.
pub fn branch_scores(title: &str, rows: &[BranchScore]) -> Table {
    let columns = [
        Column::from("branch"),
        Column::from("score"),
        Column::from("ignored"),
        Column::new("params", "parameters").sum(),
        Column::new("macs", "MACs").sum(),
    ];
    let mut table = Table::new(title, columns);
    for row in rows {
        let cost = [row.params, row.macs].map(Cell::Count);
        table.push([row.branch.as_str().into(), Cell::Float(row.score), row.ignored.into()].into_iter().chain(cost));
    }
    table
}

/// A row for each layer of which two plans remove different channels.
pub fn plan_diff(title: &str, rows: &[DiffRow]) -> Table {
    let columns = [
        Column::from("layer"),
        Column::from("channels"),
        Column::new("here", "go here").sum(),
        Column::new("there", "go there").sum(),
        Column::new("both", "go in both").sum(),
        Column::new("only_here", "only here"),
        Column::new("only_there", "only there"),
    ];
    let mut table = Table::new(title, columns);
    let list = |channels: &[usize]| {
        let shown = channels.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(" ");
        if channels.len() > SHOWN { shown + " …" } else { shown }
    };
    for row in rows {
        table.push([
            row.layer.as_str().into(),
            row.channels.into(),
            row.go[0].into(),
            row.go[1].into(),
            row.both.into(),
            list(&row.only_here).into(),
            list(&row.only_there).into(),
        ]);
    }
    table
}

/// Channels that a comparison of plans lists.
const SHOWN: usize = 24;

/// A row for each step of a gradual pruning.
pub fn gradual_steps(found: &Gradual) -> Table {
    let columns = [
        Column::from("step"),
        Column::new("macs", "MACs"),
        Column::new("params", "parameters"),
        Column::from("zeros"),
        Column::from("pruned"),
        Column::from("recalibrated"),
        Column::from("tuned"),
        Column::new("seconds", "time").sum(),
    ];
    let stopped = if found.stopped { " · stopped early" } else { "" };
    let title = format!("gradual pruning · {} · mAP50-95 {:.3} before{stopped}", found.asked, found.base);
    let mut table = Table::new(title, columns);
    for step in &found.steps {
        table.push([
            step.step.map_or_else(|| "end".into(), Cell::from),
            Cell::Percent(step.macs),
            Cell::Percent(step.params),
            Cell::Percent(step.zeros),
            Cell::Float(step.pruned),
            step.recalibrated.into(),
            step.tuned.into(),
            Cell::Seconds(step.seconds),
        ]);
    }
    table
}

/// What the picture of a gradual pruning shows: accuracy over steps, and over the MACs that stay.
pub fn gradual_panels(found: &Gradual) -> Vec<Panel> {
    let steps = || found.steps.iter().enumerate();
    let series = |name: &str, value: &dyn Fn(&GradualStep) -> Option<f64>| Series {
        name: name.to_owned(),
        points: steps().filter_map(|(at, step)| Some((at as f64 + 1.0, value(step)?))).collect(),
    };
    let panel = |title: &str, x: &str, series| Panel { title: title.into(), x: x.into(), series };
    let before =
        Series { name: "before".into(), points: steps().map(|(at, _)| (at as f64 + 1.0, found.base)).collect() };
    let accuracy = vec![
        before,
        series("pruned", &|step| Some(step.pruned)),
        series("recalibrated", &|step| step.recalibrated),
        series("tuned", &|step| step.tuned),
    ];
    let shares = vec![
        series("MACs", &|step| Some(step.macs)),
        series("parameters", &|step| Some(step.params)),
        series("zeros", &|step| Some(step.zeros)),
    ];
    vec![panel("mAP50-95", "step", accuracy), panel("shares", "step", shares)]
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
