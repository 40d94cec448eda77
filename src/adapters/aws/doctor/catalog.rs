//! The Glue database.

use super::super::error::code;
use super::super::session::AwsSession;
use super::unread;
use crate::ports::preflight::Finding;

/// Looks for the database.
pub async fn check(session: &AwsSession) -> Vec<Finding> {
    let options = &session.target().catalog;
    let subject = format!("catalog {}", options.database);
    let found = session
        .glue()
        .get_database()
        .name(&options.database)
        .set_catalog_id(options.catalog_id.clone())
        .send()
        .await;
    vec![match found {
        Ok(_) => Finding::ok(subject, "the database is there"),
        Err(error) if code(&error) == Some("EntityNotFoundException") => {
            Finding::ok(subject, "the database will be made")
        }
        Err(error) => unread(subject, "look at the database", "glue:GetDatabase", &error),
    }]
}
