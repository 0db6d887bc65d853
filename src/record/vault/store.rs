//! An object store by its URL.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

/// Longest time one request to a store takes.
const REQUEST_MAX: Duration = Duration::from_secs(120);

/// Its name as an option of a store.
const TIMEOUT: &str = "timeout";

/// How often a request is repeated before the attempt has failed.
const RETRIES: usize = 3;

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No URL.
    #[error("{url:?} is no URL of a store: {error}")]
    Url {
        /// What was given.
        url: String,
        /// Why not.
        error: String,
    },
    /// Its settings, which come from the environment, are missing or wrong.
    #[error("the store {url} cannot be used: {error}")]
    Settings {
        /// Its URL.
        url: String,
        /// Why not.
        error: object_store::Error,
    },
}

/// An object store and a prefix in it. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Where large objects can be brought in parts.
    pub(super) parts: Option<Arc<dyn MultipartStore>>,
    prefix: ObjectPath,
    url: String,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.url).finish()
    }
}

impl Store {
    /// The store of a URL: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`,
    /// `file:///directory` or `memory:///`. Everything else about it comes from the environment, by
    /// the variables of the store's own tools: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_REGION`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`; `GOOGLE_SERVICE_ACCOUNT`;
    /// `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY` and so on. `options` are the same
    /// ones in small letters (`aws_region`), and take precedence.
    ///
    /// # Errors
    /// [`StoreError`]. Nothing is asked of the store itself yet.
    pub fn open(url: &str, options: &[(String, String)]) -> Result<Self, StoreError> {
        let no_url = |error: &dyn fmt::Display| StoreError::Url {
            url: url.to_owned(),
            error: error.to_string(),
        };
        let parsed = Url::parse(url).map_err(|error| no_url(&error))?;
        if parsed.password().is_some() {
            return Err(no_url(&"credentials belong into the environment"));
        }
        let (scheme, prefix) = ObjectStoreScheme::parse(&parsed).map_err(|error| no_url(&error))?;
        let settings = |error| StoreError::Settings {
            url: url.to_owned(),
            error,
        };
        // Whoever used TLS first has chosen already; it is the same library.
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
        let options = || {
            let ours = (TIMEOUT.to_owned(), format!("{} s", REQUEST_MAX.as_secs()));
            std::iter::once(ours).chain(options.iter().cloned())
        };
        let store = |objects: Arc<dyn ObjectStore>, parts| Self {
            objects,
            parts,
            prefix: prefix.clone(),
            url: url.trim_end_matches('/').to_owned(),
        };
        Ok(match scheme {
            ObjectStoreScheme::AmazonS3 => {
                let mut built = AmazonS3Builder::from_env()
                    .with_url(url)
                    .with_retry(retry());
                for (key, value) in options() {
                    built = built.with_config(key.parse().map_err(settings)?, value);
                }
                let s3 = Arc::new(built.build().map_err(settings)?);
                store(Arc::clone(&s3) as _, Some(s3))
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let mut built = GoogleCloudStorageBuilder::from_env().with_url(url);
                for (key, value) in options() {
                    built = built.with_config(key.parse().map_err(settings)?, value);
                }
                let built = built.with_retry(retry());
                let gcs = Arc::new(built.build().map_err(settings)?);
                store(Arc::clone(&gcs) as _, Some(gcs))
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let mut built = MicrosoftAzureBuilder::from_env().with_url(url);
                for (key, value) in options() {
                    built = built.with_config(key.parse().map_err(settings)?, value);
                }
                let built = built.with_retry(retry());
                let azure = Arc::new(built.build().map_err(settings)?);
                store(Arc::clone(&azure) as _, Some(azure))
            }
            ObjectStoreScheme::Local => {
                store(Arc::new(LocalFileSystem::new().with_fsync(true)), None)
            }
            ObjectStoreScheme::Memory => {
                let memory = Arc::new(InMemory::new());
                store(Arc::clone(&memory) as _, Some(memory))
            }
            _ => return Err(no_url(&"s3, gs, az and file are possible")),
        })
    }

    /// Where an object of this name lies.
    pub(super) fn object(&self, name: &str) -> ObjectPath {
        let parts = name.split('/').map(Into::into);
        ObjectPath::from_iter(self.prefix.parts().chain(parts))
    }

    /// Its URL, for people and callbacks.
    pub(super) fn url_of(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }
}

fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: RETRIES,
        retry_timeout: REQUEST_MAX,
        ..RetryConfig::default()
    }
}
