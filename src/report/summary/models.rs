//! The table of models and the decision.

use crate::pipeline::estimate::Estimate;
use crate::report::number::{counted, metric};
use crate::report::paint::Paint;
use crate::report::table::Table;
use crate::run::record::{Decision, ModelRecord};

/// The models that were compared, best first, with the deciding metric in front, and the winner
/// with its reason.
pub fn model_lines(decision: &Decision, paint: Paint) -> Vec<String> {
    let mut metrics = vec![decision.metric.as_str()];
    for name in decision.results.iter().flat_map(|result| result.metrics.keys()) {
        if !metrics.contains(&name.as_str()) {
            metrics.push(name);
        }
    }
    let mut headers = vec![String::new(), "role".to_owned(), "model".to_owned()];
    headers.extend(
        metrics
            .iter()
            .enumerate()
            .map(|(at, name)| if at == 0 { format!("{name} ▼") } else { (*name).to_owned() }),
    );
    let mut table = Table::new(headers).paint(paint);
    for result in &decision.results {
        let wins = result.name == decision.winner_name;
        let bold = |text: &str| {
            if wins { paint.bold(text) } else { text.to_owned() }
        };
        let mark = if wins { paint.green("★") } else { String::new() };
        let mut cells = vec![mark, result.role.clone(), bold(&named(&result.name, &result.model))];
        cells.extend(metrics.iter().enumerate().map(|(at, name)| {
            let Some(estimate) = result.metrics.get(*name) else {
                return String::new();
            };
            if at == 0 { bold(&figure(estimate)) } else { figure(estimate) }
        }));
        table.push_painted(cells);
    }
    let (first, last) = decision.test_days;
    let over = format!("tested on {first} … {last}, {}", counted(decision.users, "user"));
    let mut lines = vec![format!("{}  {}", paint.bold("models"), paint.dim(over))];
    if !table.is_empty() {
        lines.extend(table.lines());
    }
    let winner = paint.bold(named(&decision.winner_name, &decision.winner));
    lines.push(format!("{} {winner} serves: {}", paint.green("★"), decision.reason));
    lines
}

/// The name of a model, for the champion with the step that it came from.
fn named(name: &str, model: &ModelRecord) -> String {
    if name == model.step.as_str() { name.to_owned() } else { format!("{name} ({})", model.step) }
}

/// `0.0712 [0.0690, 0.0735]`, or the figure alone if there is no interval.
fn figure(estimate: &Estimate) -> String {
    let Estimate { value, low, high } = *estimate;
    if low >= high {
        return metric(value);
    }
    format!("{} [{}, {}]", metric(value), metric(low), metric(high))
}
