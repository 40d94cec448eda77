use super::*;
use crate::pipeline::step::{SchemaChange, WarehouseLayout, WarehouseMode};
use crate::ports::{ColumnEntry, TableEntry, TableLoad};

fn lease() -> Lease {
    let (name, holder) = ("daily/2026-03-01".to_owned(), "h".to_owned());
    Lease { name, holder, fence: 7, seized: false }
}

fn load(columns: &[(&str, &str)], by_day: bool, layout: WarehouseLayout) -> TableLoad {
    let entry = |(name, kind): &(&str, &str)| ColumnEntry {
        name: (*name).to_owned(),
        kind: (*kind).to_owned(),
        nullable: true,
    };
    TableLoad {
        table: TableEntry {
            name: "events".to_owned(),
            columns: columns.iter().map(entry).collect(),
            by_day,
            schema_change: SchemaChange::Stop,
        },
        date: by_day.then(|| "2026-03-01".parse().unwrap()),
        files: Vec::new(),
        rows: 3,
        layout,
    }
}

fn merge_on(key: &str) -> WarehouseMode {
    WarehouseMode::Merge { on: vec![key.to_owned()] }
}

const WRITER: Writer<'static> =
    Writer { schema: "re\"c", copy_role: "arn:aws:iam::1:role/o'r", mark: "m" };

#[test]
fn a_load_is_written_with_names_quoted_and_texts_escaped() {
    let layout = WarehouseLayout {
        mode: WarehouseMode::Replace,
        dist_key: Some("id".to_owned()),
        sort_keys: vec!["dt".to_owned(), "id".to_owned()],
    };
    let load = load(&[("id", "Int64"), ("no\"te", "Utf8"), ("tags", "List(Utf8)")], true, layout);
    let table = Table::new(&load).unwrap();
    let missing = table.missing(None).unwrap();
    let planned = Planned {
        table: &table,
        exists: false,
        missing,
        narrow: Vec::new(),
        manifest: Some("s3://b/m'.json".to_owned()),
    };
    let batch = LoadBatch {
        token: r"it's\".to_owned(),
        run: "r".to_owned(),
        lease: lease(),
        tables: vec![load.clone()],
    };
    let mut steps = WRITER.make_ledger(false, false, false);
    steps.push(WRITER.lock());
    steps.extend(WRITER.shape(&planned));
    steps.extend(WRITER.data(&batch, &[planned], 3));
    let text: Vec<&str> = steps.iter().map(|(_, sql)| sql.as_str()).collect();
    insta::assert_snapshot!(text.join("\n"), @r#"
CREATE SCHEMA IF NOT EXISTS "re""c"
CREATE TABLE IF NOT EXISTS "re""c"."recctl_loads" ("token" VARCHAR(1024) NOT NULL, "run" VARCHAR(256) NOT NULL, "tables" VARCHAR(65535) NOT NULL, "rows" BIGINT NOT NULL, "loaded" TIMESTAMP NOT NULL)
CREATE TABLE IF NOT EXISTS "re""c"."recctl_fences" ("lease" VARCHAR(1024) NOT NULL, "fence" BIGINT NOT NULL)
LOCK TABLE "re""c"."recctl_loads"
CREATE TABLE IF NOT EXISTS "re""c"."events" ("id" BIGINT, "no""te" VARCHAR(65535), "tags" SUPER, "dt" DATE) DISTSTYLE KEY DISTKEY ("id") COMPOUND SORTKEY ("dt", "id")
INSERT INTO "re""c"."recctl_fences" ("lease", "fence") SELECT 'daily/2026-03-01', 7 / CASE WHEN EXISTS (SELECT 1 FROM "re""c"."recctl_fences" WHERE "lease" = 'daily/2026-03-01' AND "fence" > 7) THEN 0 ELSE 1 END WHERE EXISTS (SELECT 1 FROM "re""c"."recctl_fences" WHERE "lease" = 'daily/2026-03-01' AND "fence" > 7) OR NOT EXISTS (SELECT 1 FROM "re""c"."recctl_fences" WHERE "lease" = 'daily/2026-03-01' AND "fence" = 7)
CREATE TEMP TABLE "recctl_stage_m_0" ("id" BIGINT, "no""te" VARCHAR(65535), "tags" SUPER) DISTSTYLE KEY DISTKEY ("id")
COPY "recctl_stage_m_0" ("id", "no""te", "tags") FROM 's3://b/m''.json' IAM_ROLE 'arn:aws:iam::1:role/o''r' FORMAT AS PARQUET MANIFEST SERIALIZETOJSON
SELECT 1 / CASE WHEN (SELECT count(*) FROM "recctl_stage_m_0") = 3 THEN 1 ELSE 0 END
DELETE FROM "re""c"."events" WHERE "dt" = CAST('2026-03-01' AS DATE) AND NOT EXISTS (SELECT 1 FROM "re""c"."recctl_loads" WHERE "token" = 'it''s\\')
INSERT INTO "re""c"."events" ("id", "no""te", "tags", "dt") SELECT "id", "no""te", "tags", CAST('2026-03-01' AS DATE) FROM "recctl_stage_m_0" WHERE NOT EXISTS (SELECT 1 FROM "re""c"."recctl_loads" WHERE "token" = 'it''s\\')
INSERT INTO "re""c"."recctl_loads" ("token", "run", "tables", "rows", "loaded") SELECT 'it''s\\', 'r', '[{"date":"2026-03-01","rows":3,"table":"events"}]', 3, GETDATE() WHERE NOT EXISTS (SELECT 1 FROM "re""c"."recctl_loads" WHERE "token" = 'it''s\\')
"#);
}

#[test]
fn merges_replace_rows_of_the_same_keys() {
    let layout = WarehouseLayout { mode: merge_on("id"), ..WarehouseLayout::default() };
    let load = load(&[("id", "Int64"), ("word", "Utf8")], false, layout);
    let table = Table::new(&load).unwrap();
    let known = [
        Column { name: "id".to_owned(), kind: RedshiftType::BigInt },
        Column { name: "word".to_owned(), kind: RedshiftType::Varchar(64) },
    ];
    let planned = Planned {
        table: &table,
        exists: true,
        missing: vec![Column { name: "word".to_owned(), kind: RedshiftType::Varchar(65_535) }],
        narrow: table.narrow(&known),
        manifest: Some("s3://b/m".to_owned()),
    };
    let batch = LoadBatch {
        token: "t".to_owned(),
        run: "r".to_owned(),
        lease: lease(),
        tables: vec![load.clone()],
    };
    let mut steps = WRITER.shape(&planned);
    steps.extend(WRITER.data(&batch, &[planned], 3));
    let text: Vec<&str> = steps.iter().map(|(_, sql)| sql.as_str()).collect();
    insta::assert_snapshot!(text.join("\n"), @r#"
ALTER TABLE "re""c"."events" ADD COLUMN "word" VARCHAR(65535)
INSERT INTO "re""c"."recctl_fences" ("lease", "fence") SELECT 'daily/2026-03-01', 7 / CASE WHEN EXISTS (SELECT 1 FROM "re""c"."recctl_fences" WHERE "lease" = 'daily/2026-03-01' AND "fence" > 7) THEN 0 ELSE 1 END WHERE EXISTS (SELECT 1 FROM "re""c"."recctl_fences" WHERE "lease" = 'daily/2026-03-01' AND "fence" > 7) OR NOT EXISTS (SELECT 1 FROM "re""c"."recctl_fences" WHERE "lease" = 'daily/2026-03-01' AND "fence" = 7)
CREATE TEMP TABLE "recctl_stage_m_0" ("id" BIGINT, "word" VARCHAR(65535))
COPY "recctl_stage_m_0" ("id", "word") FROM 's3://b/m' IAM_ROLE 'arn:aws:iam::1:role/o''r' FORMAT AS PARQUET MANIFEST
SELECT 1 / CASE WHEN (SELECT count(*) FROM "recctl_stage_m_0") = 3 THEN 1 ELSE 0 END
SELECT 1 / CASE WHEN (SELECT count(*) FROM (SELECT DISTINCT "id" FROM "recctl_stage_m_0") keys) = 3 THEN 1 ELSE 0 END
SELECT 1 / CASE WHEN (SELECT coalesce(max(octet_length("word")), 0) FROM "recctl_stage_m_0") <= 64 THEN 1 ELSE 0 END
DELETE FROM "re""c"."events" USING "recctl_stage_m_0" WHERE "re""c"."events"."id" = "recctl_stage_m_0"."id" AND NOT EXISTS (SELECT 1 FROM "re""c"."recctl_loads" WHERE "token" = 't')
INSERT INTO "re""c"."events" ("id", "word") SELECT "id", "word" FROM "recctl_stage_m_0" WHERE NOT EXISTS (SELECT 1 FROM "re""c"."recctl_loads" WHERE "token" = 't')
INSERT INTO "re""c"."recctl_loads" ("token", "run", "tables", "rows", "loaded") SELECT 't', 'r', '[{"date":null,"rows":3,"table":"events"}]', 3, GETDATE() WHERE NOT EXISTS (SELECT 1 FROM "re""c"."recctl_loads" WHERE "token" = 't')
"#);
}

#[test]
fn loads_that_cannot_be_are_refused_and_the_column_is_named() {
    let plain = WarehouseLayout::default;
    let bad = [
        (load(&[("a", "Int64"), ("A", "Utf8")], false, plain()), "`events.A`"),
        (load(&[("dt", "Date32")], true, plain()), "`events.dt`"),
        (load(&[("n", "UInt64")], false, plain()), "`events.n`"),
        (load(&[("t", "Timestamp(ns)")], false, plain()), "`events.t`"),
        (load(&[], false, plain()), "`events`"),
        (load(&[("a", "Int64")], false, WarehouseLayout { mode: merge_on("b"), ..plain() }), "`b`"),
        (
            load(
                &[("a", "List(Int64)")],
                false,
                WarehouseLayout { sort_keys: vec!["a".to_owned()], ..plain() },
            ),
            "`events.a`",
        ),
    ];
    for (load, named) in bad {
        let failure = Table::new(&load).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage);
        assert!(failure.message.contains(named), "{failure}");
    }
}

#[test]
fn existing_tables_get_what_they_lack_or_say_what_does_not_fit() {
    let load = load(&[("a", "Int32"), ("b", "Utf8")], true, WarehouseLayout::default());
    let table = Table::new(&load).unwrap();
    let existing = |columns: &[(&str, RedshiftType)]| {
        let one = |(name, kind): &(&str, RedshiftType)| Existing {
            name: (*name).to_owned(),
            kind: Some(*kind),
            shown: String::new(),
        };
        columns.iter().map(one).collect::<Vec<_>>()
    };
    let known = existing(&[("A", RedshiftType::BigInt), ("dt", RedshiftType::Date)]);
    let missing = table.missing(Some(&known)).unwrap();
    assert_eq!(missing, [Column { name: "b".to_owned(), kind: RedshiftType::Varchar(65_535) }]);
    for (columns, named) in [
        (existing(&[("a", RedshiftType::SmallInt), ("dt", RedshiftType::Date)]), "`events.a`"),
        (existing(&[("a", RedshiftType::Integer)]), "`events` is not by day"),
    ] {
        let failure = table.missing(Some(&columns)).unwrap_err();
        assert!(failure.message.contains(named), "{failure}");
    }
}

#[test]
fn tokens_are_deterministic_and_no_longer_than_redshift_takes() {
    let sqls = ["SELECT 1".to_owned()];
    let token = client_token("n", 0, &sqls);
    assert_eq!(token.len(), 64);
    assert_eq!(token, client_token("n", 0, &sqls));
    assert_ne!(token, client_token("n", 1, &sqls));
    assert_ne!(token, client_token("m", 0, &sqls));
}
