//! What SageMaker's answers mean, for the trainer and the registry alike.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::error::{code, failure};
use crate::run::failure::Outcome;

/// A described thing; `None` if there is none of that name.
///
/// SageMaker answers with the code of a bad request where its model has another; the name was
/// checked, so there is nothing else in the request that could be bad.
pub(super) fn found<T, E>(
    name: &str,
    answer: Result<T, SdkError<E, HttpResponse>>,
) -> Outcome<Option<T>>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match code(&error) {
            Some("ValidationException" | "ResourceNotFound") => Ok(None),
            _ => Err(failure(format!("describe `{name}`"), &error, |_| None)),
        },
    }
}
