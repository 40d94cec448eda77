//! What tells who somebody is, on its way to where it is served.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{CATALOGUE, CLEAN, LABELS, PROJECT, base, describe, edit, problems_of};

/// A mistake: pieces of files and what somebody wrote instead.
type Edits<'a> = &'a [(&'a str, &'a str, &'a str)];

/// What the base project says of the id by which lists are asked for.
const ALLOWED: (&str, &str, &str) = (PROJECT, ", allow: {pii: people ask for their own list}", "");
const TAGGED_NAME: (&str, &str, &str) =
    (PROJECT, "      name: string", "      name: {type: string, tags: [pii]}");
const UNTAGGED_USER: (&str, &str, &str) = (PROJECT, "{type: string?, tags: [pii]}", "string?");

fn told(edits: Edits<'_>) -> String {
    let mut files = base();
    for (file, right, wrong) in edits {
        edit(&mut files, file, right, wrong);
    }
    describe(&files, &problems_of(&files, &BTreeMap::new()))
}

#[test]
fn mistakes_about_people() {
    let mistakes: &[(&str, Edits<'_>)] = &[
        ("an id as the key of lists", &[ALLOWED]),
        ("a person's name as an item's", &[ALLOWED, UNTAGGED_USER, TAGGED_NAME]),
        (
            "an id that is only written differently",
            &[ALLOWED, (CLEAN, "    user_id,", "    concat('u', lower(user_id)) AS user_id,")],
        ),
        (
            "the greatest of several is one of them",
            &[
                ALLOWED,
                UNTAGGED_USER,
                TAGGED_NAME,
                (
                    CATALOGUE,
                    "SELECT item_id, name, price",
                    "SELECT item_id, max(name) AS name, max(price) AS price",
                ),
                (CATALOGUE, "price >= $cheapest", "price >= $cheapest GROUP BY item_id"),
            ],
        ),
        (
            "allowed for another tag",
            &[(PROJECT, "allow: {pii: people ask for their own list}", "allow: {internal: ours}")],
        ),
        ("allowed without a reason", &[(PROJECT, "people ask for their own list", "\"\"")]),
        (
            "untagged without a reason",
            &[(
                PROJECT,
                "        sql: sql/labels.sql\n",
                "        sql: sql/labels.sql\n        untag: {user_id: {tags: [pii]}}\n",
            )],
        ),
        (
            "untagged column that is not there",
            &[(
                PROJECT,
                "        sql: sql/labels.sql\n",
                "        sql: sql/labels.sql\n        untag: {user: {tags: [pii], reason: hashed}}\n",
            )],
        ),
        (
            "untagged where nothing is made",
            &[(
                PROJECT,
                "        tune: jobs/als.yaml\n",
                "        tune: jobs/als.yaml\n        untag: {user_id: {tags: [pii], reason: hashed}}\n",
            )],
        ),
    ];
    let mut text = String::new();
    for (name, edits) in mistakes {
        let told = told(edits);
        assert!(!told.is_empty(), "nobody minds: {name}");
        let _ = write!(text, "{name}\n{told}\n");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_meant_or_shows_nobody_is_no_mistake() {
    let untag = "        sql: sql/labels.sql\n        untag: {user_id: {tags: [pii], reason: a keyed hash}}\n";
    let fine: &[(&str, Edits<'_>)] = &[
        ("allowed with a reason", &[]),
        ("untagged with a reason", &[ALLOWED, (PROJECT, "        sql: sql/labels.sql\n", untag)]),
        (
            "counted",
            &[
                ALLOWED,
                UNTAGGED_USER,
                TAGGED_NAME,
                (
                    CATALOGUE,
                    "SELECT item_id, name, price",
                    "SELECT item_id, CAST(count(name) AS VARCHAR) AS name, max(price) AS price",
                ),
                (CATALOGUE, "price >= $cheapest", "price >= $cheapest GROUP BY item_id"),
            ],
        ),
        (
            "read and not served",
            &[
                ALLOWED,
                UNTAGGED_USER,
                (PROJECT, "      quantity: int?", "      quantity: {type: int?, tags: [pii]}"),
                (
                    LABELS,
                    "GROUP BY c.user_id, c.item_id",
                    "WHERE c.quantity > 0\nGROUP BY c.user_id, c.item_id",
                ),
            ],
        ),
    ];
    for (name, edits) in fine {
        assert_eq!(told(edits), "", "{name}");
    }
}
