//! A database of PostgreSQL dressed up as one of Redshift.

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::copy::text_of;
use crate::stack::Postgres;

/// What Redshift has and PostgreSQL lacks. It lies in a schema at the end of the search path.
const DRESS: &str = r#"
CREATE SCHEMA redshift;
CREATE FUNCTION redshift.getdate() RETURNS timestamp LANGUAGE sql STABLE
    AS $$ SELECT date_trunc('second', now() AT TIME ZONE 'UTC') $$;
CREATE TABLE redshift.external (
    name text PRIMARY KEY, database text NOT NULL, options text NOT NULL);
CREATE TABLE redshift.layout (
    table_id oid PRIMARY KEY, style text NOT NULL, dist_key text, sort_keys text[] NOT NULL);
CREATE VIEW redshift.svv_external_schemas AS
    SELECT n.oid AS esoid, 1 AS eskind, e.name AS schemaname, 100 AS esowner,
           e.database AS databasename, e.options AS esoptions
      FROM redshift.external e JOIN pg_namespace n ON n.nspname = e.name;
CREATE VIEW redshift.svv_columns AS
    SELECT table_catalog::text, table_schema::text, table_name::text, column_name::text,
           ordinal_position::int, column_default::text, is_nullable::text,
           CASE data_type WHEN 'jsonb' THEN 'super' WHEN 'bytea' THEN 'binary varying'
                ELSE data_type END::text AS data_type,
           character_maximum_length::int, numeric_precision::int, numeric_scale::int
      FROM information_schema.columns
     WHERE table_schema NOT IN ('information_schema', 'pg_catalog', 'redshift');
CREATE VIEW redshift.svv_tables AS
    SELECT table_catalog::text, table_schema::text, table_name::text, table_type::text
      FROM information_schema.tables
     WHERE table_schema NOT IN ('information_schema', 'pg_catalog', 'redshift');
CREATE VIEW redshift.svv_table_info AS
    SELECT current_database()::text AS "database", n.nspname::text AS "schema", c.oid AS table_id,
           c.relname::text AS "table",
           CASE WHEN l.dist_key IS NOT NULL THEN 'KEY(' || l.dist_key || ')'
                ELSE coalesce(l.style, 'AUTO(ALL)') END AS diststyle,
           coalesce(l.sort_keys[1], 'AUTO(SORTKEY)') AS sortkey1,
           coalesce(array_length(l.sort_keys, 1), 0) AS sortkey_num,
           greatest(c.reltuples, 0)::numeric AS tbl_rows
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN redshift.layout l ON l.table_id = c.oid
     WHERE c.relkind = 'r' AND n.nspname NOT IN ('information_schema', 'pg_catalog', 'redshift');
CREATE VIEW redshift.pg_table_def AS
    SELECT n.nspname::text AS schemaname, c.relname::text AS tablename, a.attname::text AS "column",
           replace(format_type(a.atttypid, a.atttypmod), 'jsonb', 'super') AS "type",
           'none'::text AS encoding, coalesce(l.dist_key = a.attname, false) AS distkey,
           coalesce(array_position(l.sort_keys, a.attname::text), 0) AS sortkey,
           a.attnotnull AS "notnull"
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN redshift.layout l ON l.table_id = c.oid
     WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'r'
       AND n.nspname = ANY (current_schemas(false)) AND n.nspname <> 'redshift'
     ORDER BY c.relname, a.attnum;
"#;

/// A database that is dropped with this.
#[derive(Debug)]
pub(super) struct Owned {
    server: tokio_postgres::Config,
    name: String,
}

impl Owned {
    pub async fn create(postgres: &Postgres) -> Result<Self, String> {
        let mut server = tokio_postgres::Config::new();
        server
            .host(postgres.host)
            .port(postgres.port)
            .user(postgres.user)
            .dbname(postgres.database)
            // Backslashes escape in Redshift's texts.
            .options(
                "-c standard_conforming_strings=off -c escape_string_warning=off -c timezone=UTC \
                 -c search_path=\"$user\",public,redshift -c client_min_messages=error",
            );
        let name = format!("redshift_{}_{:x}", std::process::id(), super::statement::nanoseconds());
        let owned = Self { server, name };
        let client = connect(&owned.server).await?;
        let create = format!(
            "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
            owned.name
        );
        client.batch_execute(&create).await.map_err(|error| text_of(&error))?;
        let client = connect(&owned.config()).await?;
        // This text holds backslashes for nobody.
        client.batch_execute(DRESS).await.map_err(|error| text_of(&error))?;
        Ok(owned)
    }

    /// How to connect to it.
    pub fn config(&self) -> tokio_postgres::Config {
        let mut config = self.server.clone();
        config.dbname(&self.name);
        config
    }

    /// Rows of a query, as text.
    pub async fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let client = connect(&self.config()).await?;
        let messages = client.simple_query(sql).await.map_err(|error| text_of(&error))?;
        Ok(rows(&messages))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A drop may run inside of a runtime, which cannot be blocked on.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let Ok(client) = connect(&server).await else { return };
                let _ = client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
            });
        });
        let _ = dropping.join();
    }
}

/// Opens a session.
pub(super) async fn connect(config: &tokio_postgres::Config) -> Result<Client, String> {
    let (client, connection) = config.connect(NoTls).await.map_err(|error| text_of(&error))?;
    // It ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

/// The rows among what a query gave, as text.
pub(super) fn rows(messages: &[SimpleQueryMessage]) -> Vec<Vec<Option<String>>> {
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            _ => None,
        })
        .collect()
}
