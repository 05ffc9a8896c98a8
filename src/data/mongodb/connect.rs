//! The way to a server: the thread that everything runs on, and what is asked of the driver.

use super::explain;
use crate::kernel::error::StoreError;
use crate::settings::{MongoDb, Secret, Tls};
use ::mongodb::bson::doc;
use ::mongodb::error::{Error as MongoError, ErrorKind};
use ::mongodb::options::{Acknowledgment, ClientOptions, ConnectionString, ReadConcern, Tls as DriverTls, WriteConcern};
use ::mongodb::{Client, Database};
use backon::{ConstantBuilder, Retryable};
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Retry interval until the server is up.
const RETRY: ConstantBuilder = ConstantBuilder::new().with_delay(Duration::from_millis(500)).without_max_times();

/// A thread with a runtime, until this is dropped.
pub(super) struct Home {
    handle: Handle,
    _lives: oneshot::Sender<Infallible>,
}

impl Home {
    pub(super) fn new(name: &str) -> Result<Self, StoreError> {
        let broken = |cause: std::io::Error| StoreError::Broken(format!("no thread for the connections of {name}: {cause}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(broken)?;
        let handle = runtime.handle().clone();
        let (lives, over) = oneshot::channel::<Infallible>();
        let drive = move || {
            let _ = runtime.block_on(over);
        };
        std::thread::Builder::new().name(format!("{name}-mongodb")).spawn(drive).map_err(broken)?;
        Ok(Self { handle, _lives: lives })
    }

    pub(super) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(work)
    }

    /// Waits for it on the calling thread: for a start, which does one thing after the other.
    pub(super) fn block<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, StoreError> {
        let (answer, answered) = std::sync::mpsc::channel();
        self.spawn(async move {
            let _ = answer.send(work.await);
        });
        answered.recv().map_err(|_| StoreError::Broken("an operation panicked".into()))
    }
}

/// Waits for a server that is not up yet. One that answers and refuses is not asked again.
pub(super) async fn reach(url: &Secret, name: &str, settings: &MongoDb, tls: &Tls) -> Result<Database, StoreError> {
    let options = options(url, name, settings, tls).await?;
    let client = Client::with_options(options).map_err(|cause| StoreError::Broken(format!("{name}.store: {cause}")))?;
    let database = client.default_database().ok_or_else(|| {
        StoreError::Broken(format!("{name}.store: the URL names no database; expected mongodb://user:password@host:port/database"))
    })?;
    let since = Instant::now();
    let ping = || async { database.run_command(doc! { "ping": 1 }).await };
    let later = |cause: &MongoError| {
        let away =
            matches!(cause.kind.as_ref(), ErrorKind::ServerSelection { .. } | ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. });
        away && since.elapsed().as_secs() < settings.wait_seconds
    };
    let warn = |cause: &MongoError, _| tracing::warn!(store = name, %cause, "no connection yet; will try again");
    ping.retry(RETRY).when(later).notify(warn).await.map_err(|cause| explain(name, &cause))?;
    Ok(database)
}

/// What the URL says goes before what we ask for.
async fn options(url: &Secret, name: &str, settings: &MongoDb, tls: &Tls) -> Result<ClientOptions, StoreError> {
    let wrong = |what: &str| StoreError::Broken(format!("{name}.store: {what}"));
    // the driver's own words may repeat parts of the URL, and there is a password in it
    let unfit = |_| wrong("this is no URL that MongoDB's driver takes; in a user name or password write : / ? # [ ] @ % as %3A and so on");
    let parsed = ConnectionString::parse(url.expose()).map_err(unfit)?;
    let mut options = ClientOptions::parse(parsed).await.map_err(unfit)?;
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
            // the driver reads both from one file
            let text = std::fs::read_to_string(cert).map_err(|cause| wrong(&format!("tls.cert: {}: {cause}", cert.display())))?;
            if !text.contains("PRIVATE KEY-----") {
                let what = "MongoDB's driver reads certificate and key from one file: append the key to that of tls.cert, or name one that has both by tlsCertificateKeyFile=PATH in the URL";
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

    async fn asked(url: &str, tls: &Tls) -> Result<ClientOptions, StoreError> {
        options(&Secret::new(url), "product", &MongoDb::default(), tls).await
    }

    #[tokio::test]
    async fn durability_is_asked_for_unless_the_url_says_otherwise() {
        let asked_for = asked("mongodb://h/d", &Tls::default()).await.unwrap();
        let concern = asked_for.write_concern.unwrap();
        assert_eq!((concern.w, concern.journal), (Some(Acknowledgment::Majority), Some(true)));
        assert_eq!(asked_for.read_concern, Some(ReadConcern::majority()));
        assert_eq!(asked_for.max_pool_size, Some(16));
        let asked_for = asked("mongodb://h/d?w=2&maxPoolSize=3", &Tls::default()).await.unwrap();
        let concern = asked_for.write_concern.unwrap();
        assert_eq!((concern.w, concern.journal, asked_for.max_pool_size), (Some(Acknowledgment::Nodes(2)), Some(true), Some(3)));
        let refused = asked("mongodb://h/d?w=0", &Tls::default()).await.unwrap_err().to_string();
        assert!(refused.contains("product.store") && refused.contains("w=0"), "{refused}");
    }

    #[tokio::test]
    async fn a_url_that_is_none_is_not_repeated() {
        for wrong in [
            "mongodb://shop:hid/den@h/d",
            "mongodb://shop:hidden@h:port/d",
            "mongodb://shop:hidden@/d",
            "mongodb://shop:hidden@h/d?tls=what",
        ] {
            let refused = asked(wrong, &Tls::default()).await.unwrap_err().to_string();
            assert!(refused.contains("product.store") && !refused.contains("hid") && !refused.contains("den@"), "{wrong}: {refused}");
        }
    }

    #[tokio::test]
    async fn tls_takes_what_the_settings_say_where_the_url_asks_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            Some(dir.path().join(name))
        };
        let certificate = "-----BEGIN CERTIFICATE-----\n";
        let alone = file("alone.pem", certificate);
        let both = file("both.pem", &format!("{certificate}-----BEGIN PRIVATE KEY-----\n"));
        let set = |cert: &Option<std::path::PathBuf>| Tls { ca: Some("ca.pem".into()), cert: cert.clone(), key: Some("key.pem".into()) };
        let plain = asked("mongodb://h/d", &set(&alone)).await.unwrap();
        assert!(plain.tls.is_none(), "{:?}", plain.tls);
        let Some(DriverTls::Enabled(tls)) = asked("mongodb://h/d?tls=true", &set(&both)).await.unwrap().tls else { panic!("no TLS") };
        assert_eq!((tls.ca_file_path, tls.cert_key_file_path), (Some("ca.pem".into()), both));
        let refused = asked("mongodb://h/d?tls=true", &set(&alone)).await.unwrap_err().to_string();
        assert!(refused.contains("tls.cert") && refused.contains("tlsCertificateKeyFile"), "{refused}");
        let own = asked("mongodb://h/d?tls=true&tlsCAFile=a.pem&tlsCertificateKeyFile=b.pem", &set(&alone)).await.unwrap().tls;
        let Some(DriverTls::Enabled(tls)) = own else { panic!("no TLS") };
        assert_eq!((tls.ca_file_path, tls.cert_key_file_path), (Some("a.pem".into()), Some("b.pem".into())));
    }
}
