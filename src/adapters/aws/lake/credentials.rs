//! Credentials of the SDK's chain for object stores.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::Mutex;

/// Credentials are renewed this long before they expire, so that a request and its retries end
/// before: they are signed once.
const MARGIN: Duration = Duration::from_secs(4 * 60);
/// A chain that gives credentials that are about to expire, or none at all while old ones last, is
/// not asked with every request.
const PAUSE: Duration = Duration::from_secs(15);

/// Asks the chain, and again when what it gave is about to expire.
#[derive(Debug)]
pub(super) struct ChainCredentials {
    chain: SharedCredentialsProvider,
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    credential: Arc<AwsCredential>,
    expires: Option<SystemTime>,
    /// From when on the chain is asked again.
    renew: Option<SystemTime>,
}

impl ChainCredentials {
    pub(super) fn new(chain: SharedCredentialsProvider) -> Self {
        Self { chain, known: Mutex::new(None) }
    }

    async fn at(&self, now: SystemTime) -> Result<Arc<AwsCredential>, CredentialsError> {
        // One asks, the others wait for the answer.
        let mut known = self.known.lock().await;
        if let Some(known) = &*known
            && known.renew.is_none_or(|renew| now < renew)
        {
            return Ok(Arc::clone(&known.credential));
        }
        match self.chain.provide_credentials().await {
            Ok(credentials) => {
                let expires = credentials.expiry();
                let credential = Arc::new(AwsCredential {
                    key_id: credentials.access_key_id().to_owned(),
                    secret_key: credentials.secret_access_key().to_owned(),
                    token: credentials.session_token().map(str::to_owned),
                });
                let renew = expires.map(|expires| {
                    expires.checked_sub(MARGIN).unwrap_or(now).max(now + PAUSE).min(expires)
                });
                *known = Some(Known { credential: Arc::clone(&credential), expires, renew });
                Ok(credential)
            }
            Err(error) => match &mut *known {
                Some(known) if known.expires.is_some_and(|expires| now < expires) => {
                    tracing::warn!(%error, "could not renew the credentials; the old ones last a while");
                    known.renew = known.expires.map(|expires| (now + PAUSE).min(expires));
                    Ok(Arc::clone(&known.credential))
                }
                _ => Err(error),
            },
        }
    }
}

#[async_trait]
impl CredentialProvider for ChainCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        #[expect(
            clippy::disallowed_methods,
            reason = "credentials expire by the machine's clock, as requests are signed by it"
        )]
        let now = SystemTime::now();
        self.at(now).await.map_err(|error| match error {
            CredentialsError::ProviderTimedOut(_) => {
                object_store::Error::Generic { store: "S3", source: Box::new(error) }
            }
            error => object_store::Error::Unauthenticated {
                path: "credentials".to_owned(),
                source: Box::new(error),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use aws_credential_types::Credentials;
    use aws_credential_types::provider::{Result as Provided, future};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Gives credentials that are named after the call and expire by a list; then none.
    #[derive(Debug)]
    struct Chain {
        calls: Arc<AtomicU64>,
        expiries: Vec<Option<u64>>,
    }

    impl Chain {
        fn answer(&self) -> Provided {
            let call = self.calls.fetch_add(1, Ordering::SeqCst);
            match self.expiries.get(usize::try_from(call).unwrap()) {
                Some(expiry) => {
                    Ok(Credentials::new(call.to_string(), "secret", None, expiry.map(at), "test"))
                }
                None => Err(CredentialsError::not_loaded("nothing more")),
            }
        }
    }

    impl ProvideCredentials for Chain {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(self.answer())
        }
    }

    fn chain(expiries: &[Option<u64>]) -> (ChainCredentials, Arc<AtomicU64>) {
        let calls = Arc::new(AtomicU64::new(0));
        let chain = Chain { calls: Arc::clone(&calls), expiries: expiries.to_vec() };
        (ChainCredentials::new(SharedCredentialsProvider::new(chain)), calls)
    }

    #[tokio::test]
    async fn credentials_are_kept_until_shortly_before_they_expire() {
        let (credentials, calls) = chain(&[Some(3_600), Some(7_200)]);
        for (now, key) in [(0, "0"), (3_359, "0"), (3_360, "1"), (6_900, "1")] {
            assert_eq!(credentials.at(at(now)).await.unwrap().key_id, key, "{now}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn credentials_without_an_end_are_asked_for_once() {
        let (credentials, calls) = chain(&[None]);
        for now in [0, 1_000_000_000] {
            assert_eq!(credentials.at(at(now)).await.unwrap().key_id, "0");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn old_credentials_serve_while_new_ones_cannot_be_had() {
        let (credentials, calls) = chain(&[Some(1_000)]);
        for now in [0, 800, 810, 814] {
            assert_eq!(credentials.at(at(now)).await.unwrap().key_id, "0");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        assert!(credentials.at(at(1_000)).await.is_err());
        let error = credentials.get_credential().await.unwrap_err();
        assert!(matches!(error, object_store::Error::Unauthenticated { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_chain_whose_credentials_are_short_lived_is_not_asked_each_time() {
        let (credentials, calls) = chain(&[Some(60), Some(120)]);
        for (now, key) in [(0, "0"), (14, "0"), (15, "1")] {
            assert_eq!(credentials.at(at(now)).await.unwrap().key_id, key);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}
