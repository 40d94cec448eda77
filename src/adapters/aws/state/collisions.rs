//! Writes that meet in the same instant: sent again by the SDK, like throttled ones.
//!
//! Every write under a lease is a transaction that checks the lease's item, and DynamoDB refuses a
//! change of an item that a transaction is busy with, as when the lease is renewed meanwhile or two
//! steps end at once.

use aws_sdk_dynamodb::config::interceptors::InterceptorContext;
use aws_sdk_dynamodb::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::CancellationReason;

/// Knows collisions from refusals.
#[derive(Debug)]
pub(super) struct Collisions;

impl ClassifyRetry for Collisions {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else {
            return RetryAction::NoActionIndicated;
        };
        let Some(error) = error.as_operation_error() else {
            return RetryAction::NoActionIndicated;
        };
        let collided = match (error.downcast_ref(), error.downcast_ref()) {
            (Some(UpdateItemError::TransactionConflictException(_)), _) => true,
            (_, Some(TransactWriteItemsError::TransactionCanceledException(cancelled))) => {
                are_collisions(cancelled.cancellation_reasons())
            }
            _ => false,
        };
        if collided { RetryAction::throttling_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "collisions"
    }
}

/// Whether nothing but collisions and a lack of capacity kept a transaction from being made.
fn are_collisions(reasons: &[CancellationReason]) -> bool {
    let mut codes = reasons.iter().filter_map(CancellationReason::code);
    let passes =
        ["None", "TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"];
    reasons.iter().any(|reason| reason.code().is_some_and(|code| code != "None"))
        && codes.all(|code| passes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_condition_is_no_collision() {
        let are = |codes: &[&str]| {
            let reason = |code: &&str| CancellationReason::builder().code(*code).build();
            are_collisions(&codes.iter().map(reason).collect::<Vec<_>>())
        };
        assert!(are(&["None", "TransactionConflict"]));
        assert!(are(&["ThrottlingError", "TransactionConflict"]));
        assert!(!are(&["ConditionalCheckFailed", "TransactionConflict"]));
        assert!(!are(&["None", "ValidationError"]));
        assert!(!are(&["None"]));
        assert!(!are(&[]));
    }
}
