//! Aligned text tables.

use std::fmt;

use super::paint::Paint;

/// A table of text: as wide as its cells, no lines, nothing after the last cell of a row.
#[derive(Debug, Clone)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
    indent: usize,
    gap: usize,
    paint: Paint,
}

impl Table {
    /// A table with these headers; an empty list for a table without.
    pub fn new<T: Into<String>>(headers: impl IntoIterator<Item = T>) -> Self {
        Self {
            headers: headers.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            right: Vec::new(),
            indent: 0,
            gap: 2,
            paint: Paint::off(),
        }
    }

    /// Aligns these columns, counted from 0, to the right.
    #[must_use]
    pub fn right(mut self, columns: &[usize]) -> Self {
        self.right = columns.to_vec();
        self
    }

    /// Puts spaces before every line.
    #[must_use]
    pub fn indent(mut self, spaces: usize) -> Self {
        self.indent = spaces;
        self
    }

    /// Puts so many spaces between two columns instead of two.
    #[must_use]
    pub fn gap(mut self, spaces: usize) -> Self {
        self.gap = spaces;
        self
    }

    /// Dims the headers.
    #[must_use]
    pub fn paint(mut self, paint: Paint) -> Self {
        self.paint = paint;
        self
    }

    /// Adds a row of data. Control characters are shown as escapes: data must not steer the
    /// terminal or break the row.
    #[must_use]
    pub fn row<T: AsRef<str>>(mut self, cells: impl IntoIterator<Item = T>) -> Self {
        self.push(cells);
        self
    }

    /// The same in a loop.
    pub fn push<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(|cell| clean(cell.as_ref())).collect());
    }

    /// Adds a row whose cells may hold colours.
    pub(super) fn push_painted(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, header first.
    pub fn lines(&self) -> Vec<String> {
        let headers: Vec<String> = self.headers.iter().map(|h| self.paint.dim(h)).collect();
        let all = || (!headers.is_empty()).then_some(&headers).into_iter().chain(&self.rows);
        let mut widths: Vec<usize> = Vec::new();
        for cells in all() {
            widths.resize(widths.len().max(cells.len()), 0);
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(display_width(cell));
            }
        }
        all().map(|cells| self.line(cells, &widths)).collect()
    }

    /// The lines with the widest columns cut so that none is longer than `width`. Where even that is
    /// too wide, the last columns are left out and counted.
    pub fn fitted(&self, width: usize) -> Vec<String> {
        let mut fitted = self.clone();
        let mut widths = fitted.natural();
        let room = width.saturating_sub(self.indent);
        let needs = |widths: &[usize]| {
            widths.iter().sum::<usize>() + self.gap * widths.len().saturating_sub(1)
        };
        while needs(&widths) > room {
            let widest = widths.iter().copied().max().unwrap_or_default();
            if widest <= NARROWEST {
                break;
            }
            let over = needs(&widths) - room;
            let next = widths.iter().copied().filter(|it| *it < widest).max().unwrap_or(NARROWEST);
            let many = widths.iter().filter(|it| **it == widest).count();
            let cut = (widest - next.max(NARROWEST)).clamp(1, over.div_ceil(many).max(1));
            widths.iter_mut().filter(|it| **it == widest).for_each(|it| *it -= cut);
        }
        let mut kept = widths.len();
        let note = |hidden: usize| format!("… {hidden} more");
        while kept > 1 && needs(&widths[..kept]) > room {
            kept -= 1;
        }
        let noted = |kept: usize| self.gap + display_width(&note(widths.len() - kept));
        while (2..widths.len()).contains(&kept) && needs(&widths[..kept]) + noted(kept) > room {
            kept -= 1;
        }
        let hidden = widths.len() - kept;
        let cut = |cells: &mut Vec<String>| {
            cells.truncate(kept);
            for (cell, width) in cells.iter_mut().zip(&widths) {
                *cell = clipped(cell, *width);
            }
        };
        cut(&mut fitted.headers);
        fitted.rows.iter_mut().for_each(cut);
        if hidden > 0 && !fitted.headers.is_empty() {
            fitted.headers.push(note(hidden));
        }
        fitted.lines()
    }

    /// The widths of the columns as they are.
    fn natural(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headers.iter().map(|head| display_width(head)).collect();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(display_width(cell));
            }
        }
        widths
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = " ".repeat(self.indent);
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            if column > 0 {
                line.push_str(&" ".repeat(self.gap));
            }
            line.push_str(&if self.right.contains(&column) {
                pad_left(cell, *width)
            } else {
                pad_right(cell, *width)
            });
        }
        line.truncate(line.trim_end().len());
        line
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

/// Columns are not cut below this.
const NARROWEST: usize = 8;

/// The text cut to `width` columns, with `…` where it goes on. Colours are kept.
pub fn clipped(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut chars = text.chars();
    let mut coloured = false;
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            cut.push(c);
            for c in chars.by_ref() {
                cut.push(c);
                if c == 'm' {
                    break;
                }
            }
            coloured = true;
            continue;
        }
        if display_width(&format!("{cut}{c}")) >= width {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    if coloured {
        cut.push_str("\u{1b}[0m");
    }
    cut
}

/// The text with spaces after it up to `width`.
pub fn pad_right(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(display_width(text))))
}

/// The text with spaces before it up to `width`.
pub fn pad_left(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(display_width(text))))
}

/// Columns that the text takes in a terminal; colours take none.
///
/// Only the ranges that tables of user ids, titles and paths meet are told apart (East Asian wide
/// forms and emoji two, combining marks none), which spares a dependency.
pub fn display_width(text: &str) -> usize {
    let mut width = 0;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // Colours are all there is: ESC, `[`, parameters, `m`.
            chars.by_ref().find(|c| *c == 'm');
            continue;
        }
        width += match u32::from(c) {
            0x0300..=0x036f | 0x200b..=0x200f | 0xfe00..=0xfe0f | 0x20d0..=0x20ff => 0,
            0x1100..=0x115f
            | 0x2e80..=0xa4cf
            | 0xac00..=0xd7a3
            | 0xf900..=0xfaff
            | 0xfe30..=0xfe6f
            | 0xff00..=0xff60
            | 0xffe0..=0xffe6
            | 0x1f300..=0x1faff
            | 0x20000..=0x3fffd => 2,
            _ => 1,
        };
    }
    width
}

/// The text with control characters as escapes.
pub fn clean(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { cleaned.extend(c.escape_default()) } else { cleaned.push(c) }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let table = Table::new(["table", "rows", "note"])
            .right(&[1])
            .row(["clean_events", "1,234", ""])
            .row(["東京", "7", "wide"])
            .row(["cafe\u{301}", "12", "accent"]);
        insta::assert_snapshot!(table.to_string(), @"
        table          rows  note
        clean_events  1,234
        東京              7  wide
        café             12  accent
        ");
    }

    #[test]
    fn headers_are_optional_and_data_cannot_steer_the_terminal() {
        let none: [&str; 0] = [];
        let table = Table::new(none).indent(2).row(["a\nb\u{1b}[31m", "x"]).row(["c", "y"]);
        insta::assert_snapshot!(table.to_string(), @r"
          a\nb\u{1b}[31m  x
          c               y
        ");
        assert_eq!(Table::new(none).to_string(), "");
    }

    #[test]
    fn wide_tables_are_cut() {
        let table = Table::new(["id", "name", "what it says", "more"])
            .row(["e1", "a long name of something", "a text that is longer than all", "x"])
            .row(["e2", "short", "b", "y"]);
        insta::assert_snapshot!(table.fitted(48).join("\n"), @"
        id  name                what it says        more
        e1  a long name of so…  a text that is lo…  x
        e2  short               b                   y
        ");
        insta::assert_snapshot!(table.fitted(24).join("\n"), @"
        id  name      … 2 more
        e1  a long …
        e2  short
        ");
        assert_eq!(table.fitted(200), table.lines());
        assert_eq!(display_width(&clipped(&Paint::new(true).red("abcdefghij"), 5)), 5);
    }

    #[test]
    fn colours_take_no_room() {
        let paint = Paint::new(true);
        assert_eq!(display_width(&paint.bold("als")), 3);
        let mut table = Table::new(["a", "b"]).paint(paint);
        table.push_painted([paint.green("✓"), "x".into()]);
        assert_eq!(table.lines()[0], "\u{1b}[2ma\u{1b}[0m  \u{1b}[2mb\u{1b}[0m");
        assert_eq!(table.lines()[1], "\u{1b}[32m✓\u{1b}[0m  x");
    }
}
