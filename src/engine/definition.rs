//! Definitions of runs in the lake, each once under the address of its content. Not in the state: a
//! record of it is too small for a project of many files.

use crate::pipeline::definition::Definition;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::RunId;
use crate::steps::context::Services;

/// Level of Zstandard: small files, which are written once a run.
const LEVEL: i32 = 9;
/// The most that a definition takes unpacked, in bytes: what is larger was not written by recctl.
const MOST: usize = 64 * 1024 * 1024;

/// Where a definition lies in the lake.
pub fn path_of(address: &str) -> String {
    format!("_recctl/definitions/{address}.json.zst")
}

/// Writes a definition and returns its address. Writing it again changes nothing.
pub async fn keep(services: &Services, definition: &Definition) -> Outcome<String> {
    let address = definition.digest();
    let packed = zstd::bulk::compress(definition.to_json().as_bytes(), LEVEL).map_err(|error| {
        Failure::new(FailureKind::Internal, format!("cannot pack the definition: {error}"))
    })?;
    services.query.lake().put(&path_of(&address), packed).await?;
    Ok(address)
}

/// The definition that a run carried out. Errors: `NotFound` for a run that nobody knows, or whose
/// definition was not kept; `Input` if it was damaged.
pub async fn of_run(services: &Services, id: &RunId) -> Outcome<Definition> {
    let record = services.state.run(id).await?.ok_or_else(|| {
        Failure::new(FailureKind::NotFound, format!("no run `{id}`"))
            .with_hint("`recctl runs` lists them")
    })?;
    let address = record.definition.ok_or_else(|| {
        let text = format!("run `{id}` is of a recctl that kept no definitions");
        Failure::new(FailureKind::NotFound, text).with_hint("name a later run or a git revision")
    })?;
    let path = path_of(&address);
    let packed = services.query.lake().get(&path).await?;
    let damaged = |why: &dyn std::fmt::Display| {
        Failure::new(FailureKind::Input, format!("cannot read `{path}` in the lake: {why}"))
    };
    let json = zstd::bulk::decompress(&packed, MOST).map_err(|error| damaged(&error))?;
    Definition::from_json(&json, &address).map_err(|error| damaged(&error))
}
