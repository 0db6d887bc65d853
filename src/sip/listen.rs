//! Where it listens.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rsipstack::platform::CancellationToken;
use rsipstack::transaction::endpoint::EndpointInnerRef;
use rsipstack::transport::SipAddr;
use rsipstack::transport::tcp::TcpConnection;
use rsipstack::transport::tcp_listener::TcpListenerConnection;
use rsipstack::transport::tls::{TlsConfig, TlsListenerConnection};
use rsipstack::transport::transport_layer::TransportLayer;
use rsipstack::transport::udp::UdpConnection;
use rsipstack::transport::websocket::WebSocketListenerConnection;

use tokio::net::{TcpListener, TcpStream};

use super::config::{Listen, SipConfig, Transport};
use super::connections::{Connections, Guest};
use super::datagrams::Datagrams;
use super::shared::Counters;
use super::user_agent::SipError;

/// The system's authorities, where Debian keeps them.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// After a connection could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds what carries datagrams, before the endpoint runs.
pub(super) async fn bind_datagrams(
    layer: &TransportLayer,
    config: &SipConfig,
    stop: &CancellationToken,
    counters: &Arc<Counters>,
) -> Result<Vec<Listen>, SipError> {
    let mut bound = Vec::new();
    for listen in &config.listen {
        if listen.transport != Transport::Udp {
            continue;
        }
        let failed = |why: String| bind_error(listen, why);
        // The port of what others are told is known only where it is fixed.
        let told = told(config, listen.address);
        let stop = Some(stop.child_token());
        let socket = Datagrams::bind(listen.address, counters.clone()).await;
        let socket = Arc::new(socket.map_err(|e| failed(e.to_string()))?);
        let socket = UdpConnection::from_socket(socket, told, stop)
            .await
            .map_err(|e| failed(e.to_string()))?;
        let address = match told {
            Some(_) => listen.address,
            None => socket
                .get_addr()
                .get_socketaddr()
                .map_err(|e| failed(e.to_string()))?,
        };
        bound.push(listen.at(address));
        layer.add_transport(socket.into());
    }
    Ok(bound)
}

/// Listens for connections; only after the endpoint runs.
///
/// The stack would bind them when it starts to serve, and only log where it cannot; so they are
/// bound here, and are made known to it after that.
pub(super) async fn bind_streams(
    endpoint: &EndpointInnerRef,
    config: &SipConfig,
    stop: &CancellationToken,
    connections: &Arc<Connections>,
) -> Result<Vec<Listen>, SipError> {
    let layer = &endpoint.transport_layer;
    let mut bound = Vec::new();
    for listen in &config.listen {
        let failed = |why: String| bind_error(listen, why);
        let stack = |e: rsipstack::Error| failed(e.to_string());
        if listen.transport == Transport::Udp {
            continue;
        }
        let address = free_port(listen.address).map_err(|e| failed(e.to_string()))?;
        let told = told(config, address);
        let inner = layer.inner.clone();
        let listener = match listen.transport {
            Transport::Udp | Transport::Tcp => {
                let listener = TcpListener::bind(address).await;
                let listener = listener.map_err(|e| failed(e.to_string()))?;
                let tcp = TcpListenerConnection::new(address, told)
                    .await
                    .map_err(stack)?;
                let door = Entrance {
                    here: tcp.get_addr().clone(),
                    endpoint: endpoint.clone(),
                    stop: stop.clone(),
                    connections: connections.clone(),
                };
                tokio::spawn(door.accept(listener));
                tcp.into()
            }
            Transport::Tls => {
                let files = tls(config).map_err(failed)?;
                let tls = TlsListenerConnection::new(address, told, files)
                    .await
                    .map_err(stack)?;
                tls.serve_listener(inner).await.map_err(stack)?;
                tls.into()
            }
            Transport::Ws => {
                let ws = WebSocketListenerConnection::new(address, told, false).await;
                let ws = ws.map_err(stack)?;
                ws.serve_listener(inner).await.map_err(stack)?;
                ws.into()
            }
        };
        layer.add_transport(listener);
        bound.push(listen.at(address));
    }
    Ok(bound)
}

/// Where TCP connections come in.
struct Entrance {
    here: SipAddr,
    endpoint: EndpointInnerRef,
    stop: CancellationToken,
    connections: Arc<Connections>,
}

impl Entrance {
    /// Takes connections, as many at a time as there may be.
    async fn accept(self, listener: TcpListener) {
        let layer = &self.endpoint.transport_layer;
        let Ok(here) = self.here.get_socketaddr() else {
            return;
        };
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, far)) = accepted else {
                // No descriptors, most likely: there may be some when others have ended.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let all = layer.connections_count();
            if let Some(guest) = self.connections.enter(here, far, all) {
                // An error is a connection that has gone already, or no descriptor for it.
                let _gone = self.let_in(stream, guest);
            }
        }
    }

    fn let_in(&self, stream: TcpStream, guest: Guest) -> std::io::Result<()> {
        let stream = stream.into_std()?;
        let socket = stream.try_clone()?;
        let stream = TcpStream::from_std(stream)?;
        let ended = self.stop.child_token();
        let connection = TcpConnection::from_stream(stream, self.here.clone(), Some(ended.clone()));
        let connection = connection.map_err(std::io::Error::other)?;
        let layer = &self.endpoint.transport_layer;
        layer.add_connection(connection.into());
        tokio::spawn(guest.stay(socket, ended));
        Ok(())
    }
}

/// The address that others are told, where it is another one.
fn told(config: &SipConfig, listen: SocketAddr) -> Option<SocketAddr> {
    config
        .advertise
        .map(|ip| SocketAddr::new(ip, listen.port()))
}

/// Whom we trust when we connect over TLS: the stack trusts nobody by itself.
pub(super) fn trust(layer: &TransportLayer, config: &SipConfig) -> Result<(), SipError> {
    let path = match &config.authorities {
        Some(path) => path.as_path(),
        None if Path::new(AUTHORITIES).exists() => Path::new(AUTHORITIES),
        None => return Ok(()),
    };
    // Another choice of cryptography that was made before is as good.
    let _chosen_before = rustls::crypto::ring::default_provider().install_default();
    let why = |e: std::io::Error| SipError::Authorities {
        path: path.display().to_string(),
        why: e.to_string(),
    };
    layer.set_tls_config(TlsConfig {
        ca_certs: Some(fs::read(path).map_err(why)?),
        ..TlsConfig::default()
    });
    Ok(())
}

/// A port where any would do: the stack does not say which one it got.
fn free_port(address: SocketAddr) -> std::io::Result<SocketAddr> {
    match address.port() {
        0 => std::net::TcpListener::bind(address)?.local_addr(),
        _ => Ok(address),
    }
}

fn tls(config: &SipConfig) -> Result<TlsConfig, String> {
    let files = config.tls.as_ref().ok_or("no certificate")?;
    let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    Ok(TlsConfig {
        cert: Some(read(&files.certificate)?),
        key: Some(read(&files.key)?),
        ..TlsConfig::default()
    })
}

fn bind_error(listen: &Listen, why: String) -> SipError {
    SipError::Bind {
        address: listen.to_string(),
        why,
    }
}
