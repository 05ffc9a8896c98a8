//! Tests of mail, with an SMTP server.

use super::super::api::DeliveryState;
use super::support::*;
use crate::kernel::page::{PageNumber, PageSize};
use crate::settings::{Notification, Secret};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

struct Mail {
    from: String,
    to: Vec<String>,
    message: String,
}

impl Mail {
    /// Header lines, unfolded.
    fn headers(&self) -> Vec<String> {
        let (head, _) = self.message.split_once("\r\n\r\n").unwrap();
        head.replace("\r\n ", " ").split("\r\n").map(str::to_string).collect()
    }

    fn header(&self, name: &str) -> String {
        let found: Vec<_> = self.headers().into_iter().filter_map(|h| h.strip_prefix(&format!("{name}: ")).map(str::to_string)).collect();
        assert_eq!(found.len(), 1, "{name} in {:?}", self.headers());
        found.into_iter().next().unwrap()
    }
}

/// An SMTP server that answers each DATA as scripted, then with 250.
async fn start_smtp_server(answers: &[&'static str]) -> (String, mpsc::UnboundedReceiver<Mail>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let script = Arc::new(Mutex::new(answers.iter().copied().collect::<VecDeque<_>>()));
    let (sender, received) = mpsc::unbounded_channel();
    actix_web::rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            actix_web::rt::spawn(serve_smtp(stream, script.clone(), sender.clone()));
        }
    });
    (url, received)
}

async fn serve_smtp(stream: impl AsyncRead + AsyncWrite, script: Arc<Mutex<VecDeque<&'static str>>>, sender: mpsc::UnboundedSender<Mail>) {
    let (read, mut write) = tokio::io::split(stream);
    let mut lines = BufReader::new(read);
    let (mut from, mut to) = (String::new(), vec![]);
    let mut reply = "220 test server\r\n".to_string();
    loop {
        if write.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
        let mut line = String::new();
        if lines.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        reply = match line.trim_end().split_once(':').unwrap_or((line.trim_end(), "")) {
            ("MAIL FROM", address) => {
                from = address.to_string();
                "250 ok\r\n".into()
            }
            ("RCPT TO", address) => {
                to.push(address.to_string());
                "250 ok\r\n".into()
            }
            ("DATA", _) => {
                write.write_all(b"354 go on\r\n").await.unwrap();
                let mut message = String::new();
                while !message.ends_with("\r\n.\r\n") {
                    lines.read_line(&mut message).await.unwrap();
                }
                let _ = sender.send(Mail { from: std::mem::take(&mut from), to: std::mem::take(&mut to), message });
                format!("{}\r\n", script.lock().unwrap().pop_front().unwrap_or("250 taken"))
            }
            ("QUIT", _) => return,
            _ => "250 ok\r\n".into(),
        };
    }
}

fn mail_settings(url: String, attempts: u32) -> Notification {
    Notification { smtp: Some(Secret::new(url)), from: "Shop <shop@tradepost.example>".into(), ..test_settings(attempts, vec![]) }
}

async fn next(mails: &mut mpsc::UnboundedReceiver<Mail>) -> Mail {
    tokio::time::timeout(TEST_TIMEOUT, mails.recv()).await.expect("no mail received").unwrap()
}

#[actix_web::test]
async fn mail_failing_is_retried_until_accepted() {
    let (url, mut mails) = start_smtp_server(&["451 later"]).await;
    let running = Running::start(&mail_settings(url, 5));
    let order = event("order.placed", &order_data("jane", "Jane", Some("jane@example.com")));
    // no mail to a customer without an address
    running.publish(&[&placed("john"), &order]).await;
    let (first, second) = (next(&mut mails).await, next(&mut mails).await);
    assert_eq!((first.from.as_str(), first.to.as_slice()), ("<shop@tradepost.example>", &["<jane@example.com>".to_string()][..]));
    assert_eq!(first.header("Message-ID"), format!("<{}@tradepost.example>", order.id));
    assert_eq!(first.header("Message-ID"), second.header("Message-ID"));
    assert_eq!(second.header("Subject"), "Jane, your order is placed");
    assert!(second.header("Content-Type").starts_with("multipart/alternative"));
    assert!(second.message.contains("2 x SKU-1 at 10.5") && second.message.contains("<li>2 x SKU-1 at 10.5</li>"));
    let delivered = running
        .until(async |r| {
            let all = r.api.deliveries(&cx("admin"), PageNumber(0), PageSize(10), None, None).await.unwrap().content;
            assert_eq!(all.len(), 1);
            all.into_iter().find(|d| d.state == DeliveryState::Delivered)
        })
        .await;
    assert_eq!((delivered.channel.as_str(), delivered.target.as_str(), delivered.attempts), ("email", "j***@example.com", 2));
    running.stop().await;
}

#[actix_web::test]
async fn name_with_line_breaks_adds_no_headers_or_recipients() {
    let (url, mut mails) = start_smtp_server(&[]).await;
    let running = Running::start(&mail_settings(url, 1));
    let name = "Eve\r\nBcc: all@example.com\r\n\r\n<b>bold</b>\r\n.\r\nMAIL FROM:<eve@example.com>";
    running.publish(&[&event("order.cancelled", &order_data("eve", name, Some("eve@example.com")))]).await;
    let mail = next(&mut mails).await;
    assert_eq!(mail.to, ["<eve@example.com>"]);
    let names: Vec<String> = mail.headers().iter().map(|h| h.split(':').next().unwrap().to_string()).collect();
    for name in &names {
        assert!(["From", "To", "Subject", "Message-ID", "MIME-Version", "Date", "Content-Type"].contains(&name.as_str()), "{names:?}");
    }
    assert!(mail.header("Subject").starts_with("Eve"));
    assert!(!mail.message.contains("<b>bold</b></p>") && mail.message.contains("&#60;b&#62;bold"));
    running.stop().await;
    assert!(mails.try_recv().is_err(), "one message became two");
}

/// The `tls.*` settings apply to mail, too, although lettre configures TLS itself.
#[cfg(feature = "tls")]
#[actix_web::test]
async fn mail_over_tls_uses_configured_ca_and_client_certificate() {
    use crate::settings::{ClientCertificates, Settings};
    let dir = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/services/certificates.sh");
    for args in [&["authority"][..], &["issue", "server", "IP:127.0.0.1", "2"], &["issue", "client", "DNS:client", "2"]] {
        let output = std::process::Command::new(script).arg(args[0]).arg(dir.path()).args(&args[1..]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let file = |name: &str| Some(dir.path().join(name));
    let mut settings = Settings::default();
    let server = &mut settings.server;
    (server.tls_cert, server.tls_key, server.tls_client_ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    server.tls_client = ClientCertificates::Required;
    (settings.tls.ca, settings.tls.cert, settings.tls.key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let config = crate::net::tls::start(&settings).unwrap().inbound.unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(*config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("smtps://{}", listener.local_addr().unwrap());
    let (sender, mut mails) = mpsc::unbounded_channel();
    actix_web::rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = acceptor.accept(stream).await.unwrap();
            actix_web::rt::spawn(serve_smtp(stream, Arc::default(), sender.clone()));
        }
    });
    let running = Running::start(&mail_settings(url, 1));
    running.publish(&[&event("order.placed", &order_data("jane", "Jane", Some("jane@example.com")))]).await;
    assert_eq!(next(&mut mails).await.to, ["<jane@example.com>"]);
    running.stop().await;
}

#[actix_web::test]
async fn mailbox_unknown_is_dead_and_error_hides_address() {
    let (url, mut mails) = start_smtp_server(&["550 no such user jane@example.com here"]).await;
    let running = Running::start(&mail_settings(url, 5));
    let no_address = event("order.placed", &order_data("joe", "Joe", Some("nonsense")));
    running.publish(&[&event("order.placed", &order_data("jane", "Jane", Some("jane@example.com"))), &no_address]).await;
    next(&mut mails).await;
    let dead = running
        .until(async |r| {
            let dead = r.api.deliveries(&cx("admin"), PageNumber(0), PageSize(10), Some(DeliveryState::Dead), None).await.unwrap().content;
            (dead.len() == 2).then_some(dead)
        })
        .await;
    assert!(dead.iter().all(|d| d.attempts == 1));
    assert!(dead[0].last_error.as_ref().unwrap().contains("not a mail address"));
    let error = dead[1].last_error.as_ref().unwrap();
    assert!(error.contains("no such user j***@example.com"), "{error}");
    running.stop().await;
}
