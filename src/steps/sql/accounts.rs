//! The account of a query's rows.

use std::collections::BTreeMap;

use super::SourceRead;
use crate::pipeline::name::Name;
use crate::pipeline::step::SqlStep;
use crate::query::raw::tally::{FinishedQuarantine, Tally};
use crate::query::write::Written;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{RowCounts, RowsOf};

/// What became of the rows that a query returned.
pub(super) fn fates(written: &Written) -> RowCounts {
    RowCounts {
        of: RowsOf::Query,
        read: written.returned,
        kept: written.kept,
        quarantined: written.refused,
        filtered: written.filtered_rows(),
        duplicates: written.duplicates,
    }
}

/// Every row that a query returned has one fate. Errors: `Internal` if the writer lost or doubled
/// one, whatever the query and the checks are.
pub(super) fn returned(name: &Name, written: &Written) -> Outcome<RowCounts> {
    let counts = fates(written);
    if counts.conserved() {
        return Ok(counts);
    }
    let message = format!("the rows of `{name}` were not accounted for: {counts:?}");
    Err(Failure::new(FailureKind::Internal, message))
}

/// Fails if a source has more malformed rows than it allows.
pub(super) fn refuse_too_many(
    sources: &[SourceRead],
    tally: &Tally,
    quarantine: &FinishedQuarantine,
) -> Outcome<()> {
    let by_source = tally.by_source();
    for read in sources {
        let name = read.source.name.as_str();
        let Some(rows) = by_source.get(name) else { continue };
        #[expect(clippy::cast_precision_loss, reason = "a share of rows for a comparison")]
        let ratio = rows.malformed as f64 / rows.read.max(1) as f64;
        if ratio > read.source.max_malformed_ratio {
            let failure = Failure::new(
                FailureKind::Quality,
                format!(
                    "{} of {} rows of `{name}` are malformed ({:.2} %, at most {:.2} % allowed): {}",
                    rows.malformed,
                    rows.read,
                    ratio * 100.0,
                    read.source.max_malformed_ratio * 100.0,
                    quarantine.examples.join("; ")
                ),
            );
            return Err(failure.with_hint(
                "nothing was published; mend the source, its columns, or its `malformed: {max_ratio: …}`",
            ));
        }
    }
    Ok(())
}

/// Gives every row that was read one fate. Without the column `_fate` what is not in the result was
/// left out by the query. Errors: `Quality` if rows were dropped or repeated.
pub fn account(
    name: &Name,
    sql: &SqlStep,
    mut counts: RowCounts,
    has_fates: bool,
) -> Outcome<RowCounts> {
    if !has_fates {
        counts.filtered = counts.read.saturating_sub(counts.kept + counts.quarantined);
    }
    if counts.conserved() {
        return Ok(counts);
    }
    let failure = Failure::new(
        FailureKind::Quality,
        format!(
            "`{name}` does not account for every row: read {}, but kept {} + quarantined {} + filtered {} + duplicates {} = {}",
            counts.read,
            counts.kept,
            counts.quarantined,
            counts.filtered,
            counts.duplicates,
            counts.kept + counts.quarantined + counts.filtered + counts.duplicates
        ),
    );
    Err(failure.with_hint(format!(
        "`{}` drops or repeats rows, in a WHERE or a JOIN for example; return each row once and say in `_fate` what becomes of it",
        sql.file
    )))
}

pub(super) fn reasons(written: &Written, quarantine: &FinishedQuarantine) -> BTreeMap<String, u64> {
    let filtered = written.filtered.iter().map(|(why, rows)| (format!("filtered: {why}"), *rows));
    let refused =
        quarantine.reasons.iter().map(|(why, rows)| (format!("quarantined: {why}"), *rows));
    filtered.chain(refused).collect()
}
