//! J, 89: the HTTP cache.
use crate::check::checks;
use crate::probe::Probe;
use crate::stream::Form;
use crate::verdict::{Verdict, ensure, same};
use hyper::{Method, StatusCode};

checks! {
    Must 89 "HTTP: what is put under /cas/ is got" cas_round_trip;
    Must 89 "HTTP: HEAD of a blob says that it is there, and how long it is" head;
    Must 89 "HTTP: what is not there is 404" not_there;
    Must 89 "HTTP: bytes that are not those of the digest are refused" lies;
    Should 89 "HTTP: a malformed key is refused" malformed;
    Must 89 "HTTP: what is put under /ac/ is got" ac_round_trip;
    Should 89 "HTTP: the blobs are those of the REAPI" one_store;
    Should 89 "HTTP: other methods are refused" other_methods;
}

async fn cas_round_trip(probe: &Probe) -> Verdict {
    let content = probe.noise(3000);
    let path = format!("/cas/{}", probe.digest(&content).hash_text());
    let put = probe.http(Method::PUT, &path, content.clone()).await?;
    ensure!(put.status.is_success(), "PUT: expected 200, got {}", put.status);
    let got = probe.http(Method::GET, &path, Vec::new()).await?;
    same("GET", &StatusCode::OK, &got.status)?;
    ensure!(got.body == content, "other bytes came back");
    Ok(())
}

async fn head(probe: &Probe) -> Verdict {
    let content = probe.noise(300);
    let path = format!("/cas/{}", probe.digest(&content).hash_text());
    let before = probe.http(Method::HEAD, &path, Vec::new()).await?;
    same("HEAD before", &StatusCode::NOT_FOUND, &before.status)?;
    probe.http(Method::PUT, &path, content).await?;
    let after = probe.http(Method::HEAD, &path, Vec::new()).await?;
    same("HEAD after", &StatusCode::OK, &after.status)?;
    same("content-length", &Some(300), &after.length)
}

async fn not_there(probe: &Probe) -> Verdict {
    for kind in ["cas", "ac"] {
        let path = format!("/{kind}/{}", probe.digest(&probe.noise(9)).hash_text());
        let got = probe.http(Method::GET, &path, Vec::new()).await?;
        same(&format!("GET of {kind}"), &StatusCode::NOT_FOUND, &got.status)?;
    }
    Ok(())
}

async fn lies(probe: &Probe) -> Verdict {
    let path = format!("/cas/{}", probe.digest(&probe.noise(300)).hash_text());
    let put = probe.http(Method::PUT, &path, probe.noise(300)).await?;
    ensure!(put.status.is_client_error(), "PUT of other bytes: expected 400, got {}", put.status);
    let got = probe.http(Method::GET, &path, Vec::new()).await?;
    same("GET of what was refused", &StatusCode::NOT_FOUND, &got.status)
}

async fn malformed(probe: &Probe) -> Verdict {
    for path in ["/cas/xyz", "/cas/..%2f..%2fetc%2fpasswd", "/cas/", "/ac/%00"] {
        let got = probe.http(Method::GET, path, Vec::new()).await?;
        ensure!(got.status.is_client_error(), "GET {path}: expected 400 or 404, got {}", got.status);
        let put = probe.http(Method::PUT, path, b"x".to_vec()).await?;
        ensure!(put.status.is_client_error(), "PUT {path}: expected 400, got {}", put.status);
    }
    Ok(())
}

async fn ac_round_trip(probe: &Probe) -> Verdict {
    let path = format!("/ac/{}", probe.digest(&probe.noise(9)).hash_text());
    // A result, as Bazel puts one.
    let result = lre_proto::re::ActionResult { stdout_raw: probe.word().into_bytes(), ..Default::default() };
    let content = prost::Message::encode_to_vec(&result);
    let put = probe.http(Method::PUT, &path, content.clone()).await?;
    ensure!(put.status.is_success(), "PUT: expected 200, got {}", put.status);
    let got = probe.http(Method::GET, &path, Vec::new()).await?;
    same("GET", &StatusCode::OK, &got.status)?;
    let stdout = <lre_proto::re::ActionResult as prost::Message>::decode(got.body).map(|result| result.stdout_raw);
    same("stdout of the result", &Some(result.stdout_raw), &stdout.ok())
}

async fn one_store(probe: &Probe) -> Verdict {
    let content = probe.noise(300);
    let digest = probe.stream_in(Form::Plain, &content).await?;
    let got = probe.http(Method::GET, &format!("/cas/{}", digest.hash_text()), Vec::new()).await?;
    same("GET of what came by gRPC", &StatusCode::OK, &got.status)?;
    ensure!(got.body == content, "other bytes came back");
    let other = probe.noise(300);
    let digest = probe.digest(&other);
    probe.http(Method::PUT, &format!("/cas/{}", digest.hash_text()), other).await?;
    ensure!(probe.has(digest).await?, "what came by HTTP is missing for FindMissingBlobs");
    Ok(())
}

async fn other_methods(probe: &Probe) -> Verdict {
    let path = format!("/cas/{}", probe.digest(&probe.noise(9)).hash_text());
    let got = probe.http(Method::PATCH, &path, b"x".to_vec()).await?;
    ensure!(!got.status.is_success(), "PATCH: expected 405, got {}", got.status);
    Ok(())
}
