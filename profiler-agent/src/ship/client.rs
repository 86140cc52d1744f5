//! The gRPC client: sends one batch and says what the answer means for it.

use std::time::Duration;

use profiler_common::wire::BATCH_BYTES_MAX;
use profiler_common::wire::v1::{self, ingest_client::IngestClient};
use thiserror::Error;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Code, Status};

/// A collector that answers at all does so sooner; a batch of 16 MiB takes 13 s at 10 Mbit/s.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// A collector on the same continent answers a handshake in well under a second.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Why no client can be made for an address.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Not an address of a collector.
    #[error("`{url}` is not a collector's address: {why}; write it as http://HOST:7170")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate cannot be used.
    #[error("failed to set up TLS for the collector")]
    Tls(#[from] tonic::transport::Error),
}

/// What an answer means for the batch that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is stored, now or from an earlier try.
    Acknowledged,
    /// It will never be taken: sending it again is of no use.
    Rejected(String),
    /// Send it again later.
    Retry(String),
}

/// A connection to the collector, made when first used and made again when it breaks.
#[derive(Debug, Clone)]
pub struct Client {
    ingest: IngestClient<Channel>,
}

impl Client {
    /// Prepares a connection; nothing is sent yet.
    ///
    /// `authority` is a PEM file with the certificate authority of an `https` collector; without it those of the
    /// system are trusted.
    ///
    /// # Errors
    ///
    /// When the address or the certificate is none.
    pub fn new(url: &str, authority: Option<&[u8]>) -> Result<Self, ClientError> {
        let mut endpoint = Self::endpoint(url)?;
        if endpoint.uri().scheme_str() == Some("https") {
            let tls = match authority {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_enabled_roots(),
            };
            endpoint = endpoint.tls_config(tls)?;
        }
        Ok(Self::over(endpoint.connect_lazy()))
    }

    /// Where the collector is and how long it may take, for a connection of one's own making.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn endpoint(url: &str) -> Result<Endpoint, ClientError> {
        Ok(Endpoint::from(parse_url(url)?)
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(CALL_DEADLINE)
            .http2_keep_alive_interval(CALL_DEADLINE)
            .tcp_nodelay(true))
    }

    /// Sends over a connection that somebody else made.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        let ingest = IngestClient::new(channel)
            .send_compressed(CompressionEncoding::Zstd)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_encoding_message_size(BATCH_BYTES_MAX + 1024);
        Self { ingest }
    }

    /// Sends one batch.
    pub async fn push(&mut self, batch: v1::Batch) -> Answer {
        let request = v1::PushRequest { batch: Some(batch) };
        match self.ingest.push(request).await {
            Ok(response) => match response.into_inner().outcome() {
                v1::Outcome::Stored | v1::Outcome::Duplicate => Answer::Acknowledged,
                v1::Outcome::Unspecified => {
                    Answer::Retry("the answer does not say that the batch is stored".to_owned())
                }
            },
            Err(status) => judge(&status),
        }
    }
}

/// Checks that an address can be a collector's.
///
/// # Errors
///
/// When it has no host, or a scheme other than `http` and `https`.
pub fn parse_url(url: &str) -> Result<Uri, ClientError> {
    let bad = |why: &str| ClientError::BadUrl { url: url.to_owned(), why: why.to_owned() };
    let uri: Uri = url.parse().map_err(|error| bad(&format!("{error}")))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        Some("http" | "https") => Err(bad("it has no host")),
        Some(_) => Err(bad("its scheme is neither http nor https")),
        None => Err(bad("it has no scheme")),
    }
}

/// The tonic server answers `OutOfRange` to a message above its limit: that batch never fits.
fn judge(status: &Status) -> Answer {
    let said = format!("{}: {}", status.code().description(), status.message());
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => Answer::Rejected(said),
        _ => Answer::Retry(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_collectors_are_refused_with_the_reason() {
        for (url, why) in [
            ("localhost:7170", "scheme"),
            ("collector", "scheme"),
            ("ftp://host", "neither http nor https"),
            ("http://", "http://"),
            ("", "empty string"),
        ] {
            let error = parse_url(url).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("http://HOST:7170"), "{url}: {error}");
        }
        assert!(parse_url("http://[::1]:7170").is_ok());
    }

    #[test]
    fn only_a_batch_that_can_never_be_stored_is_given_up() {
        for code in 0..=16 {
            let code = Code::from_i32(code);
            let rejected = matches!(judge(&Status::new(code, "")), Answer::Rejected(_));
            assert_eq!(
                rejected,
                [Code::InvalidArgument, Code::OutOfRange].contains(&code),
                "{code:?}"
            );
        }
    }
}
