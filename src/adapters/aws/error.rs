//! From errors of the SDKs to failures: by their codes, never by their words.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::run::failure::{Failure, FailureKind};

/// Makes a failure of an SDK's error. `of_code` knows what the operation's own codes mean; codes
/// that mean the same everywhere (throttling, credentials, permissions) need not be in it.
///
/// The message names the code, the service's own words and the request's id.
pub fn failure<E>(
    doing: impl fmt::Display,
    error: &SdkError<E, HttpResponse>,
    of_code: impl Fn(&str) -> Option<FailureKind>,
) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("an unknown error");
            let words = service.err().message().unwrap_or_default();
            let status = service.raw().status().as_u16();
            let kind = of_code(code).or_else(|| common(code)).unwrap_or(match status {
                429 | 500..=599 => FailureKind::Transient,
                401 | 403 => FailureKind::Denied,
                404 => FailureKind::NotFound,
                _ => FailureKind::Step,
            });
            let mut message = message(doing, code, words);
            let headers = service.raw().headers();
            let id = headers.get("x-amzn-requestid").or_else(|| headers.get("x-amz-request-id"));
            if let Some(id) = id {
                message.push_str(&format!(" (request {id})"));
            }
            with_hint(Failure::new(kind, message))
        }
        SdkError::ConstructionFailure(_) => {
            let message = format!("cannot {doing}: {}", chain(error));
            Failure::new(FailureKind::Internal, message)
        }
        SdkError::DispatchFailure(_) => match no_credentials(error) {
            Some(why) => {
                let message = format!("cannot {doing}: no AWS credentials: {why}");
                Failure::new(FailureKind::Denied, message).with_hint(
                    "set AWS_PROFILE, log in with `aws sso login`, or give the task a role",
                )
            }
            None => {
                let message = format!("cannot {doing}: {}", chain(error));
                Failure::new(FailureKind::Transient, message)
            }
        },
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => {
            Failure::new(FailureKind::Transient, format!("cannot {doing}: {}", chain(error)))
        }
        _ => Failure::new(FailureKind::Transient, format!("cannot {doing}: {}", chain(error))),
    }
}

/// Makes a failure of an error that a batch operation reports for one of its entries, in an answer
/// that is good otherwise.
pub fn entry_failure(
    doing: impl fmt::Display,
    code: &str,
    words: &str,
    of_code: impl Fn(&str) -> Option<FailureKind>,
) -> Failure {
    let kind = of_code(code).or_else(|| common(code)).unwrap_or(FailureKind::Step);
    with_hint(Failure::new(kind, message(doing, code, words)))
}

fn message(doing: impl fmt::Display, code: &str, words: &str) -> String {
    match words.trim_end_matches('.') {
        "" => format!("cannot {doing}: {code}"),
        words => format!("cannot {doing}: {code}: {words}"),
    }
}

/// The code of a service's error, if the service answered.
pub fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    match error {
        SdkError::ServiceError(service) => service.err().code(),
        _ => None,
    }
}

/// Codes that mean the same in every service.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html>
pub fn common(code: &str) -> Option<FailureKind> {
    Some(match code {
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "SlowDown"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "InternalServerException"
        | "RequestTimeout"
        | "OperationTimeoutException" => FailureKind::Transient,
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "OptInRequired" => FailureKind::Denied,
        "LimitExceededException"
        | "ResourceLimitExceeded"
        | "ResourceNumberLimitExceededException"
        | "ServiceQuotaExceededException" => FailureKind::Exhausted,
        "ValidationException"
        | "ValidationError"
        | "InvalidInputException"
        | "InvalidParameterValue" => FailureKind::Usage,
        _ => return None,
    })
}

fn with_hint(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::Denied => failure.with_hint(
            "`recctl doctor` says which permission or credential is missing, `recctl iam` prints the policy",
        ),
        _ => failure,
    }
}

/// Why there are no credentials, if that is the cause of an error.
fn no_credentials(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(this) = cause {
        match this.downcast_ref::<CredentialsError>() {
            // A provider that does not answer in time may do so later.
            Some(CredentialsError::ProviderTimedOut(_)) => return None,
            Some(found) => {
                let detail = found.source().map_or_else(|| found.to_string(), chain);
                return Some(detail);
            }
            None => cause = this.source(),
        }
    }
    None
}

/// An error with its causes, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(&format!(": {words}"));
        }
        cause = inner.source();
    }
    // Some causes list all that was tried, a line each.
    let line = text.lines().next().unwrap_or_default();
    line.trim_end_matches("Attempted:").trim_end().trim_end_matches('.').to_owned()
}
