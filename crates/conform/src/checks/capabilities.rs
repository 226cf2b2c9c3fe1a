//! A and B: transport, and what the server says of itself.
use crate::check::checks;
use crate::probe::Probe;
use crate::stream::{CHUNK, Form};
use crate::verdict::{Verdict, ensure, fail, said, same, same_bytes, skip, works};
use lre_model::DigestFunction;
use lre_proto::bytestream::byte_stream_client::ByteStreamClient;
use lre_proto::re::{self, capabilities_client::CapabilitiesClient};
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::{v1, v1alpha};

checks! {
    Should 1 "an instance that is not served is told so, and nothing breaks" other_instance;
    Must 1 "names carry the instance in front, and no slash where it is empty" names_with_instance;
    May 3 "malformed RequestMetadata does not make a call fail" malformed_metadata;
    May 3 "RequestMetadata is taken with what every client sends" usual_metadata;
    May 4 "the resource-name header changes nothing" resource_name_header;
    Must 5 "a batch of the size that is told goes through" batch_of_the_told_size;
    Should 5 "the told size of a batch fits into the 4 MiB that clients take" batch_below_a_message;
    Must 5 "a blob of 5 MiB is read in messages that clients take" large_reads;
    Should 6 "grpc.health.v1 says SERVING" health;
    Should 6 "server reflection lists the services" reflection;
    Should 7 "a client that pings often is not punished" pings;
    Must 9 "GetCapabilities tells of a cache" tells_a_cache;
    Should 9 "GetCapabilities tells of execution" tells_execution;
    Must 10 "version 2.0 is among those that are told" versions;
    May 10 "version 2.3 is among those that are told" newest_version;
    Must 11 "digest functions are told, and none of them is UNKNOWN" digest_functions;
    Must 11 "the executor's digest functions contain the one it names" executor_functions;
    Must 12 "whether results can be updated is told as it is" update_enabled;
    Should 13 "the strategy for absolute symlinks is told" symlinks_told;
    Should 14 "zstd is told for streams" zstd_told;
    May 14 "zstd is told for batches" zstd_batches_told;
    Should 15 "priorities of the cache are ranges" cache_priorities;
    Should 15 "priorities of execution are ranges with the default in them" execution_priorities;
    Should 16 "node properties are told once each, and are names of node properties" node_properties;
    May 17 "a blob above the told size is refused" too_large;
    May 18 "the parameters of FastCDC are within those of the API" cdc_parameters;
    Should 19 "a deprecated version is below the lowest that is told" deprecated;
}

async fn other_instance(probe: &Probe) -> Verdict {
    let request = re::GetCapabilitiesRequest { instance_name: "no/such-instance".to_owned() };
    let answer = CapabilitiesClient::new(probe.wire()).get_capabilities(request).await;
    match answer {
        Err(status) if matches!(status.code(), Code::Unknown | Code::Internal | Code::Unavailable | Code::DataLoss) => {
            fail(format!("expected OK or a refusal such as NotFound, got {}", said(&status)))
        }
        _ => Ok(()),
    }
}

async fn names_with_instance(probe: &Probe) -> Verdict {
    let content = probe.noise(100);
    let digest = probe.stream_in(Form::Plain, &content).await?;
    let read = works("ByteStream.Read", probe.read(Form::Plain, digest).await)?;
    same_bytes("what was read", &content, &read)
}

const METADATA: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";

async fn with_metadata(probe: &Probe, bytes: &[u8]) -> Verdict {
    let mut request = Request::new(re::FindMissingBlobsRequest {
        instance_name: probe.instance().to_owned(),
        blob_digests: vec![probe.digest(b"").to_wire()],
        ..Default::default()
    });
    request.metadata_mut().insert_bin(METADATA, MetadataValue::from_bytes(bytes));
    works("FindMissingBlobs", probe.cas().find_missing_blobs(request).await).map(drop)
}

async fn malformed_metadata(probe: &Probe) -> Verdict {
    with_metadata(probe, b"\xff\xff no message").await
}

async fn usual_metadata(probe: &Probe) -> Verdict {
    let metadata = re::RequestMetadata {
        tool_details: Some(re::ToolDetails { tool_name: "conform".to_owned(), tool_version: "1".to_owned() }),
        action_id: probe.word(),
        tool_invocation_id: probe.upload(),
        correlated_invocations_id: probe.upload(),
        action_mnemonic: "Check".to_owned(),
        target_id: "//a:b".to_owned(),
        ..Default::default()
    };
    with_metadata(probe, &prost::Message::encode_to_vec(&metadata)).await
}

async fn resource_name_header(probe: &Probe) -> Verdict {
    let content = probe.noise(10);
    let digest = probe.put(content.clone()).await?;
    let name = probe.read_name(Form::Plain, digest);
    let header = name.parse().map_err(|_| crate::verdict::Stop::Skip("the name is no header".to_owned()))?;
    let message = lre_proto::bytestream::ReadRequest { resource_name: name, read_offset: 0, read_limit: 0 };
    let mut request = Request::new(message);
    request.metadata_mut().insert("build.bazel.remote.execution.v2.resource-name", header);
    let mut stream = works("ByteStream.Read", probe.bytes().read(request).await)?.into_inner();
    let first = works("ByteStream.Read", stream.message().await)?.unwrap_or_default();
    same_bytes("the first message", &content, &first.data)
}

/// Bytes of a batch besides the contents: digests and tags.
const ENVELOPE: usize = 4096;

async fn batch_of_the_told_size(probe: &Probe) -> Verdict {
    let told = match probe.cache()?.max_batch_total_size_bytes {
        // No limit of its own: then the size of a message is one.
        0 => 4 << 20,
        told => usize::try_from(told).unwrap_or(0).min(4 << 20),
    };
    ensure!(told > ENVELOPE, "max_batch_total_size_bytes is {told}: nothing fits");
    let contents = [probe.noise((told - ENVELOPE) / 2), probe.noise((told - ENVELOPE) / 2)];
    let digests = [probe.digest(&contents[0]), probe.digest(&contents[1])];
    let blobs = contents.map(|content| (probe.digest(&content).to_wire(), re::compressor::Value::Identity, content));
    for response in works("BatchUpdateBlobs of the told size", probe.batch(blobs, DigestFunction::Sha256).await)? {
        let code = crate::verdict::code(response.status.as_ref());
        same("the status of a blob", &Code::Ok, &code)?;
    }
    same("missing afterwards", &0, &works("FindMissingBlobs", probe.missing(&digests).await)?.len())
}

async fn batch_below_a_message(probe: &Probe) -> Verdict {
    let told = probe.cache()?.max_batch_total_size_bytes;
    let fits = (0..4 << 20).contains(&told);
    ensure!(fits, "max_batch_total_size_bytes is {told}: a batch of it does not fit into a message of 4 MiB");
    Ok(())
}

async fn large_reads(probe: &Probe) -> Verdict {
    let content = probe.noise(5 << 20);
    let digest = probe.stream_in(Form::Plain, &content).await?;
    // A longer message than 4 MiB fails here.
    let read = works("ByteStream.Read of 5 MiB", probe.read(Form::Plain, digest).await)?;
    ensure!(read == content, "other bytes came back");
    Ok(())
}

async fn health(probe: &Probe) -> Verdict {
    let answer = HealthClient::new(probe.wire()).check(HealthCheckRequest::default()).await;
    let answer = works("grpc.health.v1.Health.Check", answer)?.into_inner();
    same("health", &ServingStatus::Serving, &answer.status())
}

async fn reflection(probe: &Probe) -> Verdict {
    let names = match services_v1(probe).await {
        Err(_) => works("server reflection", services_v1alpha(probe).await)?,
        Ok(names) => names,
    };
    let name = "build.bazel.remote.execution.v2.Capabilities";
    ensure!(names.iter().any(|listed| listed == name), "{name} is not among {names:?}");
    Ok(())
}

async fn services_v1(probe: &Probe) -> Result<Vec<String>, tonic::Status> {
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let question = MessageRequest::ListServices(String::new());
    let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(probe.wire());
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await?.into_inner();
    Ok(match answers.message().await?.and_then(|answer| answer.message_response) {
        Some(MessageResponse::ListServicesResponse(list)) => list.service.into_iter().map(|one| one.name).collect(),
        _ => Vec::new(),
    })
}

async fn services_v1alpha(probe: &Probe) -> Result<Vec<String>, tonic::Status> {
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;
    let question = MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(probe.wire());
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await?.into_inner();
    Ok(match answers.message().await?.and_then(|answer| answer.message_response) {
        Some(MessageResponse::ListServicesResponse(list)) => list.service.into_iter().map(|one| one.name).collect(),
        _ => Vec::new(),
    })
}

async fn pings(probe: &Probe) -> Verdict {
    /// How often, and for how long.
    const EVERY: Duration = Duration::from_millis(100);
    const FOR: Duration = Duration::from_secs(2);
    let often =
        |endpoint: tonic::transport::Endpoint| endpoint.http2_keep_alive_interval(EVERY).keep_alive_while_idle(true);
    let channel = match probe.target().connect(often).await {
        Ok(channel) => channel,
        Err(error) => return fail(error),
    };
    let headers = probe.target().headers.clone();
    // A stream that is open all the time: a connection that is cut takes it along, and a new one would hide that.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let content = probe.noise(2 * CHUNK);
    let name = probe.write_name(&probe.upload(), Form::Plain, probe.digest(&content));
    let mut messages = crate::stream::messages(&name, &content, 0).into_iter();
    let wire = tonic::service::interceptor::InterceptedService::new(channel, headers);
    let mut client = ByteStreamClient::new(wire);
    let write = client.write(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let feed = async {
        for message in messages.by_ref().take(1) {
            let _ = sender.send(message).await;
        }
        tokio::time::sleep(FOR).await;
        for message in messages {
            let _ = sender.send(message).await;
        }
        drop(sender);
    };
    let (answer, ()) = tokio::join!(write, feed);
    works("a stream of two seconds with 20 pings", answer).map(drop)
}

async fn tells_a_cache(probe: &Probe) -> Verdict {
    ensure!(probe.capabilities().cache_capabilities.is_some(), "no cache_capabilities");
    Ok(())
}

async fn tells_execution(probe: &Probe) -> Verdict {
    let told = probe.capabilities().execution_capabilities.as_ref();
    ensure!(told.is_some_and(|told| told.exec_enabled), "no execution_capabilities with exec_enabled");
    Ok(())
}

async fn versions(probe: &Probe) -> Verdict {
    let told = probe.capabilities();
    let version = |version: &Option<lre_proto::semver::SemVer>| version.as_ref().map(|v| (v.major, v.minor));
    let (low, high) = (version(&told.low_api_version), version(&told.high_api_version));
    let within = low.is_some_and(|low| low <= (2, 0)) && high.is_some_and(|high| high >= (2, 0));
    ensure!(within, "from {low:?} to {high:?}: Bazel stops at a server that does not speak 2.0");
    Ok(())
}

async fn newest_version(probe: &Probe) -> Verdict {
    let high = probe.capabilities().high_api_version.as_ref().map(|v| (v.major, v.minor));
    ensure!(high >= Some((2, 3)), "high_api_version is {high:?}: clients do without what came with 2.3");
    Ok(())
}

async fn digest_functions(probe: &Probe) -> Verdict {
    let told = &probe.cache()?.digest_functions;
    ensure!(!told.is_empty(), "digest_functions is empty");
    ensure!(!told.contains(&0), "UNKNOWN is among {told:?}");
    ensure!(
        told.contains(&DigestFunction::Sha256.to_wire()),
        "SHA256, which every client speaks, is not among {told:?}"
    );
    Ok(())
}

async fn executor_functions(probe: &Probe) -> Verdict {
    let told = probe.told_execution()?;
    ensure!(told.digest_function != 0, "digest_function is UNKNOWN");
    let all = &told.digest_functions;
    ensure!(all.is_empty() || all.contains(&told.digest_function), "{} is not among {all:?}", told.digest_function);
    Ok(())
}

async fn update_enabled(probe: &Probe) -> Verdict {
    let told = probe.cache()?.action_cache_update_capabilities.as_ref().is_some_and(|told| told.update_enabled);
    let action = probe.put(probe.noise(30)).await?;
    let result = re::ActionResult { stdout_raw: b"told".to_vec(), ..Default::default() };
    match (told, probe.update(action, &result).await) {
        (true, Ok(_)) | (false, Err(_)) => Ok(()),
        // Bytes that are no Action may be refused for that.
        (true, Err(status)) if matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition) => Ok(()),
        (true, Err(status)) => fail(format!("update_enabled is told, and an update is answered {}", said(&status))),
        (false, Ok(_)) => fail("update_enabled is not told, and an update works: clients that could write will not"),
    }
}

async fn symlinks_told(probe: &Probe) -> Verdict {
    let told = probe.cache()?.symlink_absolute_path_strategy;
    ensure!(told != 0, "symlink_absolute_path_strategy is UNKNOWN");
    Ok(())
}

async fn zstd_told(probe: &Probe) -> Verdict {
    probe.zstd_streams().or_else(|_| fail("zstd is not told: Bazel with --remote_cache_compression fails the build"))
}

async fn zstd_batches_told(probe: &Probe) -> Verdict {
    probe.zstd_batches().or_else(|_| fail("zstd is not among supported_batch_update_compressors"))
}

fn ranges(told: Option<&re::PriorityCapabilities>) -> Verdict<Vec<std::ops::RangeInclusive<i32>>> {
    let Some(told) = told else { return skip("no priorities are told") };
    let ranges: Vec<_> = told.priorities.iter().map(|range| range.min_priority..=range.max_priority).collect();
    ensure!(ranges.iter().all(|range| range.start() <= range.end()), "a range that ends before it begins: {ranges:?}");
    Ok(ranges)
}

async fn cache_priorities(probe: &Probe) -> Verdict {
    ranges(probe.cache()?.cache_priority_capabilities.as_ref()).map(drop)
}

async fn execution_priorities(probe: &Probe) -> Verdict {
    let ranges = ranges(probe.told_execution()?.execution_priority_capabilities.as_ref())?;
    let default = ranges.is_empty() || ranges.iter().any(|range| range.contains(&0));
    ensure!(default, "0, which every client sends by default, is in none of {ranges:?}");
    Ok(())
}

async fn node_properties(probe: &Probe) -> Verdict {
    let mut told = probe.told_execution()?.supported_node_properties.clone();
    let count = told.len();
    told.sort_unstable();
    told.dedup();
    ensure!(told.len() == count, "one is told twice: {told:?}");
    // Names of platform properties, which some server tells here.
    let foreign = ["OSFamily", "ISA", "cpu_count", "container-image", "Arch"];
    ensure!(!told.iter().any(|name| foreign.contains(&name.as_str())), "platform properties are told: {told:?}");
    Ok(())
}

async fn too_large(probe: &Probe) -> Verdict {
    let told = probe.cache()?.max_cas_blob_size_bytes;
    if told <= 0 || told == i64::MAX {
        return skip("no largest size is told");
    }
    let hash = probe.digest(&probe.noise(8)).hash_text();
    let name = format!("uploads/{}/blobs/{hash}/{}", probe.upload(), told + 1);
    let name = if probe.instance().is_empty() { name } else { format!("{}/{name}", probe.instance()) };
    let message = crate::stream::unfinished(&name, b"the beginning", 0);
    let answer = probe.send(message).await;
    crate::verdict::refused("a blob above max_cas_blob_size_bytes", answer, &[Code::InvalidArgument]).map(drop)
}

async fn cdc_parameters(probe: &Probe) -> Verdict {
    let Some(told) = probe.cache()?.fast_cdc_2020_params.as_ref() else { return skip("FastCDC is not told") };
    let average = told.avg_chunk_size_bytes;
    ensure!((1 << 10..=1 << 20).contains(&average), "avg_chunk_size_bytes is {average}, not from 1 KiB to 1 MiB");
    Ok(())
}

async fn deprecated(probe: &Probe) -> Verdict {
    let told = probe.capabilities();
    let version = |version: &lre_proto::semver::SemVer| (version.major, version.minor);
    let Some(deprecated) = told.deprecated_api_version.as_ref().map(version) else { return Ok(()) };
    let low = told.low_api_version.as_ref().map(version);
    ensure!(Some(deprecated) < low, "{deprecated:?} is deprecated, and {low:?} is the lowest that is told");
    Ok(())
}
