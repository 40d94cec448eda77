//! From Redshift's SQL to PostgreSQL's, as far as a loader uses it. What Redshift refuses and
//! PostgreSQL would take is refused.

use super::copy::Copy;
use super::lexer::{Kind, Token, sql, tokens};

/// What a statement does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    /// PostgreSQL runs it.
    Run(String),
    /// PostgreSQL runs it; then the distribution and sort keys of the new table are written down.
    Create { sql: String, layout: Layout },
    /// A load of files.
    Copy(Copy),
    /// A schema over a data catalog.
    ExternalSchema { name: String, database: String, options: String, if_not_exists: bool },
    /// Nothing to do here, as `VACUUM`.
    Nothing,
}

/// The distribution and sort keys of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Layout {
    pub table: String,
    pub style: Option<String>,
    pub dist_key: Option<String>,
    pub sort_keys: Vec<String>,
}

/// Translates a statement. `batch`: whether it is one of several in one transaction.
pub(super) fn translate(text: &str, batch: bool) -> Result<Command, String> {
    let tokens = tokens(text)?;
    let word = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is(word));
    refuse(&tokens, batch)?;
    if word(0, "copy") {
        return Copy::parse(&tokens).map(Command::Copy);
    }
    if word(0, "vacuum") || word(0, "analyze") {
        return Ok(Command::Nothing);
    }
    if word(0, "create") && word(1, "external") {
        return external_schema(&tokens);
    }
    let temporary = word(1, "temp") || word(1, "temporary") || word(1, "local");
    let table = (1..4).find(|at| word(*at, "table"));
    if word(0, "create") && (temporary || word(1, "table")) && table.is_some() {
        return create_table(&tokens);
    }
    if word(0, "alter") && word(1, "table") {
        return alter_table(&tokens, batch);
    }
    Ok(Command::Run(sql(&expressions(&tokens))))
}

/// Whether a statement changes anything.
pub(super) fn mutates(text: &str) -> bool {
    let first = tokens(text).ok().and_then(|tokens| tokens.first()?.name());
    !matches!(first.as_deref(), Some("select" | "with" | "show" | "explain"))
}

/// What Redshift does not take.
fn refuse(tokens: &[Token<'_>], batch: bool) -> Result<(), String> {
    let word = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is(word));
    let Some(first) = tokens.first() else {
        return Err("ERROR: the statement is empty".to_owned());
    };
    let name = first.text.to_uppercase();
    let control = ["begin", "start", "commit", "end", "rollback", "abort", "savepoint"];
    if control.iter().any(|control| first.is(control)) {
        return Err(format!("ERROR: {name} is not supported by the Redshift Data stand-in"));
    }
    // On Redshift TRUNCATE commits what came before it, so that the batch is one transaction no more.
    if batch && first.is("truncate") {
        return Err("ERROR: TRUNCATE commits the transaction; use DELETE in a batch".to_owned());
    }
    if batch && first.is("vacuum") {
        return Err("ERROR: VACUUM cannot run inside a transaction block".to_owned());
    }
    if first.is("create") && (word(1, "index") || word(2, "index")) {
        return Err("ERROR: SQL command \"CREATE INDEX\" not supported on Redshift tables.".into());
    }
    let pair =
        |one: &str, two: &str| tokens.windows(2).any(|pair| pair[0].is(one) && pair[1].is(two));
    if pair("on", "conflict") {
        return Err("ERROR: syntax error at or near \"ON\"".to_owned());
    }
    if first.is("insert") && tokens.iter().any(|token| token.is("returning")) {
        return Err("ERROR: syntax error at or near \"RETURNING\"".to_owned());
    }
    if first.is("merge") && pair("remove", "duplicates") {
        return Err("ERROR: REMOVE DUPLICATES is not supported by the stand-in".to_owned());
    }
    if first.is("merge")
        && tokens.iter().skip_while(|t| !t.is("using")).nth(1).is_some_and(|t| t.symbol("("))
    {
        return Err("ERROR: the source of MERGE must be a table".to_owned());
    }
    Ok(())
}

/// Functions that PostgreSQL has under another name.
fn expressions<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    tokens
        .iter()
        .enumerate()
        .map(|(at, token)| {
            let call = tokens.get(at + 1).is_some_and(|next| next.symbol("("));
            let text = match () {
                () if call && token.is("nvl") => "coalesce",
                () if token.is("sysdate") => "redshift.getdate()",
                () => return *token,
            };
            Token { text, ..*token }
        })
        .collect()
}

fn external_schema(tokens: &[Token<'_>]) -> Result<Command, String> {
    let syntax = || "ERROR: syntax error in CREATE EXTERNAL SCHEMA".to_owned();
    let mut rest = tokens.get(2..).ok_or_else(syntax)?;
    if !rest.first().is_some_and(|token| token.is("schema")) {
        return Err("ERROR: CREATE EXTERNAL TABLE is not supported by the stand-in".to_owned());
    }
    rest = &rest[1..];
    let if_not_exists = rest.first().is_some_and(|token| token.is("if"));
    rest = rest.get(if if_not_exists { 3 } else { 0 }..).ok_or_else(syntax)?;
    let name = rest.first().and_then(Token::name).ok_or_else(syntax)?;
    let after = |word: &str| {
        let at = rest.iter().position(|token| token.is(word))?;
        rest.get(at + 1)?.value()
    };
    let catalog = rest
        .windows(3)
        .any(|three| three[0].is("from") && three[1].is("data") && three[2].is("catalog"));
    let database = after("database").ok_or_else(syntax)?;
    let role = after("iam_role").ok_or_else(syntax)?;
    if !catalog {
        return Err(syntax());
    }
    let mut options = serde_json::json!({ "IAM_ROLE": role });
    if let Some(region) = after("region") {
        options["REGION"] = region.into();
    }
    Ok(Command::ExternalSchema { name, database, options: options.to_string(), if_not_exists })
}

fn create_table(tokens: &[Token<'_>]) -> Result<Command, String> {
    let syntax = |near: &str| format!("ERROR: syntax error at or near \"{near}\"");
    let at = tokens.iter().position(|token| token.is("table")).ok_or_else(|| syntax("create"))?;
    let exists = tokens.get(at + 1).is_some_and(|token| token.is("if"));
    let name_at = at + if exists { 4 } else { 1 };
    let mut end = name_at + 1;
    while tokens.get(end).is_some_and(|token| token.symbol(".")) {
        end += 2;
    }
    let name = tokens.get(name_at..end).ok_or_else(|| syntax("table"))?;
    let mut layout = Layout { table: sql(name).to_lowercase(), ..Layout::default() };
    let mut text = sql(&tokens[..end]);
    let mut rest = &tokens[end..];
    if rest.first().is_some_and(|token| token.symbol("(")) {
        let close = closing(rest).ok_or_else(|| syntax("("))?;
        let items = split(&rest[1..close]);
        let mut columns = Vec::new();
        for item in items {
            columns.extend(column(item, &mut layout)?);
        }
        text.push_str(&format!(" ({})", columns.join(", ")));
        rest = &rest[close + 1..];
    }
    text.push_str(&attributes(rest, &mut layout)?);
    if layout.style.as_deref() == Some("KEY") && layout.dist_key.is_none() {
        return Err("ERROR: Must specify DISTKEY for DISTSTYLE KEY table".to_owned());
    }
    Ok(Command::Create { sql: text, layout })
}

/// The attributes after the columns; what is left of them for PostgreSQL.
fn attributes(mut rest: &[Token<'_>], layout: &mut Layout) -> Result<String, String> {
    let mut text = String::new();
    while let Some(first) = rest.first() {
        if first.is("as") {
            text.push(' ');
            text.push_str(&sql(&expressions(rest)));
            break;
        }
        let next = rest.get(1);
        let mut taken = 2;
        if first.is("diststyle") {
            layout.style = next.and_then(Token::name).map(|name| name.to_uppercase());
        } else if first.is("distkey") || first.is("sortkey") {
            if !next.is_some_and(|next| next.symbol("(")) {
                // SORTKEY AUTO
                rest = &rest[2.min(rest.len())..];
                continue;
            }
            let close = closing(&rest[1..]).ok_or("ERROR: syntax error at or near \"(\"")?;
            let mut names = rest[2..close + 1].iter().filter_map(Token::name);
            match first.is("distkey") {
                true => layout.dist_key = names.next_back(),
                false => layout.sort_keys = names.collect(),
            }
            taken = close + 2;
        } else if first.is("compound") || first.is("interleaved") {
            taken = 1;
        } else if !(first.is("encode") || first.is("backup")) {
            return Err(format!("ERROR: syntax error at or near \"{}\"", first.text));
        }
        rest = &rest[taken.min(rest.len())..];
    }
    Ok(text)
}

/// One item of the list of columns; `None` for what PostgreSQL must not see.
fn column(item: &[Token<'_>], layout: &mut Layout) -> Result<Option<String>, String> {
    let Some(first) = item.first() else {
        return Err("ERROR: syntax error at or near \",\"".to_owned());
    };
    // Redshift takes these as hints and does not enforce them.
    if ["primary", "unique", "foreign", "constraint"].iter().any(|word| first.is(word)) {
        return Ok(None);
    }
    if first.is("like") {
        return Ok(Some(sql(item)));
    }
    let name = first.name().ok_or_else(|| format!("ERROR: syntax error at \"{}\"", first.text))?;
    let (kind, used) = column_type(&item[1..], &name)?;
    let mut text = format!("{} {kind}", sql(&item[..1]));
    let mut rest = &item[1 + used..];
    while let Some(token) = rest.first() {
        let mut taken = 1;
        if token.is("encode") {
            taken = 2;
        } else if token.is("distkey") {
            layout.dist_key = Some(name.clone());
        } else if token.is("sortkey") {
            layout.sort_keys = vec![name.clone()];
        } else if token.is("primary") {
            taken = 2;
        } else if token.is("unique") {
        } else if token.is("identity") {
            text.push_str(" generated by default as identity");
            taken = 1 + closing(&rest[1..]).map_or(0, |close| close + 1);
        } else {
            text.push(' ');
            text.push_str(&sql(&expressions(&rest[..1])));
        }
        rest = &rest[taken.min(rest.len())..];
    }
    Ok(Some(text))
}

/// The type at the beginning of the tokens in PostgreSQL, and how many tokens it takes.
fn column_type(rest: &[Token<'_>], column: &str) -> Result<(String, usize), String> {
    let unknown =
        |name: &str| format!("ERROR: Column \"{column}\" has unsupported type \"{name}\".");
    let first = rest.first().and_then(Token::name).ok_or_else(|| unknown(""))?;
    let second = rest.get(1).and_then(Token::name).unwrap_or_default();
    let words = match (first.as_str(), second.as_str()) {
        ("double", "precision") | ("character", "varying") | ("binary", "varying") => 2,
        ("timestamp" | "time", "with" | "without") => 4,
        _ => 1,
    };
    let mut used = words;
    let mut arguments = Vec::new();
    if rest.get(used).is_some_and(|token| token.symbol("(")) {
        let close = closing(&rest[used..]).ok_or_else(|| unknown(&first))?;
        arguments = rest[used + 1..used + close].iter().map(|token| token.text).collect();
        used += close + 1;
    }
    let length = |default: u32, most: u32| -> Result<u32, String> {
        let length = match arguments.first() {
            None => default,
            Some(max) if max.eq_ignore_ascii_case("max") => most,
            Some(text) => text.parse().map_err(|_| unknown(&first))?,
        };
        let long = format!("ERROR: length for type {first} cannot exceed {most}");
        if length == 0 || length > most { Err(long) } else { Ok(length) }
    };
    let kind = match (first.as_str(), words) {
        ("varchar" | "nvarchar" | "character", 2) | ("varchar" | "nvarchar", 1) => {
            format!("varchar({})", length(256, 65_535)?)
        }
        ("text", 1) => "varchar(256)".to_owned(),
        ("char" | "character" | "nchar" | "bpchar", 1) => format!("char({})", length(1, 4_096)?),
        ("super", 1) => "jsonb".to_owned(),
        ("varbyte" | "varbinary", 1) | ("binary", 2) => {
            length(64_000, 16_777_216)?;
            "bytea".to_owned()
        }
        ("decimal" | "numeric", 1) => {
            let text = if arguments.is_empty() { "18, 0".to_owned() } else { arguments.concat() };
            let precision = text.split(',').next().and_then(|text| text.trim().parse::<u32>().ok());
            if precision.is_none_or(|precision| precision > 38) {
                return Err("ERROR: DECIMAL precision must be between 1 and 38".to_owned());
            }
            format!("numeric({text})")
        }
        ("datetime", 1) => "timestamp".to_owned(),
        ("timestamp" | "time", 4) => match rest.get(1).is_some_and(|token| token.is("with")) {
            true => format!("{first}tz"),
            false => first.clone(),
        },
        ("double", 2) => "double precision".to_owned(),
        (
            "smallint" | "int2" | "integer" | "int" | "int4" | "bigint" | "int8" | "real"
            | "float4" | "float" | "float8" | "boolean" | "bool" | "date" | "timestamp"
            | "timestamptz" | "time" | "timetz",
            1,
        ) => first.clone(),
        _ => return Err(unknown(&first)),
    };
    Ok((kind, used))
}

fn alter_table(tokens: &[Token<'_>], batch: bool) -> Result<Command, String> {
    let syntax = |near: &str| Err(format!("ERROR: syntax error at or near \"{near}\""));
    let transaction =
        |what: &str| Err(format!("ERROR: {what} cannot run inside a transaction block"));
    let words = ["add", "alter", "append", "rename", "drop", "owner"];
    // The first two are ALTER TABLE.
    let named = |at: &usize| words.iter().any(|word| tokens[*at].is(word));
    let Some(at) = (2..tokens.len()).find(named) else {
        return syntax("table");
    };
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is(word));
    if is(at, "append") {
        return match batch {
            true => transaction("ALTER TABLE APPEND"),
            false => Err("ERROR: ALTER TABLE APPEND is not supported by the stand-in".to_owned()),
        };
    }
    if is(at, "alter") {
        let text = is(at + 1, "column") && is(at + 3, "type");
        return match (text, batch) {
            (true, true) => transaction("ALTER TABLE ALTER COLUMN"),
            (true, false) => Ok(Command::Run(sql(tokens))),
            (false, _) => Err("ERROR: this ALTER TABLE is not supported by the stand-in".into()),
        };
    }
    if is(at, "add") {
        let from = at + 1 + usize::from(is(at + 1, "column"));
        let item = &tokens[from.min(tokens.len())..];
        if item.first().is_some_and(|token| token.is("if")) {
            return syntax("IF");
        }
        // One column a statement, other than PostgreSQL.
        if split(item).len() > 1 {
            return syntax(",");
        }
        let Some(column) = column(item, &mut Layout::default())? else {
            return Ok(Command::Nothing);
        };
        let lower = column.to_lowercase();
        if lower.contains("not null") && !lower.contains("default") {
            return Err("ERROR: ALTER TABLE ADD COLUMN defined as NOT NULL must have a non-null default expression".into());
        }
        return Ok(Command::Run(format!("{} ADD COLUMN {column}", sql(&tokens[..at]))));
    }
    Ok(Command::Run(sql(tokens)))
}

/// Where the parenthesis that the tokens begin with is closed.
pub(super) fn closing(tokens: &[Token<'_>]) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        if token.symbol("(") {
            depth += 1;
        } else if token.symbol(")") {
            depth = depth.checked_sub(1)?;
        }
        if depth == 0 {
            return token.symbol(")").then_some(at);
        }
    }
    None
}

/// The pieces between commas outside of parentheses.
pub(super) fn split<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let mut depth = 0_usize;
    tokens
        .split(|token| {
            if token.kind == Kind::Symbol {
                match token.text {
                    "(" => depth += 1,
                    ")" => depth = depth.saturating_sub(1),
                    "," => return depth == 0,
                    _ => {}
                }
            }
            false
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_lose_what_postgresql_does_not_know() {
        let text = r#"CREATE TABLE IF NOT EXISTS "Rec"."Events" (
            "Id" BIGINT NOT NULL ENCODE AZ64 PRIMARY KEY, note VARCHAR(max) ENCODE zstd,
            p DECIMAL(10, 2) DEFAULT 0, s SUPER, t TIMESTAMP WITH TIME ZONE, w text, PRIMARY KEY (id))
            DISTSTYLE KEY DISTKEY ("Id") COMPOUND SORTKEY (t, "Id")"#;
        let Ok(Command::Create { sql, layout }) = translate(text, true) else { panic!() };
        assert_eq!(
            sql,
            r#"CREATE TABLE IF NOT EXISTS "rec"."events" ("id" bigint NOT NULL, note varchar(65535), p numeric(10,2) DEFAULT 0, s jsonb, t timestamptz, w varchar(256))"#
        );
        assert_eq!(
            layout,
            Layout {
                table: r#""rec"."events""#.to_owned(),
                style: Some("KEY".to_owned()),
                dist_key: Some("id".to_owned()),
                sort_keys: vec!["t".to_owned(), "id".to_owned()],
            }
        );
        let copied = translate("create temp table x (like y)", true).unwrap();
        assert!(
            matches!(copied, Command::Create { sql, .. } if sql == "create temp table x (like y)")
        );
    }

    #[test]
    fn what_redshift_refuses_is_refused() {
        for text in [
            "truncate t",
            "vacuum t",
            "create table t (a jsonb)",
            "create table t (a varchar(70000))",
            "create index i on t (a)",
            "alter table t add column a int, add column b int",
            "alter table t add column if not exists a int",
            "alter table t alter column a type varchar(10)",
            "insert into t values (1) on conflict do nothing",
            "begin",
            "",
        ] {
            assert!(translate(text, true).is_err(), "{text}");
        }
        assert!(translate("truncate t", false).is_ok());
        assert_eq!(
            translate("ALTER TABLE s.t ADD COLUMN \"A\" super encode zstd", true),
            Ok(Command::Run("ALTER TABLE s.t ADD COLUMN \"a\" jsonb".to_owned()))
        );
        assert!(translate("alter table t alter column a type varchar(10)", false).is_ok());
        assert_eq!(
            translate("select NVL(a, 1), nvl from t", false),
            Ok(Command::Run("select coalesce(a, 1), nvl from t".to_owned()))
        );
        assert!(mutates("/* x */ insert into t values (1)") && !mutates("SELECT 1"));
    }

    #[test]
    fn external_schemas_are_read() {
        let text = "CREATE EXTERNAL SCHEMA IF NOT EXISTS \"lake\" FROM DATA CATALOG DATABASE 'rec' \
                    REGION 'eu-west-1' IAM_ROLE 'arn:aws:iam::000000000000:role/r'";
        let Ok(Command::ExternalSchema { name, database, if_not_exists, .. }) =
            translate(text, false)
        else {
            panic!()
        };
        assert_eq!((name.as_str(), database.as_str(), if_not_exists), ("lake", "rec", true));
    }
}
