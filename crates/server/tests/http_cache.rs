//! The HTTP cache over the wire: what Bazel, ccache and sccache send, and what nobody should.
mod common;
#[path = "common/http.rs"]
mod http;

use common::{TestServer, noise, sha, until};
use http::{Answer, Wire, ask, get, put};
use http_body_util::BodyExt;
use lre_model::{ActionDigest, Digest, DigestFunction, wire};
use lre_proto::re;
use lre_server::auth::Porch;
use lre_store::ActionCache;
use lre_testkit::TreeBuilder;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::Service;

const BAZEL: (&str, &str) = ("User-Agent", "bazel/release 4.2.3");

fn cas(content: &[u8]) -> String {
    format!("/cas/{}", sha(content).hash_text())
}

fn ac(prefix: &str, key: &[u8]) -> String {
    format!("{prefix}/ac/{}", sha(key).hash_text())
}

/// PROTOCOL 89: /cas takes what its SHA-256 names and gives it back, in the store that gRPC is served from.
#[tokio::test]
async fn blobs_go_both_ways_between_http_and_grpc() {
    let server = TestServer::start().await;
    for content in [&b"small"[..], b"", &noise(1, 3 << 20)] {
        let digest = sha(content);
        assert_eq!(put(server.tcp, &cas(content), content).await.status, 200);
        assert!(server.has(digest).await);
        assert_eq!(server.read(&format!("blobs/{digest}"), 0, 0).await.unwrap(), content);
        let answer = get(server.tcp, &format!("/any/prefix{}", cas(content))).await;
        assert_eq!((answer.status, &answer.body[..]), (200, content));
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        let head = ask(server.tcp, "HEAD", &cas(content), &[], b"").await;
        assert_eq!((head.status, head.header("content-length")), (200, content.len().to_string().as_str()));
    }
    let uploaded = server.put(&b"by gRPC"[..]).await;
    assert_eq!(get(server.tcp, &format!("/cas/{}", uploaded.hash_text())).await.body, b"by gRPC");
    assert_eq!(server.staged_files(), 0);
}

/// PROTOCOL 89: an unknown blob or key is a 404, and the connection goes on.
#[tokio::test]
async fn misses_are_404_on_a_connection_that_stays() {
    let server = TestServer::start().await;
    let mut wire = Wire::connect(server.tcp).await;
    for _ in 0..3 {
        for path in [cas(b"unknown"), ac("", b"unknown"), "/webdav/unknown".to_owned()] {
            for method in ["GET", "HEAD"] {
                let answer = wire.ask(method, &path, &[], b"").await;
                assert_eq!(answer.status, 404, "{method} {path}");
            }
        }
        assert_eq!(wire.ask("PUT", &cas(b"x"), &[], b"x").await.status, 200);
    }
}

/// PROTOCOL 89: chunked bodies of any cut, and bodies after `Expect: 100-continue`.
#[tokio::test]
async fn bodies_come_in_all_forms() {
    let server = TestServer::start().await;
    let content = noise(2, 700_000);
    let mut wire = Wire::connect(server.tcp).await;
    let head = format!("PUT {} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", cas(&content));
    wire.send(head.as_bytes()).await;
    for piece in content.chunks(65_537) {
        wire.send(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
    }
    wire.send(b"0\r\n\r\n").await;
    assert_eq!(wire.answer("PUT").await.status, 200);
    let asked = noise(3, 100_000);
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n",
        cas(&asked)
    );
    wire.send(head.as_bytes()).await;
    assert_eq!(wire.head().await.status, 100, "the body is asked for");
    wire.send(&asked).await;
    assert_eq!(wire.answer("PUT").await.status, 200);
    assert!(server.has(sha(&content)).await && server.has(sha(&asked)).await);
}

/// PROTOCOL 89: a part of a blob.
#[tokio::test]
async fn ranges_are_served() {
    let server = TestServer::start().await;
    let content = noise(4, 600_000);
    server.put(content.clone()).await;
    let range = async |range: &str| ask(server.tcp, "GET", &cas(&content), &[("Range", range)], b"").await;
    let part = range("bytes=100-300099").await;
    assert_eq!((part.status, part.header("content-range")), (206, "bytes 100-300099/600000"));
    assert_eq!(part.body, content[100..300_100]);
    assert_eq!(range("bytes=-5").await.body, content[599_995..]);
    let beyond = range("bytes=600000-").await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */600000"));
    assert_eq!(range("bytes=1-2,5-6").await.status, 200);
}

/// PROTOCOL 89: /ac takes any value under any key of 64 digits, each prefix for itself, and it is never a real result.
#[tokio::test]
async fn values_of_tools_live_in_their_own_namespace() {
    let server = TestServer::start().await;
    let (one, other) = (ac("/ccache", b"key"), ac("", b"key"));
    assert_eq!(put(server.tcp, &one, b"whatever").await.status, 201);
    assert_eq!(get(server.tcp, &one).await.body, b"whatever");
    assert_eq!(get(server.tcp, &other).await.status, 404, "another prefix");
    assert_eq!(get(server.tcp, &format!("/webdav{one}")).await.status, 404, "another namespace");
    assert_eq!(put(server.tcp, &one, b"a newer value").await.status, 201);
    assert_eq!(get(server.tcp, &one).await.body, b"a newer value");
    assert!(server.has(sha(b"a newer value")).await, "the same store");
    assert_eq!(ask(server.tcp, "DELETE", &one, &[], b"").await.status, 204);
    assert_eq!(ask(server.tcp, "DELETE", &one, &[], b"").await.status, 404);
    assert_eq!(get(server.tcp, &one).await.status, 404);

    // What a poisoner would write: a well-formed result under the digest of an action.
    let action = sha(b"the action");
    let result = wire::ActionResult { stdout_raw: b"poison".to_vec(), ..Default::default() }.encode_to_vec();
    for agent in [BAZEL, ("User-Agent", "ccache/4.8")] {
        for prefix in ["", "/main"] {
            let path = format!("{prefix}/ac/{}", action.hash_text());
            assert_eq!(ask(server.tcp, "PUT", &path, &[agent], &result).await.status, 201);
        }
    }
    let request = re::GetActionResultRequest { action_digest: Some(action.to_wire()), ..Default::default() };
    common::refused(server.actions().get_action_result(request).await, tonic::Code::NotFound);
    assert_eq!(server.stores.results.get(ActionDigest(action)).await.unwrap(), None);
}

/// PROTOCOL 89, 44: what Bazel has written as a result is answered only while all that it names is there.
#[tokio::test]
async fn results_of_bazel_are_complete_or_unknown() {
    let server = TestServer::start().await;
    let tree = TreeBuilder::new(DigestFunction::Sha256).file("dir/file", "in a tree").build();
    for (digest, bytes) in &tree.blobs {
        if *digest != sha(b"in a tree") {
            server.stores.blobs.write(*digest, bytes.clone().into()).await.unwrap();
        }
    }
    let tree_digest = server.put(tree.tree.clone()).await;
    let file = wire::OutputFile { path: "a.o".into(), digest: Some(sha(b"object").to_wire()), ..Default::default() };
    let directory =
        wire::OutputDirectory { path: "d".into(), tree_digest: Some(tree_digest.to_wire()), ..Default::default() };
    let result =
        wire::ActionResult { output_files: vec![file], output_directories: vec![directory], ..Default::default() };
    let result = result.encode_to_vec();
    let (bazels, others) = (ac("", b"bazel"), ac("", b"others"));
    assert_eq!(ask(server.tcp, "PUT", &bazels, &[BAZEL], &result).await.status, 201);
    assert_eq!(put(server.tcp, &others, &result).await.status, 201);
    assert_eq!(get(server.tcp, &others).await.body, result, "to others these are just bytes");
    assert_eq!(get(server.tcp, &bazels).await.status, 404, "neither the file nor what is in the tree");
    assert_eq!(put(server.tcp, &cas(b"object"), b"object").await.status, 200);
    assert_eq!(ask(server.tcp, "HEAD", &bazels, &[], b"").await.status, 404, "not what is in the tree");
    assert_eq!(put(server.tcp, &cas(b"in a tree"), b"in a tree").await.status, 200);
    assert_eq!(get(server.tcp, &bazels).await.body, result);
    server.lose(sha(b"object")).await;
    assert_eq!(get(server.tcp, &bazels).await.status, 404, "evicted");
    // Not every value of Bazel's is a result; then it is bytes too.
    assert_eq!(ask(server.tcp, "PUT", &bazels, &[BAZEL], b"\xff\xff").await.status, 201);
    assert_eq!(get(server.tcp, &bazels).await.body, b"\xff\xff");
}

/// PROTOCOL 89: as much WebDAV as sccache needs; folders exist without being made.
#[tokio::test]
async fn webdav_files_and_folders() {
    let server = TestServer::start().await;
    let propfind = async |path: &str| ask(server.tcp, "PROPFIND", path, &[("Depth", "0")], b"").await;
    for folder in ["/webdav", "/webdav/", "/webdav/a/b/"] {
        let answer = propfind(folder).await;
        assert_eq!(answer.status, 207, "{folder}");
        assert!(answer.text().contains("<D:collection/>") && answer.text().contains(folder), "{}", answer.text());
    }
    assert_eq!(ask(server.tcp, "MKCOL", "/webdav/a/b/", &[], b"").await.status, 201);
    assert_eq!(propfind("/webdav/a/file").await.status, 404);
    assert_eq!(put(server.tcp, "/webdav/a/file", b"value").await.status, 201);
    let found = propfind("/webdav/a/file").await;
    assert_eq!(found.status, 207);
    assert!(found.text().contains("<D:getcontentlength>5</D:getcontentlength>"), "{}", found.text());
    let value = get(server.tcp, "/webdav/a/file").await;
    assert_eq!((value.status, &value.body[..]), (200, &b"value"[..]));
    assert!(value.header("last-modified").ends_with("GMT"), "{value:?}");
    assert_eq!(ask(server.tcp, "DELETE", "/webdav/a/file", &[], b"").await.status, 204);
    assert_eq!(get(server.tcp, "/webdav/a/file").await.status, 404);
}

/// PROTOCOL 89, bad input: every other method is a 405 that says what can be done.
#[tokio::test]
async fn other_methods_are_405() {
    let server = TestServer::start().await;
    let blob = cas(b"x");
    let action = ac("", b"x");
    for (method, path, allowed) in [
        ("POST", blob.as_str(), "GET, HEAD, PUT"),
        ("DELETE", &blob, "GET, HEAD, PUT"),
        ("PROPFIND", &blob, "GET, HEAD, PUT"),
        ("OPTIONS", &action, "GET, HEAD, PUT, DELETE"),
        ("MKCOL", &action, "GET, HEAD, PUT, DELETE"),
        ("MOVE", "/webdav/x", "GET, HEAD, PUT, DELETE, PROPFIND"),
        ("LOCK", "/webdav/x", "GET, HEAD, PUT, DELETE, PROPFIND"),
        ("GET", "/webdav/x/", "PROPFIND, MKCOL"),
        ("DELETE", "/webdav/", "PROPFIND, MKCOL"),
        ("OPTIONS", "/webdav/", "PROPFIND, MKCOL"),
    ] {
        let answer = ask(server.tcp, method, path, &[], b"").await;
        assert_eq!((answer.status, answer.header("allow")), (405, allowed), "{method} {path}");
    }
}

/// PROTOCOL 89, bad input: bytes with another SHA-256 are refused in words, and nothing of them is kept.
#[tokio::test]
async fn wrong_bytes_are_not_kept() {
    let server = TestServer::start().await;
    for wrong in [&b"wrong"[..], b"", &noise(5, 1 << 20)] {
        let answer = put(server.tcp, &cas(b"right"), wrong).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains(&sha(wrong).to_string()), "it is said what came: {}", answer.text());
        assert!(!server.has(sha(b"right")).await);
    }
    assert!(!server.has(sha(&noise(5, 1 << 20))).await, "not under its own name either");
    assert_eq!(server.staged_files(), 0);
    // With no length at all the body is empty.
    let mut wire = Wire::connect(server.tcp).await;
    wire.send(format!("PUT {} HTTP/1.1\r\nHost: localhost\r\n\r\n", cas(b"right")).as_bytes()).await;
    assert_eq!(wire.answer("PUT").await.status, 400);
    let packed = ask(server.tcp, "PUT", &ac("", b"x"), &[("Content-Encoding", "zstd")], b"packed").await;
    assert_eq!((packed.status, get(server.tcp, &ac("", b"x")).await.status), (415, 404));
}

/// PROTOCOL 89, bad input: a connection that is cut in the middle of a body leaves nothing.
#[tokio::test]
async fn a_cut_upload_leaves_nothing() {
    let server = TestServer::start().await;
    let content = noise(6, 2 << 20);
    put(server.tcp, &ac("", b"key"), b"old").await;
    for path in [cas(&content), ac("", b"key"), "/webdav/file".to_owned()] {
        for head in ["Content-Length: 2097152\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n100000\r\n"] {
            let mut wire = Wire::connect(server.tcp).await;
            wire.send(format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\n{head}").as_bytes()).await;
            wire.send(&content[..1 << 20]).await;
            until("a half of a body waits", async || server.staged_files() > 0).await;
            drop(wire);
            until("it is thrown away", async || server.staged_files() == 0).await;
        }
    }
    assert!(!server.has(sha(&content)).await && !server.has(sha(&content[..1 << 20])).await);
    assert_eq!(get(server.tcp, "/webdav/file").await.status, 404);
    assert_eq!(get(server.tcp, &ac("", b"key")).await.body, b"old", "what the name meant before");
}

/// PROTOCOL 89, bad input: paths that mean something elsewhere mean nothing here.
#[tokio::test]
async fn malformed_paths_and_headers_are_refused() {
    let server = TestServer::start().await;
    let hash = sha(b"x").hash_text();
    let upper = format!("/cas/{}", hash.to_uppercase());
    let encoded = format!("/cas/%2e%2e/ac/{hash}");
    let dots = format!("/../cas/{hash}");
    let long = format!("/{}/ac/{hash}", "x".repeat(20_000));
    for (path, status) in [
        ("/cas/abc", 400),
        (&upper, 400),
        (&encoded, 400),
        (&dots, 400),
        ("/x%00/cas/x", 400),
        ("/webdav/../format", 400),
        (&long, 414),
        ("/", 404),
        ("/status", 404),
        ("/cas/", 404),
    ] {
        for method in ["GET", "PUT"] {
            let answer = ask(server.tcp, method, path, &[], b"x").await;
            assert_eq!(answer.status, status, "{method} {}", &path[..path.len().min(100)]);
        }
    }
    // These are refused below us, and others are served afterwards.
    let many = "X-Many: 1\r\n".repeat(10_000);
    for (bytes, statuses) in [
        (format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(100 << 10)), [414, 431]),
        ("GET /cas/\0 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), [400, 400]),
        (format!("GET /cas/{hash} HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), [431, 400]),
        (format!("PUT /cas/{hash} HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n"), [400, 400]),
        ("NONSENSE\r\n\r\n".to_owned(), [400, 400]),
    ] {
        let mut wire = Wire::connect(server.tcp).await;
        // The server may have heard enough before all is sent.
        let _ = wire.stream.write_all(bytes.as_bytes()).await;
        let status = wire.head().await.status;
        assert!(statuses.contains(&status), "{status} for {}", &bytes[..60]);
    }
    assert_eq!(put(server.tcp, &cas(b"x"), b"x").await.status, 200);
    assert_eq!(server.staged_files(), 0);
}

/// PROTOCOL 89, bad input: a reader that takes nothing costs a window and no more, and others are served.
#[tokio::test]
async fn a_slow_reader_holds_up_nobody() {
    let server = TestServer::start().await;
    let content = noise(7, 64 << 20);
    server.put(content.clone()).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut wire = Wire::connect(server.tcp).await;
        wire.send(format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", cas(&content)).as_bytes()).await;
        assert_eq!(wire.head().await.status, 200);
        slow.push(wire);
    }
    assert_eq!(put(server.tcp, &cas(b"x"), b"x").await.status, 200);
    assert_eq!(get(server.tcp, &cas(&content)).await.body, content);
    // In its own time one of them gets the whole blob all the same.
    let mut body = vec![0; content.len()];
    slow[0].stream.read_exact(&mut body).await.unwrap();
    assert!(body == content);
}

/// PROTOCOL 89, bad input: web pages in this user's browser are this user to the kernel, and are kept out.
#[tokio::test]
async fn web_pages_are_kept_out() {
    let server = TestServer::start().await;
    let path = ac("", b"key");
    for header in [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")] {
        assert_eq!(ask(server.tcp, "PUT", &path, &[header], b"poison").await.status, 403, "{header:?}");
    }
    let mut wire = Wire::connect(server.tcp).await;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: evil.example:50051\r\n\r\n").as_bytes()).await;
    assert_eq!(wire.answer("GET").await.status, 403, "DNS rebinding");
    // Browsers speak HTTP/1 to a port without TLS: that never reaches gRPC.
    let execute = "/build.bazel.remote.execution.v2.Execution/Execute";
    for kind in ["application/grpc", "application/grpc-web", "application/grpc+proto"] {
        let answer = ask(server.tcp, "POST", execute, &[("Content-Type", kind)], b"\0\0\0\0\0").await;
        assert_eq!(answer.status, 505, "{kind}");
    }
    assert_eq!(ask(server.tcp, "POST", execute, &[], b"").await.status, 404);
}

/// PROTOCOL 89: who is not this user needs the token, as a password or as a bearer.
#[tokio::test]
async fn strangers_need_the_token() {
    let me = rustix::process::geteuid().as_raw();
    let server = TestServer::behind(Porch::of(me + 1, Some(common::TOKEN))).await;
    let with =
        async |value: &str| -> Answer { ask(server.tcp, "GET", &cas(b""), &[("Authorization", value)], b"").await };
    let refused = get(server.tcp, &cas(b"")).await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Basic realm=\"lre\""));
    assert!(refused.text().contains("hint:"), "{}", refused.text());
    assert_eq!(put(server.tcp, &ac("", b"k"), b"v").await.status, 401);
    // `lre:token-of-the-test`
    assert_eq!(with("Basic bHJlOnRva2VuLW9mLXRoZS10ZXN0").await.status, 200);
    assert_eq!(with(&format!("Bearer {}", common::TOKEN)).await.status, 200);
    assert_eq!(with("Basic bHJlOndyb25n").await.status, 401);
    assert_eq!(with("Bearer wrong").await.status, 401);
}

/// PROTOCOL 89, bad input: a client with another digest function is told that /cas is SHA-256.
#[tokio::test]
async fn blake3_is_not_spoken_here_and_is_said_to_be() {
    let server = TestServer::start().await;
    let digest = Digest::of(DigestFunction::Blake3, b"content");
    let answer = put(server.tcp, &format!("/cas/{}", digest.hash_text()), b"content").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("SHA-256"), "{}", answer.text());
}

/// PROTOCOL 89, bad input: whatever is sent, in whatever pieces, the server goes on, and stores nothing of it.
#[tokio::test]
async fn noise_is_survived() {
    let server = TestServer::start().await;
    let hash = sha(b"x").hash_text();
    let parts = [
        "GET ",
        "PUT ",
        "PROPFIND ",
        "HEAD ",
        "/cas/",
        "/ac/",
        "/webdav/",
        "..",
        "%2e",
        "//",
        " HTTP/1.1",
        " HTTP/1.0",
        " HTTP/2",
        "\r\n",
        "\r\n\r\n",
        "Host: localhost",
        "Host: [::1",
        "Host:",
        "Content-Length: 5",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "Range: bytes=1-",
        "Authorization: Basic ====",
        "User-Agent: bazel/",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "\0",
        "\u{ff}",
        &hash,
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "Upgrade: h2c",
        "Connection: upgrade",
    ];
    for round in 0..300 {
        let choices = noise(round, 24);
        let text: String = choices.iter().map(|choice| parts[usize::from(*choice) % parts.len()]).collect();
        let mut wire = Wire::connect(server.tcp).await;
        // Who is refused early need not be let to finish.
        let _ = wire.stream.write_all(text.as_bytes()).await;
        let _ = wire.stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(common::PATIENCE, wire.stream.read_to_end(&mut answer))
            .await
            .expect("an answer, or an end");
    }
    assert_eq!(server.staged_files(), 0);
    assert_eq!(put(server.tcp, &cas(b"x"), b"x").await.status, 200);
    assert_eq!(server.read(&format!("blobs/{}", sha(b"x")), 0, 0).await.unwrap(), b"x", "gRPC too");
}

/// PROTOCOL 89, bad input: hundreds of connections at once are all served, and so is gRPC meanwhile.
#[tokio::test]
async fn hundreds_of_connections_are_served() {
    let server = TestServer::start().await;
    let address = server.tcp;
    let clients = (0..200_u32).map(|n| async move {
        let body = n.to_le_bytes();
        let path = cas(&body);
        let mut wire = Wire::connect(address).await;
        let put = wire.ask("PUT", &path, &[], &body).await.status;
        (put, wire.ask("GET", &path, &[], b"").await.body == body)
    });
    let answers = futures::future::join_all(clients).await;
    assert!(answers.iter().all(|answer| *answer == (200, true)), "{answers:?}");
    let last = sha(&199_u32.to_le_bytes());
    assert!(server.read(&format!("blobs/{last}"), 0, 0).await.is_ok());
}

/// PROTOCOL 89: a server that is told to stop waits neither for connections that stay nor for ever for bodies that do not come,
/// and keeps nothing of them.
#[tokio::test]
async fn a_stopping_server_ends_its_connections() {
    let mut server = TestServer::start().await;
    let mut idle = Wire::connect(server.tcp).await;
    assert_eq!(idle.ask("GET", &cas(b""), &[], b"").await.status, 200);
    let mut half = Wire::connect(server.tcp).await;
    let path = ac("", b"half");
    half.send(format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n").as_bytes()).await;
    half.send(&noise(8, 290_000)).await;
    until("a half of a body waits", async || server.staged_files() > 0).await;
    server.stop.cancel();
    let served = tokio::time::timeout(common::PATIENCE, &mut server.served).await;
    served.expect("it ends").unwrap().unwrap();
    assert_eq!(idle.stream.read(&mut [0; 1]).await.unwrap(), 0, "closed");
    until("nothing is left", async || server.staged_files() == 0).await;
}

/// PROTOCOL 89, 8: the same over the Unix socket, and over HTTP/2 on a connection that gRPC is on.
#[tokio::test]
async fn every_listener_and_version_gives_the_same_answers() {
    let server = TestServer::start().await;
    server.put(&b"everywhere"[..]).await;
    let path = cas(b"everywhere");
    let mut unix = tokio::net::UnixStream::connect(&server.socket).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    unix.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    unix.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\neverywhere"), "{answer}");

    let mut http2 = server.channel.clone();
    let ask = async |http2: &mut tonic::transport::Channel, method: &str, path: &str| {
        let uri = format!("http://{}{path}", server.tcp);
        let request = ::http::Request::builder().method(method).uri(uri).body(tonic::body::Body::empty()).unwrap();
        std::future::poll_fn(|cx| http2.poll_ready(cx)).await.unwrap();
        let (head, body) = http2.call(request).await.unwrap().into_parts();
        (head.status.as_u16(), body.collect().await.unwrap().to_bytes())
    };
    assert_eq!(ask(&mut http2, "GET", &path).await, (200, "everywhere".into()));
    assert_eq!(ask(&mut http2, "HEAD", &path).await, (200, "".into()));
    assert_eq!(ask(&mut http2, "GET", "/ac/x").await.0, 400);
    assert!(
        server.capabilities().get_capabilities(re::GetCapabilitiesRequest::default()).await.is_ok(),
        "gRPC as well"
    );
}
