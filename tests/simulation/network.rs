//! Between an agent and the collector: the simulated TCP, and a road on which requests are late or come twice.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use fastrand::Rng;
use flamewatch_agent::ship::client::Client;
use futures_util::Stream;
use futures_util::stream::unfold;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;
use tonic::body::Body;
use tonic::transport::server::Connected;
use tower::{Layer, Service, service_fn};
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

use crate::trace::Trace;

/// Where agents find the collector.
pub(crate) const PORT: u16 = 7170;

/// A client whose connections go over the simulated network.
pub(crate) fn client() -> Client {
    let endpoint = Client::endpoint("http://collector:7170").unwrap();
    let connector = service_fn(|_uri| async {
        TcpStream::connect(("collector", PORT)).await.map(TokioIo::new)
    });
    Client::over(endpoint.connect_with_connector_lazy(connector))
}

/// The connections that come in.
pub(crate) fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Socket>> {
    unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| Socket(stream));
        Some((accepted, listener))
    })
}

/// Ends a host without a word to its peers, and whatever is on its way with it.
///
/// Its tasks end in an order that is not the same each time, so their last messages must not reach anybody.
pub(crate) fn crash(sim: &mut Sim<'_>, name: &str, peers: &[String]) {
    peers.iter().for_each(|peer| sim.partition(name, peer.as_str()));
    sim.crash(name);
    peers.iter().for_each(|peer| sim.repair(name, peer.as_str()));
}

/// A connection that tonic can serve.
pub(crate) struct Socket(TcpStream);

impl Connected for Socket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// How often requests are late, and how often they come twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    /// Share of requests that wait before the collector works on them, and of answers that wait after it.
    pub(crate) late: f64,
    /// Share of requests that come a second time, at once or much later.
    pub(crate) twice: f64,
}

/// Stands before the collector's service, as a proxy would.
#[derive(Debug, Clone)]
pub(crate) struct Road {
    pub(crate) traffic: Traffic,
    pub(crate) is_calm: Arc<AtomicBool>,
    pub(crate) rng: Arc<Mutex<Rng>>,
    pub(crate) trace: Trace,
}

impl Road {
    fn chance(&self, share: f64) -> bool {
        !self.is_calm.load(Ordering::Relaxed) && self.rng.lock().unwrap().f64() < share
    }

    fn time(&self, seconds_max: f64) -> Duration {
        Duration::from_secs_f64(self.rng.lock().unwrap().f64() * seconds_max)
    }

    async fn wait_if_late(&self) {
        if self.chance(self.traffic.late) {
            sleep(self.time(45.0)).await;
        }
    }
}

impl<S> Layer<S> for Road {
    type Service = OnRoad<S>;

    fn layer(&self, inner: S) -> OnRoad<S> {
        OnRoad { inner, road: self.clone() }
    }
}

/// A service at the end of a road.
#[derive(Debug, Clone)]
pub(crate) struct OnRoad<S> {
    inner: S,
    road: Road,
}

impl<S> Service<Request<Body>> for OnRoad<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut inner, road) = (self.inner.clone(), self.road.clone());
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let Ok(body) = body.collect().await else {
                road.trace.say("a request breaks off");
                return Ok(tonic::Status::cancelled("half a request").into_http());
            };
            let bytes = body.to_bytes();
            let rebuild = {
                let (head, bytes) = (head.clone(), bytes.clone());
                move || Request::from_parts(head.clone(), Body::new(Full::new(bytes.clone())))
            };
            road.wait_if_late().await;
            if road.chance(road.traffic.twice) {
                let (mut inner, again, road) = (inner.clone(), rebuild(), road.clone());
                let delay = if road.chance(0.5) { Duration::ZERO } else { road.time(120.0) };
                tokio::spawn(async move {
                    sleep(delay).await;
                    road.trace.say("a request comes twice");
                    let _unheard = inner.call(again).await;
                });
            }
            let answered = inner.call(rebuild()).await;
            let status =
                answered.as_ref().ok().and_then(|answer| answer.headers().get("grpc-status"));
            let status = status.and_then(|status| status.to_str().ok()).unwrap_or("0");
            road.trace.say(format_args!("a push ends with {status}"));
            road.wait_if_late().await;
            answered
        })
    }
}
