//! What receivers get.

use std::collections::BTreeMap;

use serde_json::Value;
use wiremock::matchers::{header_exists, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::webhook::signature;
use super::*;
use crate::alert::WebhookOptions;
use crate::alert::tests::alert;

const NOW: u64 = 1_700_000_000_000_000_000;

fn notifiers(server: &MockServer, is_webhook: bool) -> Notifiers {
    let options = if is_webhook {
        let webhook =
            WebhookOptions { url: format!("{}/hook", server.uri()), secret: "key".to_owned() };
        AlertOptions { webhooks: vec![webhook], ..AlertOptions::default() }
    } else {
        AlertOptions { alertmanager_urls: vec![server.uri()], ..AlertOptions::default() }
    };
    Notifiers::new(&options, Arc::new(EvaluatorCounters::default())).unwrap()
}

async fn answering(status: u16, at: &str) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path(at))
        .respond_with(ResponseTemplate::new(status))
        .mount(&server)
        .await;
    server
}

#[test]
fn the_signature_is_that_of_openssl() {
    // printf 'The quick brown fox jumps over the lazy dog' | openssl dgst -sha256 -hmac key
    assert_eq!(
        signature(b"key", b"The quick brown fox jumps over the lazy dog").unwrap(),
        "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
    );
}

#[tokio::test]
async fn a_webhook_hears_of_each_state_once_and_can_check_who_speaks() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(header_exists("X-Flamewatch-Signature"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let notifiers = notifiers(&server, true);
    let pending = notifiers.tell(vec![alert(AlertState::Pending)], NOW).await;
    let mut told = notifiers.tell(vec![alert(AlertState::Firing)], NOW).await;
    told = notifiers.tell(told, NOW).await;
    told[0].state = AlertState::Resolved;
    notifiers.tell(told, NOW).await;
    assert!(pending[0].delivered.is_empty());
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 2);
    for (request, state) in requests.iter().zip(["firing", "resolved"]) {
        let signed = signature(b"key", &request.body).unwrap();
        assert_eq!(request.headers["X-Flamewatch-Signature"], signed.as_str());
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["alert"]["state"], state);
    }
}

#[tokio::test]
async fn a_webhook_that_fails_is_tried_again_counted_and_told_later() {
    let server = answering(500, "/hook").await;
    let notifiers = notifiers(&server, true);
    let told = notifiers.tell(vec![alert(AlertState::Firing)], NOW).await;
    assert!(told[0].delivered.is_empty());
    assert_eq!(server.received_requests().await.unwrap().len(), ATTEMPTS as usize);
    assert_eq!(notifiers.counters.notification_failures.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn alertmanager_gets_the_evidence_under_labels_that_do_not_change() {
    let server = answering(200, "/api/v2/alerts").await;
    let notifiers = notifiers(&server, false);
    let mut over = alert(AlertState::Resolved);
    over.resolved_at = Some(NOW as f64 / 1e9 - 10.0);
    notifiers.tell(vec![alert(AlertState::Firing)], NOW).await;
    notifiers.tell(vec![over], NOW).await;
    let requests = server.received_requests().await.unwrap();
    let bodies: Vec<Value> =
        requests.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    let labels: BTreeMap<String, String> =
        serde_json::from_value(bodies[0][0]["labels"].clone()).unwrap();
    let expected = [
        ("alertname", "ProfileRegression"),
        ("function", "checksum"),
        ("module", "app"),
        ("service", "shop"),
        ("severity", "page"),
    ];
    assert_eq!(labels, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    assert_eq!(bodies[0][0]["labels"], bodies[1][0]["labels"]);
    assert_eq!(bodies[0][0]["startsAt"], bodies[1][0]["startsAt"]);
    assert_eq!(bodies[0][0]["endsAt"], "2023-11-14T22:14:50Z");
    assert_eq!(bodies[1][0]["endsAt"], "2023-11-14T22:13:10Z");
    assert_eq!(bodies[0][0]["annotations"]["delta_relative"], "+33.3 %");
    assert_eq!(bodies[0][0]["annotations"]["baseline_version"], "1");
    let caveats = "only 63 % of the candidate's stacks are whole";
    assert_eq!(bodies[0][0]["annotations"]["caveats"], caveats);
}

#[test]
fn a_wrong_address_is_named() {
    let options =
        AlertOptions { alertmanager_urls: vec!["ftp://x".to_owned()], ..AlertOptions::default() };
    let error = Notifiers::new(&options, Arc::new(EvaluatorCounters::default())).unwrap_err();
    assert!(error.to_string().contains("ftp://x"), "{error}");
}
