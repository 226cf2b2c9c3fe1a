//! J, 86: the Remote Asset API.
use crate::check::checks;
use crate::probe::Probe;
use crate::verdict::{Verdict, code, offered, refused, same, works};
use lre_proto::asset::{self, fetch_client::FetchClient, push_client::PushClient};
use prost::Message;
use tonic::Code;

checks! {
    Must 86 "Asset: FetchBlob gives what PushBlob has named" blob;
    Must 86 "Asset: FetchDirectory gives what PushDirectory has named" directory;
    Must 86 "Asset: FetchBlob of what nobody has named is NOT_FOUND" unknown;
    Must 86 "Asset: other qualifiers are another asset" qualifiers;
    Should 86 "Asset: FetchBlob without a URI is INVALID_ARGUMENT" no_uri;
}

fn qualifier(value: &str) -> Vec<asset::Qualifier> {
    vec![asset::Qualifier { name: "conform".to_owned(), value: value.to_owned() }]
}

fn fetch(probe: &Probe, uri: &str, qualifiers: Vec<asset::Qualifier>) -> asset::FetchBlobRequest {
    asset::FetchBlobRequest {
        instance_name: probe.instance().to_owned(),
        uris: vec![uri.to_owned()],
        qualifiers,
        ..Default::default()
    }
}

/// The code of a FetchBlob, wherever it stands, and what was fetched.
async fn fetched(probe: &Probe, request: asset::FetchBlobRequest) -> Verdict<(Code, Option<lre_proto::re::Digest>)> {
    let answer = FetchClient::new(probe.wire()).fetch_blob(request).await;
    Ok(match offered("the Remote Asset API", answer)? {
        Err(status) => (status.code(), None),
        Ok(answer) => {
            let answer = answer.into_inner();
            (code(answer.status.as_ref()), answer.blob_digest)
        }
    })
}

/// Names a new blob; its URI and digest.
async fn pushed(probe: &Probe) -> Verdict<(String, lre_proto::re::Digest)> {
    let digest = probe.put(probe.noise(100)).await?.to_wire();
    let uri = format!("urn:conform:{}", probe.word());
    let request = asset::PushBlobRequest {
        instance_name: probe.instance().to_owned(),
        uris: vec![uri.clone()],
        qualifiers: qualifier("a"),
        blob_digest: Some(digest.clone()),
        ..Default::default()
    };
    let answer = PushClient::new(probe.wire()).push_blob(request).await;
    works("PushBlob", offered("the Remote Asset API", answer)?)?;
    Ok((uri, digest))
}

async fn blob(probe: &Probe) -> Verdict {
    let (uri, digest) = pushed(probe).await?;
    let seen = fetched(probe, fetch(probe, &uri, qualifier("a"))).await?;
    same("FetchBlob", &(Code::Ok, Some(digest)), &seen)
}

async fn directory(probe: &Probe) -> Verdict {
    let digest = probe.digest(&probe.noise(9)).to_wire();
    let link = lre_proto::re::SymlinkNode { name: "a".to_owned(), target: digest.hash, ..Default::default() };
    let root = lre_proto::re::Directory { symlinks: vec![link], ..Default::default() };
    let root = probe.put(root.encode_to_vec()).await?.to_wire();
    let uri = format!("urn:conform:{}", probe.word());
    let push = asset::PushDirectoryRequest {
        instance_name: probe.instance().to_owned(),
        uris: vec![uri.clone()],
        root_directory_digest: Some(root.clone()),
        ..Default::default()
    };
    works("PushDirectory", offered("PushDirectory", PushClient::new(probe.wire()).push_directory(push).await)?)?;
    let request = asset::FetchDirectoryRequest {
        instance_name: probe.instance().to_owned(),
        uris: vec![uri],
        ..Default::default()
    };
    let answer = works("FetchDirectory", FetchClient::new(probe.wire()).fetch_directory(request).await)?.into_inner();
    let seen = (code(answer.status.as_ref()), answer.root_directory_digest);
    same("FetchDirectory", &(Code::Ok, Some(root)), &seen)
}

async fn unknown(probe: &Probe) -> Verdict {
    let request = fetch(probe, &format!("urn:conform:{}", probe.word()), Vec::new());
    same("FetchBlob of what nobody has named", &Code::NotFound, &fetched(probe, request).await?.0)
}

async fn qualifiers(probe: &Probe) -> Verdict {
    let (uri, _) = pushed(probe).await?;
    let seen = fetched(probe, fetch(probe, &uri, qualifier("b"))).await?.0;
    same("FetchBlob with another qualifier", &Code::NotFound, &seen)
}

async fn no_uri(probe: &Probe) -> Verdict {
    let request = asset::FetchBlobRequest { instance_name: probe.instance().to_owned(), ..Default::default() };
    let (seen, _) = fetched(probe, request).await?;
    let answer = if seen == Code::Ok { Ok(()) } else { Err(tonic::Status::new(seen, "")) };
    refused("FetchBlob without a URI", answer, &[Code::InvalidArgument]).map(drop)
}
