//! An AWS target's services.

use super::{App, Target};
use crate::adapters::aws::AwsSession;
use crate::pipeline::target::AwsTarget;
use crate::run::failure::Outcome;

impl App {
    /// Opens an AWS target.
    pub(super) async fn aws_target(&self, target: &AwsTarget) -> Outcome<Target> {
        let _session = AwsSession::open(target).await?;
        self.local_target(true).await
    }
}
