//! Against a real server on this machine that fails in the ways that servers fail.
use super::server::{Reply, Server};
use super::*;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

const BODY: &[u8] = &[b'x'; 300_000];

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn http(&self) -> Http {
        Http::new(&Access::at(self.dir.path()), Arc::new(())).without_pauses()
    }

    fn kept(&self) -> Vec<String> {
        let Ok(files) = fs::read_dir(self.dir.path().join("downloads")) else { return Vec::new() };
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn pinned() -> Expected {
    Sha256::of(BODY).into()
}

#[test]
fn what_is_fetched_is_kept_by_its_digest() {
    let (world, server) = (World::new(), Server::new(|_| Reply::of(200, BODY)));
    let (url, http) = (server.url("/a.tar"), world.http());
    let first = http.fetch(&url, Expected::default()).unwrap();
    assert_eq!((first.sha256, fs::read(&first.path).unwrap()), (Sha256::of(BODY), BODY.to_vec()));
    assert_eq!(http.done.load(Ordering::Relaxed), BODY.len() as u64);
    // Pinned, it is not fetched again, not even without a network.
    http.fetch(&url, pinned()).unwrap();
    let offline = Http::new(&Access { offline: true, ..Access::at(world.dir.path()) }, Arc::new(()));
    offline.fetch(&url, pinned()).unwrap();
    assert_eq!(server.asked().len(), 1);
    // Torn by a crash, it is.
    fs::write(&first.path, "torn").unwrap();
    http.fetch(&url, pinned()).unwrap();
    assert_eq!(server.asked().len(), 2);
    assert_eq!(world.kept(), [Sha256::of(BODY).to_string()]);
    first.forget();
    assert!(world.kept().is_empty());
    let refused = offline.fetch(&url, pinned()).unwrap_err().to_string();
    assert!(refused.contains("--offline") && refused.contains("/a.tar"), "{refused}");
}

#[test]
fn another_digest_is_an_error_with_both() {
    let (world, server) = (World::new(), Server::new(|_| Reply::of(200, "other")));
    let refused = world.http().fetch(&server.url("/a"), pinned()).unwrap_err().to_string();
    assert!(refused.contains(&Sha256::of(b"other").to_string()), "{refused}");
    assert!(refused.contains(&Sha256::of(BODY).to_string()), "{refused}");
    assert!(world.kept().is_empty());
    let larger = Expected { size: Some(4), ..pinned() };
    let refused = world.http().fetch(&server.url("/a"), larger).unwrap_err().to_string();
    assert!(refused.contains("larger than 4 bytes"), "{refused}");
}

#[test]
fn what_is_cut_off_goes_on_where_it_was() {
    let world = World::new();
    let server = Server::new(|asked| {
        let reply = Reply::ranged(asked, BODY);
        let cut = reply.body.len().min(100_000);
        reply.cut(cut)
    });
    world.http().fetch(&server.url("/a"), pinned()).unwrap();
    let ranges: Vec<_> = server.asked().iter().map(|asked| asked.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".to_owned()), Some("bytes=200000-".to_owned())]);
}

#[test]
fn another_process_goes_on_and_a_wrong_part_is_thrown_away() {
    let (world, server) = (World::new(), Server::new(|asked| Reply::ranged(asked, BODY)));
    let part = world.dir.path().join(format!("downloads/{}.part", Sha256::of(BODY)));
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    for (there, expected) in [
        (&BODY[..7], vec![Some("bytes=7-")]),
        (BODY, vec![]),
        (b"wrong", vec![Some("bytes=5-"), None]),
        (&[b'y'; 400_000], vec![Some("bytes=400000-"), None]),
    ] {
        let before = server.asked().len();
        fs::write(&part, there).unwrap();
        world.http().fetch(&server.url("/a"), pinned()).unwrap().forget();
        let asked = server.asked();
        let ranges: Vec<_> = asked[before..].iter().map(|asked| asked.header("range")).collect();
        assert_eq!(ranges, expected);
    }
}

#[test]
fn a_server_without_parts_sends_all_again_and_what_never_ends_is_given_up() {
    let times = Mutex::new(0);
    let server = Server::new(move |_| {
        *times.lock().unwrap() += 1;
        if *times.lock().unwrap() == 1 { Reply::of(200, BODY).cut(10) } else { Reply::of(200, BODY) }
    });
    World::new().http().fetch(&server.url("/a"), pinned()).unwrap();
    assert_eq!(server.asked().len(), 2);
    let server = Server::new(|_| Reply::of(200, BODY).cut(0));
    let refused = World::new().http().fetch(&server.url("/a"), pinned()).unwrap_err().to_string();
    assert!(refused.contains("cannot fetch") && server.asked().len() == 3, "{refused}");
}

#[test]
fn what_may_pass_is_tried_again_and_what_is_refused_is_not() {
    let times = Mutex::new(0);
    let server = Server::new(move |_| {
        *times.lock().unwrap() += 1;
        if *times.lock().unwrap() < 3 { Reply::of(503, "") } else { Reply::of(200, "small") }
    });
    let (world, url) = (World::new(), server.url("/a"));
    let got = world.http().get_bytes(Request::new(&url, Trust::Connection), 10).unwrap();
    assert_eq!((got, server.asked().len()), (Some(b"small".to_vec()), 3));
    for (status, asked) in [(403, 1), (500, 3)] {
        let server = Server::new(move |_| Reply::of(status, ""));
        let refused = world.http().get_bytes(Request::new(&server.url("/a"), Trust::Connection), 10).unwrap_err();
        assert!(refused.to_string().contains(&status.to_string()), "{refused}");
        assert_eq!(server.asked().len(), asked);
    }
    let server = Server::new(|_| Reply::of(404, ""));
    assert_eq!(world.http().get_bytes(Request::new(&server.url("/a"), Trust::Connection), 10).unwrap(), None);
    let server = Server::new(|_| Reply::of(200, BODY));
    let refused = world.http().get_bytes(Request::new(&server.url("/a"), Trust::Connection), 10).unwrap_err();
    assert!(refused.to_string().contains("longer than 10 bytes"), "{refused}");
}

#[test]
fn redirections_are_followed_without_secrets_to_other_hosts() {
    let other = Server::new(|_| Reply::of(200, "there"));
    let elsewhere = other.url("/there?signature=1");
    let server = Server::new(move |asked| match &*asked.path {
        "/away" => Reply::of(307, "").with("location", &elsewhere),
        "/near" => Reply::of(302, "").with("location", "a/here"),
        "/a/here" => Reply::of(200, "here"),
        _ => Reply::of(301, "").with("location", "/loop"),
    });
    let http = World::new().http();
    let headers = [("authorization", "Bearer secret"), ("accept", "text/plain")];
    let get = |path: &str| {
        let url = server.url(path);
        let request = Request { headers: &headers, ..Request::new(&url, Trust::Connection) };
        http.get_bytes(request, 100)
    };
    assert_eq!(get("/near").unwrap().unwrap(), b"here");
    assert!(server.asked().iter().all(|asked| asked.header("authorization") == Some("Bearer secret")));
    assert_eq!(get("/away").unwrap().unwrap(), b"there");
    let asked = other.asked();
    assert_eq!((asked[0].header("authorization"), asked[0].header("accept")), (None, Some("text/plain")));
    assert!(get("/loop").unwrap_err().to_string().contains("redirections"));
}

#[test]
fn addresses_that_are_not_believed() {
    let http = World::new().http();
    for (url, problem) in [
        ("http://example.invalid/a", "http://"),
        ("ftp://example.invalid/a", "not an address"),
        ("/a", "not an address"),
        ("", "not an address"),
    ] {
        let refused = http.fetch(url, Expected::default()).unwrap_err().to_string();
        assert!(refused.contains(problem), "{refused}");
    }
    // An https server that sends us to http is not followed where nobody checks.
    let away = allowed(&"http://example.invalid/".parse().unwrap(), Trust::Connection);
    assert!(matches!(away, Err(Failure::Final(_))));
    for (uri, ours) in [
        ("http://127.9.9.9/", true),
        ("http://[::1]:80/", true),
        ("http://localhost/", true),
        ("http://128.0.0.1/", false),
    ] {
        assert_eq!(is_loopback(&uri.parse().unwrap()), ours, "{uri}");
    }
    assert_eq!(without_secrets("https://me:pw@host:1/a/b?sig=1#x"), "https://host:1/a/b");
}

#[test]
fn nobody_there_is_told_with_the_address() {
    let address = Server::new(|_| Reply::of(200, "")).url("/gone");
    let refused = World::new().http().fetch(&address, Expected::default()).unwrap_err().to_string();
    assert!(refused.contains(&address), "{refused}");
}

#[test]
fn several_at_a_time_fetch_one_file_once() {
    let (world, server) = (World::new(), Server::new(|asked| Reply::ranged(asked, BODY)));
    let url = server.url("/a");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| world.http().fetch(&url, pinned()).unwrap());
        }
    });
    assert_eq!((server.asked().len(), world.kept().len()), (1, 1));
}

/// Real certificates of this machine are read, and a server that shows none is refused as one.
#[test]
fn what_speaks_no_tls_is_refused() {
    let server = Server::new(|_| Reply::of(200, ""));
    let url = server.url("/a").replace("http:", "https:");
    assert!(World::new().http().fetch(&url, Expected::default()).is_err());
}
