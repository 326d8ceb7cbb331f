//! The way there and back by TLS (RFC 7858) and HTTPS (RFC 8484).

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ALL_VERSIONS, ClientConfig, ClientConnection, StreamOwned};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::carrier::{PATIENCE, connect, framed, next, sentinel};
use crate::daemon::Daemon;
use crate::expect::Got;
use crate::pki::{Files, Pki};

/// The tables of listeners with a certificate of `files`.
pub(crate) fn listeners(files: &Files) -> String {
    let tls = format!(
        "[listeners.tls]\ncertificate_file = {:?}\nkey_file = {:?}\n",
        files.certificate.display().to_string(),
        files.key.display().to_string()
    );
    let limits = "[listeners.limits]\nmax_connections = 3000\nmax_connections_per_client = 3000\nidle_timeout_seconds = 10\n";
    let listener = |transport: &str| {
        format!("[[listeners]]\naddress = \"127.0.0.1:0\"\ntransport = \"{transport}\"\n{tls}{limits}\n")
    };
    listener("tls") + &listener("https")
}

/// Encrypted listeners, and clients that trust them.
pub(crate) struct Encrypted {
    tls: SocketAddr,
    https: SocketAddr,
    dot: Arc<ClientConfig>,
    h2: Arc<ClientConfig>,
    _pki: Pki,
}

impl Encrypted {
    /// Those of `daemon`.
    pub(crate) fn of(daemon: &Daemon, pki: Pki) -> Self {
        let status = daemon.status();
        let at = |transport: &str| {
            let rows = status["listeners"].as_array().expect("listeners");
            let row = rows.iter().find(|row| row["transport"] == transport).expect("such a listener");
            row["address"].as_str().and_then(|text| text.parse().ok()).expect("an address")
        };
        let (dot, h2) = (pki.dot(), pki.client(&["h2"], ALL_VERSIONS, None));
        Self { tls: at("tls"), https: at("https"), dot, h2, _pki: pki }
    }

    pub(crate) fn tls(&self, message: &[u8], silence: bool) -> Got {
        let mut stream: TcpStream = connect(self.tls);
        let name = ServerName::try_from("localhost").expect("a name");
        let mut session = ClientConnection::new(Arc::clone(&self.dot), name).expect("a client");
        while session.is_handshaking() {
            session.complete_io(&mut stream).expect("a handshake");
        }
        let mut stream = StreamOwned::new(session, stream);
        let behind = sentinel(message);
        let mut bytes = framed(message);
        if silence {
            bytes.extend(framed(&behind));
        }
        if stream.write_all(&bytes).and_then(|()| stream.flush()).is_err() {
            return Got::Closed;
        }
        match next(&mut stream) {
            Got::Reply(reply) if silence && reply.get(..2) == Some(&behind[..2]) => Got::Nothing,
            got => got,
        }
    }

    pub(crate) fn https(&self, message: &[u8]) -> Got {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime")
        });
        let exchange = async { tokio::time::timeout(PATIENCE, self.post(message)).await };
        runtime.block_on(exchange).unwrap_or(Got::Nothing)
    }

    async fn post(&self, message: &[u8]) -> Got {
        let stream = tokio::net::TcpStream::connect(self.https).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream =
            TlsConnector::from(Arc::clone(&self.h2)).connect(name, stream).await.expect("a handshake");
        let (mut sender, connection) =
            Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = Request::post("https://localhost/dns-query")
            .header("content-type", "application/dns-message")
            .body(Full::new(Bytes::copy_from_slice(message)))
            .expect("a request");
        let Ok(response) = sender.send_request(request).await else { return Got::Closed };
        if response.status() != 200 {
            // What must not be answered is an error of HTTP.
            return Got::Closed;
        }
        match response.into_body().collect().await {
            Ok(body) => Got::Reply(body.to_bytes().to_vec()),
            Err(_) => Got::Closed,
        }
    }
}
