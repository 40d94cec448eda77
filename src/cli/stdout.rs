//! What is known of standard output.

use std::io::IsTerminal;

use crate::app::App;
use crate::report::Paint;
use crate::report::problems::Look;

/// Columns of a table where nobody says how wide standard output is: files and pipes.
const WIDE: usize = 120;

/// Colours where standard output is a terminal itself.
pub(super) fn paint(app: &App) -> Paint {
    Paint::new(app.colour && std::io::stdout().is_terminal())
}

/// How places in files are drawn there.
pub(super) fn look(app: &App) -> Look {
    match std::io::stdout().is_terminal() {
        true => Look::terminal(paint(app).is_on()),
        false => Look::plain(),
    }
}

/// How many columns it has.
pub(super) fn width() -> usize {
    let terminal = terminal_size::terminal_size_of(std::io::stdout());
    terminal.map_or(WIDE, |(terminal_size::Width(width), _)| usize::from(width))
}
