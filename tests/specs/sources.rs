//! Mistakes in sources.

use super::{Mistake, PROJECT, mistake, told};

const LOG: &str = "format: json\n    columns:\n      event_id: string";

const SOURCES: &[Mistake] = &[
    mistake(
        "a delimiter of JSON",
        PROJECT,
        "    format: json\n",
        "    format: json\n    delimiter: ';'\n",
    ),
    mistake(
        "a delimiter of two characters",
        PROJECT,
        "    format: csv\n",
        "    format: csv\n    delimiter: '||'\n",
    ),
    mistake(
        "a pattern of CSV",
        PROJECT,
        "    format: csv\n",
        "    format: csv\n    pattern: '(?<item_id>.*)'\n",
    ),
    mistake("a log without a pattern", PROJECT, "    format: json\n", "    format: log\n"),
    mistake(
        "a pattern that is not closed",
        PROJECT,
        LOG,
        "format: log\n    pattern: '(?<event_id>\\S+'\n    columns:\n      event_id: string",
    ),
    mistake(
        "a pattern without groups of some columns",
        PROJECT,
        LOG,
        "format: log\n    pattern: '(?<event_id>\\S+) (?<time>\\S+) (?<user_id>\\S+) (?<item>\\S+) (?<price>\\S+) (?<quantity>\\S+)'\n    columns:\n      event_id: string",
    ),
];

#[test]
fn mistakes_in_sources() {
    insta::assert_snapshot!(told(SOURCES));
}
