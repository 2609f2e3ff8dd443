//! The report: medians as a table, all figures as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The figures of one run of a scenario, by name.
pub type Figures = Vec<(&'static str, f64)>;

/// All figures.
#[derive(Debug, Default)]
pub struct Report(BTreeMap<(String, String), Vec<Figures>>);

impl Report {
    /// Adds a run.
    pub fn add(&mut self, server: String, scenario: String, figures: Figures) {
        self.0.entry((server, scenario)).or_default().push(figures);
    }

    /// A row for each scenario: the median of each figure.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for ((server, scenario), runs) in &self.0 {
            let _ = write!(table, "{server:<24} {scenario:<10}");
            for (index, (name, _)) in runs[0].iter().enumerate() {
                let _ = write!(table, "  {name} {:.2}", median(runs.iter().map(|run| run[index].1)));
            }
            let _ = writeln!(table, "  (median of {})", runs.len());
        }
        table
    }

    /// All runs.
    pub fn json(&self) -> String {
        let rows: Vec<_> = self
            .0
            .iter()
            .map(|((server, scenario), runs)| {
                let runs: Vec<BTreeMap<_, _>> = runs.iter().map(|run| run.iter().copied().collect()).collect();
                serde_json::json!({ "server": server, "scenario": scenario, "runs": runs })
            })
            .collect();
        serde_json::to_string_pretty(&rows).unwrap()
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(values.collect(), 0.5)
}

/// The value below which this part of the values lies.
pub fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
    let index = (last as f64 * part).round() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}
