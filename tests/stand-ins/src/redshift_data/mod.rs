//! The Redshift Data API over a PostgreSQL server.
//!
//! Each instance has a database of its own, which every workgroup or cluster with every database name
//! stands for; it is dropped with the instance. Statements run as transactions of real SQL, COPY
//! reads Parquet files from object stores, and faults are programmed on the handle.

mod api;
mod copy;
mod database;
mod dialect;
mod execute;
mod faults;
mod lexer;
mod rows;
mod statement;

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;

pub use self::copy::OpenBucket;
pub use self::faults::Logged;

use self::api::Service;
use self::faults::Faults;
use crate::http::Server;
use crate::stack::Postgres;

/// What an instance stands on.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server that keeps the data.
    pub postgres: Postgres,
    /// Where the S3 stand-in listens, for example `http://127.0.0.1:9000`.
    pub s3_endpoint: String,
    /// The access key that COPY reads with; the stand-ins take any secret.
    pub access_key: String,
    /// The region of the buckets.
    pub region: String,
}

/// A running instance.
#[derive(Debug)]
pub struct RedshiftData {
    // Before the database: nothing may be connected when that is dropped.
    server: Server,
    service: Arc<Service>,
    database: database::Owned,
}

impl RedshiftData {
    /// Makes a database and serves it, with the files of an S3 stand-in.
    pub async fn start(config: Config) -> Result<Self, String> {
        let postgres = config.postgres.clone();
        let buckets: OpenBucket = Arc::new(move |bucket| {
            let store = AmazonS3Builder::new()
                .with_endpoint(&config.s3_endpoint)
                .with_allow_http(true)
                .with_virtual_hosted_style_request(false)
                .with_region(&config.region)
                .with_access_key_id(&config.access_key)
                .with_secret_access_key("secret")
                .with_bucket_name(bucket)
                .build();
            match store {
                Ok(store) => Ok(Arc::new(store) as Arc<dyn ObjectStore>),
                Err(error) => Err(format!("ERROR: S3ServiceException: {error}")),
            }
        });
        Self::start_with(postgres, buckets).await
    }

    /// Makes a database and serves it, with files from stores of the caller.
    pub async fn start_with(postgres: Postgres, buckets: OpenBucket) -> Result<Self, String> {
        let database = database::Owned::create(&postgres).await?;
        let service = Arc::new(Service::new(database.config(), buckets));
        let server = Server::start(Arc::clone(&service)).map_err(|error| error.to_string())?;
        Ok(Self { server, service, database })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Runs PostgreSQL's SQL next to the API, for what a test prepares or asserts; values as text.
    pub async fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        self.database.query(sql).await
    }

    fn faults<T>(&self, with: impl FnOnce(&mut Faults) -> T) -> T {
        self.service.faults(with)
    }

    /// What was asked so far, in order, refused requests included.
    pub fn requests(&self) -> Vec<Logged> {
        self.faults(|faults| faults.log.clone())
    }

    /// Forgets what was asked so far.
    pub fn forget_requests(&self) {
        self.faults(|faults| faults.log.clear());
    }

    /// Lets the eight hours pass for which client tokens are remembered.
    pub fn forget_tokens(&self) {
        self.service.forget_tokens();
    }

    /// Lets the next COPY that runs fail with a message, after it has read the files.
    pub fn fail_next_copy(&self, message: &str) {
        self.faults(|faults| faults.fail_copy = Some(message.to_owned()));
    }

    /// Lets statements from now on that change something stay in STARTED until `DescribeStatement`
    /// was asked so many times about each; they run after that. Zero ends it for new ones.
    pub fn hold(&self, polls: usize) {
        self.faults(|faults| faults.hold = polls);
    }

    /// Lets held statements run.
    pub fn release(&self) {
        self.hold(0);
        self.service.release();
    }

    /// Answers the next requests with an error; of one operation only if it is named.
    pub fn refuse(&self, operation: Option<&str>, code: &str, times: usize) {
        self.faults(|faults| faults.refuse(operation, code, times));
    }

    /// Answers the next requests with `ThrottlingException`.
    pub fn throttle(&self, times: usize) {
        self.refuse(None, "ThrottlingException", times);
    }

    /// Answers the next requests with `ExpiredTokenException`.
    pub fn expire_credentials(&self, times: usize) {
        self.refuse(None, "ExpiredTokenException", times);
    }

    /// Takes so many statements at once; `ActiveStatementsExceededException` for more.
    pub fn limit_active(&self, statements: usize) {
        self.faults(|faults| faults.active = statements);
    }

    /// Executes the next statement, but closes the connection in place of an answer.
    pub fn drop_next_answer(&self) {
        self.faults(|faults| faults.drop_answer = true);
    }
}

#[cfg(test)]
mod tests;
