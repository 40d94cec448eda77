//! What DynamoDB refuses, and what loads are told about it.

use aws_smithy_types::error::operation::BuildError;

use crate::run::failure::{Failure, FailureKind, Outcome};

/// What the codes of DynamoDB mean that are not the same everywhere.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
pub(super) fn of_code(code: &str) -> Option<FailureKind> {
    Some(match code {
        "ResourceNotFoundException" => FailureKind::NotFound,
        "ResourceInUseException" => FailureKind::Conflict,
        "ReplicatedWriteConflictException"
        | "TransactionConflictException"
        | "TransactionInProgressException" => FailureKind::Transient,
        "ItemCollectionSizeLimitExceededException" => FailureKind::Usage,
        _ => return None,
    })
}

/// A part of a request; that one is missing is a defect.
pub(super) fn built<T>(part: Result<T, BuildError>) -> Outcome<T> {
    part.map_err(|error| {
        Failure::new(FailureKind::Internal, format!("cannot make a request: {error}"))
    })
}

pub(super) fn not_begun(table: &str, generation: &str) -> Failure {
    let message = format!("generation `{generation}` of `{table}` was not begun");
    Failure::new(FailureKind::NotFound, message)
}

pub(super) fn sealed(table: &str, generation: &str) -> Failure {
    let message = format!("generation `{generation}` of `{table}` is sealed already");
    Failure::new(FailureKind::Conflict, message)
}

pub(super) fn contended(table: &str, generation: &str) -> Failure {
    let message =
        format!("others change generation `{generation}` or the pointer of `{table}` all the time");
    Failure::new(FailureKind::Conflict, message)
}
