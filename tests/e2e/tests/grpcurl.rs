//! grpcurl against `lre serve`: everything can be listed, described and called with nothing but the address.
use lre_e2e::buildbox::grpcurl;
use lre_e2e::serve::{Home, Serve, said};
use serde_json::Value;
use std::process::{Command, Output};

const CAPABILITIES: &str = "build.bazel.remote.execution.v2.Capabilities";

fn call(server: &Serve, arguments: &[&str]) -> Output {
    let mut command = Command::new(grpcurl().unwrap());
    // The address goes before the verb, and flags before the address.
    let (verbs, flags): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|word| !word.starts_with(['-', '{']));
    command.arg("-plaintext").args(flags).arg(server.tcp().to_string()).args(verbs).output().unwrap()
}

/// PROTOCOL 6, 9, 10, 11: reflection lists the services, describes them, and lets a tool that knows no API call one.
#[test]
fn reflection_is_enough_to_call_anything() {
    let home = Home::new().unwrap();
    let server = home.serve().unwrap();
    let listed = said(&call(&server, &["list"]));
    for service in [
        CAPABILITIES,
        "build.bazel.remote.execution.v2.ActionCache",
        "build.bazel.remote.execution.v2.ContentAddressableStorage",
        "build.bazel.remote.execution.v2.Execution",
        "google.bytestream.ByteStream",
        "google.longrunning.Operations",
        "grpc.health.v1.Health",
    ] {
        assert!(listed.lines().any(|line| line == service), "{service}: {listed}");
    }
    for service in listed.lines() {
        let described = call(&server, &["describe", service]);
        assert!(said(&described).contains("is a service"), "{service}: {}", said(&described));
    }
    let answer = call(&server, &[&format!("{CAPABILITIES}/GetCapabilities")]);
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["executionCapabilities"]["execEnabled"], true, "{answer}");
    assert_eq!(answer["highApiVersion"]["major"], 2, "{answer}");
    let health = call(&server, &["grpc.health.v1.Health/Check"]);
    assert!(said(&health).contains("SERVING"), "{}", said(&health));
}

/// PROTOCOL 8: through the Unix socket, though grpcurl gives its path as the host.
#[test]
fn the_unix_socket_takes_grpcurl() {
    let home = Home::new().unwrap();
    let _server = home.serve().unwrap();
    let listed = Command::new(grpcurl().unwrap()).args(["-plaintext", "-unix"]).arg(home.socket()).arg("list").output();
    let listed = listed.unwrap();
    assert!(said(&listed).contains(CAPABILITIES), "{}", said(&listed));
}

/// PROTOCOL 21, 51, bad input: an error comes with its code, what is wrong, and details that are readable, since reflection
/// describes them too.
#[test]
fn errors_are_readable() {
    let home = Home::new().unwrap();
    let server = home.serve().unwrap();
    let nobodys = "0".repeat(64);
    let request = format!("-d={{\"action_digest\": {{\"hash\": \"{nobodys}\", \"size_bytes\": 5}}}}");
    let missing = said(&call(&server, &[&request, "build.bazel.remote.execution.v2.Execution/Execute"]));
    assert!(missing.contains("Code: FailedPrecondition"), "{missing}");
    assert!(missing.contains(&format!("Message: the blob {nobodys}/5 is missing")), "{missing}");
    assert!(missing.contains("\"type\":\"MISSING\""), "{missing}");
    assert!(missing.contains(&format!("\"subject\":\"blobs/{nobodys}/5\"")), "{missing}");

    let request = "-d={\"action_digest\": {\"hash\": \"../../etc/passwd\", \"size_bytes\": 5}}";
    let malformed = said(&call(&server, &[request, "build.bazel.remote.execution.v2.ActionCache/GetActionResult"]));
    assert!(malformed.contains("Code: InvalidArgument"), "{malformed}");
    assert!(malformed.contains("64 lower-case hexadecimal digits"), "{malformed}");
    assert!(malformed.contains("\"field\":\"action_digest\""), "{malformed}");
}
