//! Tables as columns of padded text, without borders: readable for people, and for scripts that split at two or more spaces.

/// The space between columns where there is room for it, and on a narrow terminal.
const GAP: usize = 5;
const NARROW_GAP: usize = 2;

/// Rows under a header.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows
            .push(cells.into_iter().map(|cell| clean(&cell.into())).collect());
    }

    /// The table as text, in the width of the terminal when there is one.
    pub(crate) fn text(&self) -> String {
        self.text_in(terminal_width())
    }

    /// The table with the space between columns that `width` has room for.
    pub(crate) fn text_in(&self, width: Option<usize>) -> String {
        let widths = self.widths();
        let whole =
            |gap: usize| widths.iter().sum::<usize>() + gap * widths.len().saturating_sub(1);
        let gap = if width.is_some_and(|width| whole(GAP) > width) {
            NARROW_GAP
        } else {
            GAP
        };
        let mut text = String::new();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            line(&mut text, row, &widths, gap);
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self
            .header
            .iter()
            .map(|cell| cell.chars().count())
            .collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths
    }
}

fn line(text: &mut String, row: &[String], widths: &[usize], gap: usize) {
    let start = text.len();
    for (cell, width) in row.iter().zip(widths) {
        text.push_str(cell);
        let padding = (width + gap).saturating_sub(cell.chars().count());
        text.extend(std::iter::repeat_n(' ', padding));
    }
    let end = text.trim_end_matches(' ').len().max(start);
    text.truncate(end);
    text.push('\n');
}

/// A cell stays on its line whatever a peer wrote into it, and does not drive the terminal.
fn clean(cell: &str) -> String {
    cell.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn terminal_width() -> Option<usize> {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_tail() {
        let mut table = Table::new(["NAME", "TYPE"]);
        table.row(["a-long-name", ""]);
        table.row(["b", "x\ty\u{1b}[1m"]);
        assert_eq!(
            table.text_in(None),
            "NAME            TYPE\na-long-name\nb               x y [1m\n"
        );
        assert_eq!(
            table.text_in(Some(10)),
            "NAME         TYPE\na-long-name\nb            x y [1m\n"
        );
    }
}
