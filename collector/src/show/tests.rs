//! The whole router on a real store.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use profiler_common::wire::{PROTOCOL_VERSION, v1};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::store::{SqliteStore, StoreOptions};

const SECOND_NS: u64 = 1_000_000_000;
/// A range that covers the test's batch.
const RANGE: &str = "from=1700000000&to=1700000100";

/// A router on a store that holds one window of service `web`: 30 samples of `work`, 10 of the kernel below it.
fn shown() -> (tempfile::TempDir, Router) {
    let folder = tempfile::tempdir().unwrap();
    let store =
        SqliteStore::open(&folder.path().join("store.sqlite"), StoreOptions::default()).unwrap();
    store.write_whole(&batch()).unwrap();
    let state = State::new(Arc::new(store), Arc::default(), Policy::default());
    (folder, router(state))
}

fn batch() -> v1::Batch {
    let strings = ["", "web", "1.0", "web-1", "main", "work", "read", "app", "[kernel]"];
    let frame = |kind: v1::FrameKind, function, module| v1::Frame {
        kind: kind.into(),
        function,
        module,
        ..Default::default()
    };
    let syscall = v1::SyscallLatency {
        name: 6,
        calls: 3,
        sum_ns: 300,
        max_ns: 120,
        buckets: vec![profiler_common::abi::latency::bucket_of(100)],
        bucket_counts: vec![3],
        errors: vec![v1::ErrnoCount { errno: 11, count: 1 }],
        ..Default::default()
    };
    let service = v1::ServiceProfile {
        service: 1,
        version: 2,
        unit: 3,
        period_ns: 50_000_000,
        stacks: vec![0, 1],
        counts: vec![30, 10],
        syscalls: vec![syscall],
        walks: [("whole", 27), ("too deep", 9), ("no user stack", 4)]
            .map(|(end, samples)| v1::WalkEndCount { end: end.to_owned(), samples })
            .to_vec(),
        ..Default::default()
    };
    v1::Batch {
        protocol: PROTOCOL_VERSION,
        agent_id: "agent".to_owned(),
        epoch: 1,
        sequence: 1,
        host: "host".to_owned(),
        start_unix_ns: 1_700_000_010 * SECOND_NS,
        end_unix_ns: 1_700_000_020 * SECOND_NS,
        strings: strings.map(str::to_owned).to_vec(),
        frames: vec![
            frame(v1::FrameKind::Native, 4, 7),
            frame(v1::FrameKind::Native, 5, 7),
            frame(v1::FrameKind::Kernel, 6, 8),
        ],
        stacks: vec![v1::Stack { frames: vec![0, 1] }, v1::Stack { frames: vec![0, 1, 2] }],
        services: vec![service],
        accounting: Some(v1::Accounting {
            samples_taken: 42,
            lost: vec![v1::Loss { reason: "ring_full".to_owned(), samples: 2 }],
        }),
        ..Default::default()
    }
}

async fn get_response(router: &Router, path: &str) -> Response {
    let request = Request::get(path).body(Body::empty()).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

async fn get_json(router: &Router, path: &str) -> (StatusCode, Value) {
    let response = get_response(router, path).await;
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 24).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

async fn refusal(router: &Router, path: &str) -> String {
    let (status, answer) = get_json(router, path).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
    answer["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_stored_service_is_listed() {
    let (_folder, router) = shown();
    let (status, answer) = get_json(&router, &format!("/api/v1/services?{RANGE}")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["services"][0]["service"], "web");
    assert_eq!(answer["services"][0]["samples"], 40);
    assert_eq!(answer["services"][0]["versions"][0]["hosts"], json!(["host"]));
    assert_eq!(answer["services"][0]["whole_share"], 0.75);
}

#[tokio::test]
async fn the_status_accounts_for_every_sample() {
    let (_folder, router) = shown();
    let (_, answer) = get_json(&router, "/api/v1/status").await;
    assert_eq!(answer["samples_stored"], 40);
    assert_eq!(answer["samples_taken"], 42);
    assert_eq!(answer["lost"], json!({ "ring_full": 2 }));
    assert_eq!(answer["stacks"], json!({ "no user stack": 4, "too deep": 9, "whole": 27 }));
}

#[tokio::test]
async fn the_quality_says_which_share_is_whole_and_why_the_rest_is_not() {
    let (_folder, router) = shown();
    for service in ["web", "*"] {
        let path = format!("/api/v1/quality?service={service}&{RANGE}");
        let (status, answer) = get_json(&router, &path).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!((&answer["samples"], &answer["whole_share"]), (&json!(36), &json!(0.75)));
        let sentence = profiler_common::abi::sample::WalkEnd::Truncated.sentence().trim();
        let reason =
            json!({ "reason": "too deep", "sentence": sentence, "samples": 9, "share": 0.25 });
        assert_eq!(answer["reasons"], json!([reason]));
        let part = |name: &str| json!([{ "name": name, "samples": 36, "whole_share": 0.75, "reasons": [reason] }]);
        assert_eq!((&answer["versions"], &answer["hosts"]), (&part("1.0"), &part("host")));
        assert_eq!(answer["executables"], json!([]));
    }
    let (_, none) = get_json(&router, &format!("/api/v1/quality?service=nobody&{RANGE}")).await;
    assert_eq!((&none["samples"], none.get("whole_share")), (&json!(0), None));
}

#[tokio::test]
async fn a_flame_graph_holds_all_samples() {
    let (_folder, router) = shown();
    let path = format!("/api/v1/flamegraph?service=web&{RANGE}");
    let (status, answer) = get_json(&router, &path).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["total"], 40);
    assert_eq!(answer["period_ns"], 50_000_000);
    assert_eq!(answer["names"], json!(["web", "main", "work", "read"]));
    assert_eq!(answer["nodes"], json!([0, 0, 0, 40, 1, 1, 0, 40, 2, 2, 30, 40, 3, 3, 10, 10]));
}

#[tokio::test]
async fn all_services_hang_below_their_names() {
    let (_folder, router) = shown();
    let (_, answer) = get_json(&router, &format!("/api/v1/flamegraph?service=*&{RANGE}")).await;
    assert_eq!(answer["names"], json!(["all services", "web", "main", "work", "read"]));
    assert_eq!(answer["total"], 40);
}

#[tokio::test]
async fn a_selection_that_matches_nothing_is_empty() {
    let (_folder, router) = shown();
    let path = format!("/api/v1/flamegraph?service=web&version=2.0&{RANGE}");
    let (status, answer) = get_json(&router, &path).await;
    assert_eq!((status, &answer["total"]), (StatusCode::OK, &json!(0)));
}

#[tokio::test]
async fn a_comparison_shows_both_sides() {
    let (_folder, router) = shown();
    let path = format!("/api/v1/diff?service=web&{RANGE}&candidate.version=none");
    let (status, answer) = get_json(&router, &path).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["baseline"]["total"], 40);
    assert_eq!(answer["candidate"]["total"], 0);
    assert_eq!(answer["nodes"].as_array().unwrap()[..6], [0, 0, 0, 40, 0, 0].map(|n| json!(n)));
    assert!(answer["functions"].is_array());
}

#[tokio::test]
async fn syscalls_carry_quantiles_and_errors() {
    let (_folder, router) = shown();
    let (_, answer) = get_json(&router, &format!("/api/v1/syscalls?service=web&{RANGE}")).await;
    let read = &answer["syscalls"][0];
    assert_eq!((&read["name"], &read["calls"]), (&json!("read"), &json!(3)));
    assert_eq!(read["errors"], json!({ "11": 1 }));
    let p99 = read["p99_ns"].as_u64().unwrap();
    assert!((93..=107).contains(&p99), "{p99}");
}

#[tokio::test]
async fn a_series_counts_samples_by_version() {
    let (_folder, router) = shown();
    let path = format!("/api/v1/series?service=web&{RANGE}&step=10");
    let (_, answer) = get_json(&router, &path).await;
    assert_eq!(answer["points"][0]["samples"], 40);
    assert_eq!(answer["points"][0]["version"], "1.0");
}

/// Sends a user's word about an alert that does not exist; `origin` is the site whose page sends it.
async fn word(router: &Router, body: &str, origin: Option<&str>) -> (StatusCode, String) {
    let mut request = Request::post("/api/v1/alerts/0123456789abcdef/accept")
        .header(header::HOST, "collector:7171");
    if let Some(origin) = origin {
        request = request.header(header::ORIGIN, origin);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn a_word_about_no_alert_is_answered_with_where_alerts_are() {
    let (_folder, router) = shown();
    let (status, answer) = word(&router, "", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(answer.contains("0123456789abcdef") && answer.contains("/api/v1/alerts"), "{answer}");
    let ours = word(&router, r#"{"note":"x"}"#, Some("http://collector:7171")).await;
    assert_eq!(ours.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_page_of_another_site_and_a_body_that_is_none_are_refused() {
    let (_folder, router) = shown();
    for (body, origin) in [("", Some("http://evil.example")), ("", Some("null")), ("no", None)] {
        let (status, answer) = word(&router, body, origin).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    }
    let long = format!(r#"{{"note":"{}"}}"#, "x".repeat(2_000));
    assert_eq!(word(&router, &long, None).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn without_findings_there_are_no_alerts() {
    let (_folder, router) = shown();
    assert_eq!(get_json(&router, "/api/v1/alerts").await.1, json!({ "alerts": [] }));
}

#[tokio::test]
async fn pprof_is_gzip() {
    let (_folder, router) = shown();
    let path = format!("/debug/pprof/profile?service=web&{RANGE}");
    let response = get_response(&router, &path).await;
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    assert_eq!(bytes[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name() {
    let (_folder, router) = shown();
    for (path, start) in [
        ("/api/v1/flamegraph", "`service` is missing"),
        ("/api/v1/flamegraph?service=web&from=monday", "`from` is `monday`"),
        ("/api/v1/flamegraph?service=web&min_share=2", "`min_share` is `2`"),
        ("/api/v1/services?service=web", "`service` is `web`, expected no such parameter"),
        ("/api/v1/series?service=web&step=1", "`step` is `1`"),
        ("/api/v1/series?service=web&from=-30d&step=10", "`step` is `10`"),
        ("/api/v1/diff?service=*", "`service` is `*`"),
        ("/api/v1/diff?service=web&baseline.from=x", "`baseline.from` is `x`"),
        ("/api/v1/services?from=%ff", "`from` is"),
    ] {
        let refusal = refusal(&router, path).await;
        assert!(refusal.starts_with(start), "{path}: {refusal}");
    }
}

#[tokio::test]
async fn a_gate_question_that_is_no_json_is_refused() {
    let (_folder, router) = shown();
    let request = Request::post("/api/v1/gate").body(Body::from("{")).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_unknown_path_of_the_api_is_a_404_in_json() {
    let (_folder, router) = shown();
    for path in ["/api/v2/x", "/api/v1/", "/api", "/nothing.js", "/tests/layout.test.mjs"] {
        let (status, answer) = get_json(&router, path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer["error"].is_string());
    }
}

#[tokio::test]
async fn the_page_runs_only_its_own_script_and_is_cached() {
    let (_folder, router) = shown();
    let response = get_response(&router, "/").await;
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let etag = response.headers()[header::ETAG].clone();
    let again = Request::get("/").header(header::IF_NONE_MATCH, etag).body(Body::empty()).unwrap();
    let again = router.clone().oneshot(again).await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    let script = get_response(&router, "/app.js").await;
    assert_eq!(script.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
}

#[tokio::test]
async fn no_path_leads_out_of_the_page() {
    let (_folder, router) = shown();
    for path in ["/../Cargo.toml", "/%2e%2e/Cargo.toml", "/..%2fCargo.toml", "//etc/passwd"] {
        assert_eq!(get_response(&router, path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn the_document_lists_every_route() {
    let (_folder, router) = shown();
    let (_, document) = get_json(&router, "/api/v1/openapi.json").await;
    let listed: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let source = include_str!("mod.rs");
    let routes: Vec<&str> = source
        .split(".route(\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|path| path.starts_with("/api/v1/") || path.starts_with("/debug/"))
        .collect();
    assert_eq!(routes.len(), 12);
    for route in routes {
        assert!(listed.iter().any(|path| *path == route), "{route} is not in {listed:?}");
    }
}

#[tokio::test]
async fn every_question_about_profiles_documents_how_to_choose_them() {
    let (_folder, router) = shown();
    let (_, document) = get_json(&router, "/api/v1/openapi.json").await;
    let six = json!([
        ["from", "start: Unix seconds or `-15m`"],
        ["to", "end: Unix seconds, `-5m` or `now`"],
        ["version", "only this version"],
        ["host", "only this host"],
        ["unit", "only this unit of replication"],
        ["label.KEY", "only where the label KEY has this value"],
    ]);
    for path in ["flamegraph", "quality", "series", "syscalls", "diff"]
        .map(|name| format!("/api/v1/{name}"))
        .into_iter()
        .chain(["/debug/pprof/profile".to_owned()])
    {
        let parameters = document["paths"][&path]["get"]["parameters"].as_array().unwrap();
        let chosen = parameters.iter().filter(|parameter| {
            six.as_array().unwrap().iter().any(|one| one[0] == parameter["name"])
        });
        let documented: Vec<Value> = chosen
            .map(|parameter| {
                assert_eq!(
                    (&parameter["in"], &parameter["required"]),
                    (&json!("query"), &json!(false))
                );
                assert_eq!(parameter["schema"]["type"], "string");
                json!([parameter["name"], parameter["description"]])
            })
            .collect();
        assert_eq!(json!(documented), six, "{path}");
        assert_eq!(parameters[0]["name"], "service", "{path}");
    }
}
