//! What is made of the samples: `results.json`, `table.md`, plots as SVG and PNG, and `index.html`, which has all of it.

mod bars;
mod charts;
mod further;
mod model;
mod page;
mod parts;
mod pictures;
mod plot;
mod summary;
mod warm;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cli::Report;
use crate::model::{Model, Setting};
use crate::{limits, store};

use bars::Row;
use further::{Further, Table};
use page::{Drawing, Page};
use parts::Parts;
use plot::{Chart, Picture};
pub(crate) use summary::{Summary, quantity};

/// Draws what the samples of an output folder say.
pub(crate) fn write(arguments: &Report) -> Result<()> {
    write_with(arguments, &Setting::DEFAULT)
}

/// The same with a model of this cluster.
pub(crate) fn write_with(arguments: &Report, setting: &Setting) -> Result<()> {
    let out = &arguments.out;
    let summary = Summary::of(&store::rows(&store::path(out))?);
    let machine = fs::read_to_string(out.join("machine.json")).unwrap_or_default();
    let machine: Value = serde_json::from_str(&machine).unwrap_or_default();
    let further = Further::read(out)?;
    let mut rows = bars::rows(&summary, &limits::bare(out));
    rows.extend(further.rows());
    let model = Model::of(&summary, setting);
    model.write(out)?;
    let mut tables = further.tables();
    tables.extend(model::tables(&model).into_iter().filter(|table| !table.rows.is_empty()));
    let all: Vec<Value> = rows.iter().map(Row::json).collect();
    put(&out.join("results.json"), &(serde_json::to_string_pretty(&all)? + "\n"))?;
    put(&out.join("table.md"), &table(&rows))?;
    let mut charts = charts::charts(&summary, out);
    charts.extend(further.charts());
    charts.extend(model::charts(&model));
    let mut parts = parts::of_transfers(&summary);
    parts.extend(further.parts());
    let drawings = draw(&parts, &charts, out)?;
    let page =
        Page { summary: &summary, rows: &rows, drawings: &drawings, tables: &tables, machine: &machine };
    put(&out.join("index.html"), &page.html())?;
    println!("{}", table(&rows));
    for table in tables.iter().map(Table::markdown) {
        println!("{table}");
    }
    if let Some(warning) = summary.warning() {
        eprintln!("rr-eval: {warning}");
    }
    for line in &summary.thrown_out {
        eprintln!("rr-eval: thrown out: {line}");
    }
    eprintln!("rr-eval: {} has the plots", out.join("index.html").display());
    Ok(())
}

fn draw(parts: &[Parts], charts: &[Chart], out: &Path) -> Result<Vec<Drawing>> {
    let plots = out.join("plots");
    fs::create_dir_all(&plots).with_context(|| format!("create {}", plots.display()))?;
    if let Err(error) = plot::load_font() {
        eprintln!("rr-eval: the plots are left out: {error:#}");
        return Ok(Vec::new());
    }
    let mut drawings = Vec::new();
    for parts in parts {
        drawings.push(drawing(parts, &parts.title, &parts.meaning, &plots)?);
    }
    for chart in charts {
        drawings.push(drawing(chart, &chart.title, &chart.meaning, &plots)?);
    }
    Ok(drawings)
}

/// Draws one picture to its files, and for the page.
fn drawing(picture: &impl Picture, title: &str, meaning: &str, plots: &Path) -> Result<Drawing> {
    let [light, dark] = [picture.svg(plot::LIGHT)?, picture.svg(plot::DARK)?];
    put(&plots.join(format!("{}.svg", picture.name())), &light)?;
    picture.png(&plots.join(format!("{}.png", picture.name())))?;
    Ok(Drawing { title: title.to_owned(), meaning: meaning.to_owned(), light, dark })
}

fn table(rows: &[Row]) -> String {
    let mut table =
        String::from("| what | value | bar | holds | medians |\n| --- | --- | --- | --- | --- |\n");
    for row in rows {
        let (bar, holds) = match &row.bar {
            Some((bar, holds)) => (bar.as_str(), if *holds { "yes" } else { "**no**" }),
            None => ("", ""),
        };
        let _ = writeln!(
            table,
            "| {} | {:.2} {} | {bar} | {holds} | {} |",
            row.name, row.value, row.unit, row.detail
        );
    }
    table
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
