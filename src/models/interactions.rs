//! Who did what with which item, and how much of it.

use std::path::Path;
use std::sync::Arc;

use super::channel::{self, ColumnKind, WantedColumn};
use super::error::ModelError;
use super::sparse::SparseRows;
use super::vocabulary::{Interner, Vocabulary};

const COLUMNS: [WantedColumn; 4] = [
    WantedColumn { name: "user_id", kind: ColumnKind::Text, required: true },
    WantedColumn { name: "item_id", kind: ColumnKind::Text, required: true },
    WantedColumn { name: "weight", kind: ColumnKind::Number, required: true },
    WantedColumn { name: "dt", kind: ColumnKind::Date, required: false },
];

/// Stands for "no date"; sorts before every real day.
const NO_DAY: i32 = i32::MIN;

/// Holds the summed weight of every (user, item) pair, users and items numbered in id order.
///
/// Pairs whose weights sum to zero or less are left out: what was returned in full is no sign of
/// liking.
#[derive(Debug, Clone)]
pub struct Interactions {
    users: Arc<Vocabulary>,
    items: Arc<Vocabulary>,
    by_user: SparseRows,
    by_item: SparseRows,
    /// Latest day of each entry of `by_user`, in days since 1970-01-01.
    days: Vec<i32>,
}

impl Interactions {
    /// Reads every `*.parquet` file below `folder`: `user_id` and `item_id` (text), `weight` (any
    /// number, summed per pair), `dt` (date, optional, the latest is kept). The result does not
    /// depend on the order of rows or files.
    ///
    /// # Errors
    /// `Input` when a column is missing, null or of a wrong type, or no pair has a positive weight;
    /// `Io`, `Frame`.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let (read, rows) = Self::read_rows(folder)?;
        match (rows, read.is_empty()) {
            (_, false) => Ok(read),
            (0, true) => Err(ModelError::input(folder, "the files hold no rows")),
            (_, true) => {
                Err(ModelError::input(folder, "no user and item have a positive sum of weights"))
            }
        }
    }

    /// Reads as [`Interactions::read`] does, except that files without rows are fine: what is only
    /// to be left out of lists may well be nothing today.
    ///
    /// # Errors
    /// As [`Interactions::read`], but not for want of rows.
    pub fn read_or_none(folder: &Path) -> Result<Self, ModelError> {
        Self::read_rows(folder).map(|(read, _)| read)
    }

    /// Returns the interactions and how many rows they come from.
    fn read_rows(folder: &Path) -> Result<(Self, usize), ModelError> {
        let mut rows = Rows::default();
        for frame in channel::read(folder, &COLUMNS)? {
            let users = frame.required_text("user_id")?;
            let items = frame.required_text("item_id")?;
            let weights = frame.required_number("weight")?;
            let days = frame.days("dt")?.unwrap_or_else(|| vec![None; frame.height()]);
            for (((user, item), weight), day) in users.into_iter().zip(items).zip(weights).zip(days)
            {
                rows.push(user, item, weight, day);
            }
        }
        let count = rows.rows.len();
        Ok((rows.finish(), count))
    }

    /// Builds interactions from (user, item, weight, day since 1970-01-01) rows in any order.
    pub fn from_rows<'a>(
        rows: impl IntoIterator<Item = (&'a str, &'a str, f64, Option<i32>)>,
    ) -> Self {
        let mut collected = Rows::default();
        for (user, item, weight, day) in rows {
            collected.push(user, item, weight, day);
        }
        collected.finish()
    }

    pub fn users(&self) -> &Arc<Vocabulary> {
        &self.users
    }

    pub fn items(&self) -> &Arc<Vocabulary> {
        &self.items
    }

    /// Returns users x items.
    pub fn by_user(&self) -> &SparseRows {
        &self.by_user
    }

    /// Returns items x users.
    pub fn by_item(&self) -> &SparseRows {
        &self.by_item
    }

    /// Returns the latest day of each of a user's items, in the order of the row; `None` where no
    /// date was given.
    pub fn latest_days(&self, user: usize) -> impl Iterator<Item = Option<i32>> + '_ {
        let offsets = self.by_user.offsets();
        self.days[offsets[user]..offsets[user + 1]]
            .iter()
            .map(|day| (*day != NO_DAY).then_some(*day))
    }

    /// Counts the (user, item) pairs.
    pub fn len(&self) -> usize {
        self.by_user.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_user.is_empty()
    }
}

/// Rows under provisional numbers.
#[derive(Default)]
struct Rows {
    users: Interner,
    items: Interner,
    rows: Vec<(u32, u32, f64, i32)>,
}

impl Rows {
    fn push(&mut self, user: &str, item: &str, weight: f64, day: Option<i32>) {
        self.rows.push((
            self.users.intern(user),
            self.items.intern(item),
            weight,
            day.unwrap_or(NO_DAY),
        ));
    }

    fn finish(self) -> Interactions {
        let (users, user_numbers) = self.users.finish();
        let (items, item_numbers) = self.items.finish();
        let mut rows = self.rows;
        for row in &mut rows {
            row.0 = user_numbers[row.0 as usize];
            row.1 = item_numbers[row.1 as usize];
        }
        // The weight takes part in the order because a float sum depends on it, and writers shuffle
        // rows.
        rows.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)));
        let mut pairs: Vec<(u32, u32, f64, i32)> = Vec::new();
        for row in rows {
            match pairs.last_mut() {
                Some(last) if (last.0, last.1) == (row.0, row.1) => {
                    last.2 += row.2;
                    last.3 = last.3.max(row.3);
                }
                _ => pairs.push(row),
            }
        }
        // In f32, as stored: a sum that rounds to zero there would be a pair without weight, and
        // one beyond the range would turn every score it takes part in into infinity.
        for pair in &mut pairs {
            pair.2 = pair.2.min(f64::from(f32::MAX));
        }
        pairs.retain(|pair| pair.2 as f32 > 0.0);
        let (users, _) = keep_used(&users, pairs.iter().map(|pair| pair.0));
        let (items, item_numbers) = keep_used(&items, pairs.iter().map(|pair| pair.1));
        let days = pairs.iter().map(|pair| pair.3).collect();
        let rows = pairs.chunk_by(|a, b| a.0 == b.0).map(|row| {
            row.iter()
                .map(|pair| (item_numbers[pair.1 as usize], pair.2 as f32))
                .collect::<Vec<_>>()
        });
        let by_user = SparseRows::from_rows(rows);
        let by_item = by_user.transposed(items.len());
        Interactions { users: Arc::new(users), items: Arc::new(items), by_user, by_item, days }
    }
}

/// Leaves out ids that no pair is left of; returns the rest and the new number for each old one.
fn keep_used(vocabulary: &Vocabulary, used: impl Iterator<Item = u32>) -> (Vocabulary, Vec<u32>) {
    let mut is_used = vec![false; vocabulary.len()];
    for number in used {
        is_used[number as usize] = true;
    }
    let mut numbers = vec![0; vocabulary.len()];
    let mut kept = Vec::new();
    for (old, id) in vocabulary.ids().iter().enumerate().filter(|(old, _)| is_used[*old]) {
        numbers[old] = kept.len() as u32;
        kept.push(id.clone());
    }
    (Vocabulary::new(kept), numbers)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use polars::prelude::{Column, DataFrame, DataType, ParquetWriter};

    use super::*;

    fn write(folder: &Path, name: &str, columns: Vec<Column>) {
        let mut frame = DataFrame::new_infer_height(columns).unwrap();
        ParquetWriter::new(File::create(folder.join(name)).unwrap()).finish(&mut frame).unwrap();
    }

    fn columns(users: &[&str], items: &[&str], weights: &[f64]) -> Vec<Column> {
        vec![
            Column::new("user_id".into(), users),
            Column::new("item_id".into(), items),
            Column::new("weight".into(), weights),
        ]
    }

    #[test]
    fn files_are_summed_and_numbered_in_id_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut dated = columns(&["u2", "u1", "u1"], &["b", "b", "a"], &[1.0, 2.0, 4.0]);
        dated.push(Column::new("dt".into(), [10, 20, 30]).cast(&DataType::Date).unwrap());
        write(folder.path(), "b.parquet", dated);
        let undated = vec![
            Column::new("weight".into(), [5_i64, -1]),
            Column::new("item_id".into(), ["b", "c"]),
            Column::new("user_id".into(), ["u1", "u3"]),
        ];
        write(folder.path(), "a.parquet", undated);
        std::fs::write(folder.path().join("_SUCCESS"), "").unwrap();

        let read = Interactions::read(folder.path()).unwrap();
        assert_eq!(read.users().ids(), ["u1", "u2"], "u3 only gave back");
        assert_eq!(read.items().ids(), ["a", "b"]);
        assert_eq!(
            read.by_user(),
            &SparseRows::from_rows([vec![(0, 4.0), (1, 7.0)], vec![(1, 1.0)]])
        );
        assert_eq!(read.by_item(), &read.by_user().transposed(2));
        assert_eq!(read.latest_days(0).collect::<Vec<_>>(), [Some(30), Some(20)]);
        assert_eq!(read.latest_days(1).collect::<Vec<_>>(), [Some(10)]);
    }

    #[test]
    fn the_order_of_rows_changes_nothing() {
        let rows = [
            ("u", "a", 0.1, None),
            ("u", "a", 0.2, Some(3)),
            ("u", "a", 1e9, None),
            ("v", "a", 1.0, None),
        ];
        let forwards = Interactions::from_rows(rows);
        let backwards = Interactions::from_rows(rows.into_iter().rev());
        assert_eq!(forwards.by_user(), backwards.by_user());
        assert_eq!(forwards.users(), backwards.users());
    }

    #[test]
    fn weights_beyond_the_range_stay_numbers_and_below_it_are_none() {
        let rows = [("u", "a", f64::MAX, None), ("u", "b", 1e-60, None)];
        let interactions = Interactions::from_rows(rows);
        assert_eq!(interactions.by_user().values(), [f32::MAX]);
        assert_eq!(interactions.items().ids(), ["a"]);
    }

    fn failure(columns: Vec<Column>) -> String {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "x.parquet", columns);
        let error = Interactions::read(folder.path()).unwrap_err();
        assert!(matches!(error, ModelError::Input { .. }), "{error:?}");
        error.to_string().replace(&folder.path().display().to_string(), "DIR")
    }

    #[test]
    fn errors_name_file_and_column() {
        let mut missing = columns(&["u"], &["a"], &[1.0]);
        missing.remove(1);
        assert_eq!(
            failure(missing),
            "input `DIR/x.parquet`: column `item_id` is missing, found `user_id`, `weight`"
        );
        let mut wrong = columns(&["u"], &["a"], &[1.0]);
        wrong[0] = Column::new("user_id".into(), [1_i64]);
        assert_eq!(
            failure(wrong),
            "input `DIR/x.parquet`: column `user_id` has type Int64, expected text"
        );
        let mut nulls = columns(&["u", "v"], &["a", "b"], &[1.0, 1.0]);
        nulls[1] = Column::new("item_id".into(), [Some("a"), None]);
        assert_eq!(
            failure(nulls),
            "input `DIR/x.parquet`: column `item_id` is null in 1 of 2 rows"
        );
        assert_eq!(
            failure(columns(&["u"], &["a"], &[f64::NAN])),
            "input `DIR/x.parquet`: column `weight` has the value NaN in row 1"
        );
        assert_eq!(failure(columns(&[], &[], &[])), "input `DIR`: the files hold no rows");
        assert_eq!(
            failure(columns(&["u"], &["a"], &[0.0])),
            "input `DIR`: no user and item have a positive sum of weights"
        );
    }

    #[test]
    fn no_rows_are_fine_where_they_may_be_none() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "x.parquet", columns(&[], &[], &[]));
        let none = Interactions::read_or_none(folder.path()).unwrap();
        assert!(none.is_empty() && none.users().is_empty() && none.by_item().rows() == 0);
        std::fs::remove_file(folder.path().join("x.parquet")).unwrap();
        assert!(Interactions::read_or_none(folder.path()).is_err());
    }

    #[test]
    fn a_folder_without_parquet_is_an_input_error() {
        let folder = tempfile::tempdir().unwrap();
        let text = Interactions::read(folder.path()).unwrap_err().to_string();
        assert!(text.ends_with("no `*.parquet` file in the folder"), "{text}");
    }
}
