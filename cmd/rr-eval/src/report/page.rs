//! The page: one HTML file with all that it shows in it.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::bars::Row;
use super::further::Table;
use super::summary::{Summary, quantity};
use crate::statistics::Estimate;
use crate::store::Sample;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1e1e1e; --ground: #fff; --faint: #e1e1e1; --good: #00734f; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e1e1e1; --ground: #161616; --faint: #3c3c3c; --good: #4fd1a5; --bad: #ff8a80; }
  .light { display: none }
}
@media (prefers-color-scheme: light) { .dark { display: none } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 60rem; margin: 0 auto; padding: 1rem }
figure { margin: 1.5rem 0 } figcaption { font-size: .9rem }
svg { width: 100%; min-width: 34rem; height: auto }
.wide, .light, .dark { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--faint); vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
@media (max-width: 40rem) { th, td { padding: .3rem .35rem } td.number { white-space: normal } }
.yes { color: var(--good) } .no { color: var(--bad); font-weight: bold }
.warning { border-left: 4px solid var(--bad); padding-left: 1rem }
";

/// A chart for both kinds of page.
pub(super) struct Drawing {
    pub(super) title: String,
    pub(super) meaning: String,
    pub(super) light: String,
    pub(super) dark: String,
}

/// What stands on the page.
pub(super) struct Page<'a> {
    pub(super) summary: &'a Summary,
    pub(super) rows: &'a [Row],
    pub(super) drawings: &'a [Drawing],
    pub(super) tables: &'a [Table],
    /// `machine.json`.
    pub(super) machine: &'a Value,
}

impl Page<'_> {
    pub(super) fn html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { "Roadrunner, evaluated" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { "Roadrunner, evaluated" }
                    (self.machine())
                    (self.verdict())
                    (self.bars())
                    (self.figures())
                    (self.parts())
                    @for table in self.tables { (table.html()) }
                    (self.thrown_out())
                }
            }
        };
        page.into_string()
    }

    fn machine(&self) -> Markup {
        let text = |key: &str| self.machine[key].as_str().unwrap_or("unknown").to_owned();
        html! {
            p {
                (self.summary.count()) " samples on " (text("processor")) ", " (self.machine["processors"].to_string()) " processors, Linux "
                (text("kernel")) "; " (text("runtime")) " at " (text("commit")) ", " (text("runc")) "."
            }
            @if let Some(warning) = self.summary.warning() { p.warning { (warning) } }
        }
    }

    fn verdict(&self) -> Markup {
        let bars: Vec<bool> = self.rows.iter().filter_map(Row::holds).collect();
        let missed = bars.iter().filter(|holds| !**holds).count();
        html! {
            p {
                @if bars.is_empty() { "None of the bars was measured." }
                @else if missed == 0 { "All " (bars.len()) " bars that were measured hold." }
                @else { (missed) " of " (bars.len()) " bars that were measured are missed; the table says which." }
            }
        }
    }

    fn bars(&self) -> Markup {
        html! {
            h2 { "Bars" }
            p {
                "Ratios of medians of one run. Touched: until a byte of each page was read by the receiver; its peer's clock stops when its bytes could be read."
            }
            div.wide { table {
                tr { th { "what" } th { "value" } th { "bar" } th { "holds" } th { "medians" } }
                @for row in self.rows {
                    tr {
                        td { (row.name) }
                        td.number { (format!("{:.2}", row.value)) " " (row.unit) }
                        @if let Some((bar, holds)) = &row.bar {
                            td.number { (bar) }
                            td class=(if *holds { "yes" } else { "no" }) { (if *holds { "yes" } else { "no" }) }
                        } @else {
                            td {}
                            td {}
                        }
                        td { (row.detail) }
                    }
                }
            } }
        }
    }

    fn figures(&self) -> Markup {
        html! {
            h2 { "Figures" }
            p { "Medians, with their confidence intervals of 95 % as error bars. Grey: what the paper has published, on its own machines. Dotted: what this machine could do." }
            @for drawing in self.drawings {
                figure aria-label=(drawing.title) {
                    div.light { (PreEscaped(&drawing.light)) }
                    div.dark { (PreEscaped(&drawing.dark)) }
                    figcaption { (drawing.meaning) }
                }
            }
        }
    }

    /// What a transfer is made of: the paper's figures 2 and 6, of everything that was measured.
    fn parts(&self) -> Markup {
        type Of = fn(&Sample) -> Option<f64>;
        let columns: [(&str, Of); 5] = [
            ("transfer", quantity::transfer),
            ("serialization", quantity::serialization),
            ("Wasm IO", quantity::access),
            ("all", quantity::latency),
            ("CPU", quantity::cpu),
        ];
        html! {
            h2 { "Parts" }
            p {
                "Medians in milliseconds. Serialization is that of both sides; Wasm IO, from when the bytes could be read until the function has what it was asked to read."
            }
            div.wide { table {
                tr { th { "figure" } th { "bytes" } th { "receivers" } th { "contestant" } th { "clock" } @for (name, _) in &columns { th { (name) } } th { "samples" } }
                @for key in self.summary.keys().filter(|key| key.work != crate::protocol::Work::Check) {
                    tr {
                        td { (key.figure) ", " (key.placement) }
                        td.number { (key.size) }
                        td.number { (key.fan_out) }
                        td { (key.contestant) }
                        td { (format!("{:?}", key.work).to_lowercase()) }
                        @for (_, of) in &columns {
                            td.number { (milliseconds(self.summary.estimate(key, of))) }
                        }
                        td.number { (self.summary.values(key, quantity::latency).len()) }
                    }
                }
            } }
        }
    }

    fn thrown_out(&self) -> Markup {
        html! {
            @if !self.summary.thrown_out.is_empty() {
                h2 { "Thrown out" }
                ul { @for line in &self.summary.thrown_out { li { (line) } } }
            }
        }
    }
}

fn milliseconds(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(|| "–".to_owned(), |estimate| format!("{:.3}", estimate.median * 1e3))
}
