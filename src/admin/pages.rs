//! Which request gets which page.
//!
//! A request is its method and its path: its headers, its query string and its body change nothing, and the body is not
//! read. Hyper leaves the body out of the answer to a HEAD.

use super::Admin;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};

/// The type of Prometheus's text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

const INDEX: &str = "<!doctype html>
<html lang=\"en\">
<title>fca-proxy</title>
<h1>fca-proxy</h1>
<ul>
<li><a href=\"/metrics\">/metrics</a>: what it counts, for Prometheus
<li><a href=\"/healthz\">/healthz</a>: whether the process runs
<li><a href=\"/readyz\">/readyz</a>: whether clients are accepted, and how the upstream is
</ul>
</html>
";

/// The answer to a request.
pub(super) fn answer<B>(request: &Request<B>, admin: &Admin) -> Response<Full<Bytes>> {
    let write: fn(&Admin) -> Response<Full<Bytes>> = match request.uri().path() {
        "/" => |_| page(StatusCode::OK, HTML, INDEX),
        "/metrics" => |admin| page(StatusCode::OK, EXPOSITION, admin.registry.render()),
        "/healthz" => |_| page(StatusCode::OK, PLAIN, "ok\n"),
        "/readyz" => readiness,
        _ => return page(StatusCode::NOT_FOUND, PLAIN, "not found\n"),
    };
    if matches!(*request.method(), Method::GET | Method::HEAD) { write(admin) } else { method_not_allowed() }
}

fn readiness(admin: &Admin) -> Response<Full<Bytes>> {
    let readiness = (admin.readiness)();
    let (status, word) =
        if readiness.ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    let mut text = format!("{word}\n{}", readiness.detail);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    page(status, PLAIN, text)
}

fn method_not_allowed() -> Response<Full<Bytes>> {
    let mut page = page(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n");
    page.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    page
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    page
}
