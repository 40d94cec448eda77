//! S3 as the store of the lake: for DataFusion, and for all that reads and writes whole files.

mod credentials;
mod patience;
mod rooted;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use futures::FutureExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::path::Path as StorePath;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use self::credentials::ChainCredentials;
use self::patience::PatientConnector;
use self::rooted::RootedStore;
use super::session::{ATTEMPTS, AwsSession, CONNECT_TIMEOUT};
use crate::pipeline::target::Encryption;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// A request is not sent again later than this: it still carries the signature and the credentials
/// of the first time, and S3 takes neither after five minutes.
const RETRY_WINDOW: Duration = Duration::from_secs(3 * 60);

/// The store of a target's lake; paths are relative to the lake's prefix. No request is sent.
///
/// Errors: `Denied` without credentials, `Usage` if bucket, region and endpoint do not fit.
pub fn lake_store(session: &AwsSession) -> Outcome<Arc<dyn ObjectStore>> {
    let lake = &session.target().lake;
    let store = s3_store(session, &lake.bucket)?;
    match lake.prefix.as_str() {
        "" => Ok(store),
        prefix => Ok(Arc::new(RootedStore::new(store, StorePath::from(prefix)))),
    }
}

/// The store of a whole bucket; paths are keys. It asks the same chain for credentials and goes to
/// the same endpoint as the SDK's clients, encrypts as the target says, and can put on condition
/// that an object is new or has not changed. No request is sent.
///
/// Errors: as of [`lake_store`].
pub fn s3_store(session: &AwsSession, bucket: &str) -> Outcome<Arc<dyn ObjectStore>> {
    let s3 = &session.target().s3;
    let endpoint = bucket_url(session, bucket)?;
    let failed = |error: object_store::Error| {
        Failure::new(FailureKind::Usage, format!("cannot open bucket `{bucket}`: {error}"))
    };
    let options = ClientOptions::new()
        .with_allow_http(endpoint.starts_with("http://"))
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout_disabled();
    // Each body is signed with its SHA-256, which S3 checks: an extra checksum would tell nothing
    // new about the way there.
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(session.region())
        .with_endpoint(endpoint)
        // Only says that the endpoint names the bucket already, be it in the host or in the path.
        .with_virtual_hosted_style_request(true)
        .with_credentials(Arc::new(ChainCredentials::new(session.credentials()?)))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_request_payer(s3.requester_pays)
        .with_retry(RetryConfig {
            max_retries: ATTEMPTS as usize - 1,
            retry_timeout: RETRY_WINDOW,
            ..RetryConfig::default()
        })
        .with_client_options(options)
        .with_http_connector(PatientConnector);
    builder = match &s3.encryption {
        None => builder,
        Some(Encryption::S3) => {
            let key: AmazonS3ConfigKey = "aws_server_side_encryption".parse().map_err(failed)?;
            builder.with_config(key, "AES256")
        }
        Some(Encryption::Kms(key)) => builder.with_sse_kms_encryption(key),
    };
    Ok(Arc::new(builder.build().map_err(failed)?))
}

/// The URL that keys of a bucket are appended to, as the SDK's own rules make it of region,
/// endpoint, FIPS, dual stack and path style.
fn bucket_url(session: &AwsSession, bucket: &str) -> Outcome<String> {
    let config = session.config();
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(FailureKind::Usage, format!("there is no endpoint for `s3://{bucket}`: {why}"))
            .with_hint("look at the target's `region`, `endpoints` and `s3.path_style`")
    };
    let params = Params::builder()
        .bucket(bucket)
        .region(session.region())
        .set_endpoint(session.s3_endpoint())
        .force_path_style(session.s3_path_style())
        .use_fips(config.use_fips().unwrap_or_default())
        .use_dual_stack(config.use_dual_stack().unwrap_or_default())
        .build()
        .map_err(|error| failed(&error))?;
    let resolver = DefaultResolver::new();
    // The rules are a table in memory; nothing is waited for.
    match ResolveEndpoint::resolve_endpoint(&resolver, &params).now_or_never() {
        Some(Ok(endpoint)) => Ok(endpoint.url().trim_end_matches('/').to_owned()),
        Some(Err(error)) => Err(failed(&error)),
        None => Err(failed(&"the rules did not answer")),
    }
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, SdkConfig};

    use super::*;
    use crate::adapters::aws::test_target;

    fn url(endpoint: Option<&str>, path_style: Option<bool>, bucket: &str, region: &str) -> String {
        let mut target = test_target();
        target.region = Some(region.to_owned());
        target.s3.path_style = path_style;
        if let Some(endpoint) = endpoint {
            target.endpoints.insert("s3".to_owned(), endpoint.to_owned());
        }
        let config = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        bucket_url(&AwsSession::new(&target, config).unwrap(), bucket).unwrap()
    }

    #[test]
    fn a_bucket_is_in_the_host_on_aws_and_in_the_path_elsewhere() {
        let aws = |bucket, region| url(None, None, bucket, region);
        assert_eq!(aws("acme", "eu-central-1"), "https://acme.s3.eu-central-1.amazonaws.com");
        // A name that no certificate of AWS covers.
        assert_eq!(aws("ac.me", "eu-central-1"), "https://s3.eu-central-1.amazonaws.com/ac.me");
        assert_eq!(aws("acme", "cn-north-1"), "https://acme.s3.cn-north-1.amazonaws.com.cn");
        assert_eq!(
            url(None, Some(true), "acme", "eu-central-1"),
            "https://s3.eu-central-1.amazonaws.com/acme"
        );
        let own = |endpoint, style| url(Some(endpoint), style, "acme", "eu-central-1");
        assert_eq!(own("http://127.0.0.1:9000", None), "http://127.0.0.1:9000/acme");
        assert_eq!(own("https://s3.example.com/", None), "https://s3.example.com/acme");
        assert_eq!(own("https://s3.example.com", Some(false)), "https://acme.s3.example.com");
    }
}
