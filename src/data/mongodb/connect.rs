//! Connection options, and the first connection to a server.

use super::error::store_error;
use crate::kernel::error::StoreError;
use crate::settings::{MongoDb, Secret, Tls};
use ::mongodb::bson::doc;
use ::mongodb::error::{Error as MongoError, ErrorKind};
use ::mongodb::options::{Acknowledgment, ClientOptions, ConnectionString, ReadConcern, Tls as DriverTls, WriteConcern};
use ::mongodb::{Client, Database};
use backon::{ConstantBuilder, Retryable};
use std::time::{Duration, Instant};

/// Retry interval until the server is up.
const RETRY: ConstantBuilder = ConstantBuilder::new().with_delay(Duration::from_millis(500)).without_max_times();

/// Retries until the server is up. Fails at once if the server answers and refuses.
pub(super) async fn connect_when_ready(url: &Secret, name: &str, settings: &MongoDb, tls: &Tls) -> Result<Database, StoreError> {
    let options = options(url, name, settings, tls).await?;
    let client = Client::with_options(options).map_err(|cause| StoreError::Internal(format!("{name}.store: {cause}")))?;
    let database = client.default_database().ok_or_else(|| {
        StoreError::Internal(format!("{name}.store: the URL names no database; expected mongodb://user:password@host:port/database"))
    })?;
    let since = Instant::now();
    let ping = || async { database.run_command(doc! { "ping": 1 }).await };
    let retryable = |cause: &MongoError| {
        let unreachable =
            matches!(cause.kind.as_ref(), ErrorKind::ServerSelection { .. } | ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. });
        unreachable && since.elapsed().as_secs() < settings.wait_seconds
    };
    let warn = |cause: &MongoError, _| tracing::warn!(store = name, %cause, "no connection yet; will retry");
    ping.retry(RETRY).when(retryable).notify(warn).await.map_err(|cause| store_error(name, &cause))?;
    Ok(database)
}

/// Options of the URL override our defaults.
async fn options(url: &Secret, name: &str, settings: &MongoDb, tls: &Tls) -> Result<ClientOptions, StoreError> {
    let wrong = |what: &str| StoreError::Internal(format!("{name}.store: {what}"));
    // the driver's message may repeat parts of the URL, which has a password
    let invalid_url = |_| wrong("not a valid MongoDB URL; in a user name or password write : / ? # [ ] @ % as %3A and so on");
    let parsed = ConnectionString::parse(url.expose()).map_err(invalid_url)?;
    let mut options = ClientOptions::parse(parsed).await.map_err(invalid_url)?;
    options.app_name.get_or_insert_with(|| "tradepost".into());
    options.max_pool_size.get_or_insert(settings.connections);
    options.connect_timeout.get_or_insert(Duration::from_millis(settings.connect_ms));
    options.server_selection_timeout.get_or_insert(Duration::from_millis(settings.acquire_ms));
    options.read_concern.get_or_insert(ReadConcern::majority());
    let durable = options.write_concern.get_or_insert_with(WriteConcern::default);
    durable.w.get_or_insert(Acknowledgment::Majority);
    durable.journal.get_or_insert(true);
    if durable.w == Some(Acknowledgment::Nodes(0)) {
        return Err(wrong("w=0 would lose changes that were acknowledged; leave it out"));
    }
    if let Some(DriverTls::Enabled(own)) = &mut options.tls {
        if own.ca_file_path.is_none() {
            own.ca_file_path.clone_from(&tls.ca);
        }
        if let (None, Some(cert)) = (&own.cert_key_file_path, &tls.cert) {
            // the driver reads certificate and key from one file
            let text = std::fs::read_to_string(cert).map_err(|cause| wrong(&format!("tls.cert: {}: {cause}", cert.display())))?;
            if !text.contains("PRIVATE KEY-----") {
                let what = "MongoDB's driver reads certificate and key from one file: append the key to the file of tls.cert, or name a file with both by tlsCertificateKeyFile=PATH in the URL";
                return Err(wrong(what));
            }
            own.cert_key_file_path = Some(cert.clone());
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn options_of(url: &str, tls: &Tls) -> Result<ClientOptions, StoreError> {
        options(&Secret::new(url), "product", &MongoDb::default(), tls).await
    }

    #[tokio::test]
    async fn options_default_to_majority_unless_the_url_overrides_them() {
        let parsed = options_of("mongodb://h/d", &Tls::default()).await.unwrap();
        let concern = parsed.write_concern.unwrap();
        assert_eq!((concern.w, concern.journal), (Some(Acknowledgment::Majority), Some(true)));
        assert_eq!(parsed.read_concern, Some(ReadConcern::majority()));
        assert_eq!(parsed.max_pool_size, Some(16));
        let parsed = options_of("mongodb://h/d?w=2&maxPoolSize=3", &Tls::default()).await.unwrap();
        let concern = parsed.write_concern.unwrap();
        assert_eq!((concern.w, concern.journal, parsed.max_pool_size), (Some(Acknowledgment::Nodes(2)), Some(true), Some(3)));
        let refused = options_of("mongodb://h/d?w=0", &Tls::default()).await.unwrap_err().to_string();
        assert!(refused.contains("product.store") && refused.contains("w=0"), "{refused}");
    }

    #[tokio::test]
    async fn invalid_url_is_not_repeated_in_the_error() {
        for wrong in [
            "mongodb://shop:hid/den@h/d",
            "mongodb://shop:hidden@h:port/d",
            "mongodb://shop:hidden@/d",
            "mongodb://shop:hidden@h/d?tls=what",
        ] {
            let refused = options_of(wrong, &Tls::default()).await.unwrap_err().to_string();
            assert!(refused.contains("product.store") && !refused.contains("hid") && !refused.contains("den@"), "{wrong}: {refused}");
        }
    }

    #[tokio::test]
    async fn tls_in_the_url_uses_the_files_of_the_settings() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            Some(dir.path().join(name))
        };
        let certificate = "-----BEGIN CERTIFICATE-----\n";
        let alone = file("alone.pem", certificate);
        let both = file("both.pem", &format!("{certificate}-----BEGIN PRIVATE KEY-----\n"));
        let set = |cert: &Option<std::path::PathBuf>| Tls { ca: Some("ca.pem".into()), cert: cert.clone(), key: Some("key.pem".into()) };
        let plain = options_of("mongodb://h/d", &set(&alone)).await.unwrap();
        assert!(plain.tls.is_none(), "{:?}", plain.tls);
        let Some(DriverTls::Enabled(tls)) = options_of("mongodb://h/d?tls=true", &set(&both)).await.unwrap().tls else { panic!("no TLS") };
        assert_eq!((tls.ca_file_path, tls.cert_key_file_path), (Some("ca.pem".into()), both));
        let refused = options_of("mongodb://h/d?tls=true", &set(&alone)).await.unwrap_err().to_string();
        assert!(refused.contains("tls.cert") && refused.contains("tlsCertificateKeyFile"), "{refused}");
        let own = options_of("mongodb://h/d?tls=true&tlsCAFile=a.pem&tlsCertificateKeyFile=b.pem", &set(&alone)).await.unwrap().tls;
        let Some(DriverTls::Enabled(tls)) = own else { panic!("no TLS") };
        assert_eq!((tls.ca_file_path, tls.cert_key_file_path), (Some("a.pem".into()), Some("b.pem".into())));
    }
}
