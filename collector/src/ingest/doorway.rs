//! The door as a layer around the gRPC service.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::transport::server::TcpConnectInfo;

use super::door::{Door, Place};
use crate::metrics::Metrics;

/// Stands in line for those whose address is not known.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A service behind a door.
#[derive(Debug, Clone)]
pub struct Doorway<S> {
    pub(super) door: Arc<Door>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) service: S,
}

/// What a push brings from the door.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) place: Arc<Place>,
    /// When its head arrived; the rest may take as long as the network does.
    pub(super) arrived: SystemTime,
}

impl<S: NamedService> NamedService for Doorway<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Doorway<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future =
        Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send + 'static>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Each request waits for itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let Self { door, metrics, mut service } = self.clone();
        let arrived = SystemTime::now();
        let address =
            request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let address = address.map_or(NOWHERE, |address| address.ip());
        Box::pin(async move {
            match door.enter(address, Instant::now()).await {
                Ok(place) => {
                    let visit = Visit { place: Arc::new(place), arrived };
                    request.extensions_mut().insert(visit);
                    std::future::poll_fn(|context| service.poll_ready(context)).await?;
                    service.call(request).await
                }
                Err(refusal) => {
                    metrics.count_rejected(refusal.name());
                    Ok(refusal.status().into_http())
                }
            }
        })
    }
}
