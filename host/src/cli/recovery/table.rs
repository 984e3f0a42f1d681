//! Tables of text.

use super::Print;
use crate::cli::exit::Failure;

/// Rows that are laid out together; beyond that, a table is printed piece by piece.
const ROWS: usize = 1000;

/// Rows of text in columns. Columns whose title begins with `>` are aligned to the right.
pub struct Table<'a> {
    titles: Vec<&'a str>,
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
    indent: &'static str,
}

impl<'a> Table<'a> {
    /// Makes a table, whose titles are printed before its first row.
    pub fn new(indent: &'static str, titles: &[&'a str]) -> Self {
        let rows = vec![titles.iter().map(|title| title.trim_start_matches('>').to_owned()).collect()];
        Table { titles: titles.to_vec(), rows, widths: vec![0; titles.len()], indent }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Rows cannot be printed.
    pub fn push(&mut self, row: Vec<String>, print: Print<'_>) -> Result<(), Failure> {
        self.rows.push(row);
        if self.rows.len() > ROWS { self.flush(print) } else { Ok(()) }
    }

    /// Prints what there is.
    ///
    /// # Errors
    /// It cannot be printed.
    pub fn flush(&mut self, print: Print<'_>) -> Result<(), Failure> {
        for row in &self.rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for row in self.rows.drain(..) {
            let mut line = String::new();
            for ((cell, &width), title) in row.iter().zip(&self.widths).zip(&self.titles) {
                line += &if title.starts_with('>') { format!("{cell:>width$}  ") } else { format!("{cell:width$}  ") };
            }
            text += &format!("{}\n", format!("{}{line}", self.indent).trim_end());
        }
        print(&text)
    }
}
