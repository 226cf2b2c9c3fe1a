//! D, 32: GetTree.
use crate::check::checks;
use crate::probe::Probe;
use crate::verdict::{Verdict, ensure, fail, offered, refused, same, works};
use lre_model::Digest;
use lre_proto::re;
use prost::Message;
use std::collections::BTreeSet;
use tonic::{Code, Status};

checks! {
    Must 32 "GetTree gives the root and every descendant" whole_tree;
    Should 32 "GetTree gives a directory that stands in two places once" once;
    Must 32 "GetTree leaves out what is missing" tree_with_a_hole;
    Must 32 "GetTree of a missing root is NOT_FOUND" no_root;
    Should 32 "GetTree in pages of one gives the same, and ends" pages;
    May 32 "GetTree refuses a page token that it has not given" bad_token;
    Should 32 "GetTree of an empty directory is that directory" empty_tree;
}

/// A directory with these children, and a file that makes it new.
fn directory(probe: &Probe, children: &[(&str, Digest)]) -> re::Directory {
    let file = re::FileNode { name: probe.word(), digest: Some(probe.digest(b"").to_wire()), ..Default::default() };
    let node = |(name, digest): &(&str, Digest)| re::DirectoryNode {
        name: (*name).to_owned(),
        digest: Some(digest.to_wire()),
    };
    re::Directory { files: vec![file], directories: children.iter().map(node).collect(), ..Default::default() }
}

async fn put(probe: &Probe, children: &[(&str, Digest)]) -> Verdict<Digest> {
    probe.put(directory(probe, children).encode_to_vec()).await
}

/// All directories of a tree, in as many pages as it takes, and how many stood in one message at most.
async fn get(probe: &Probe, root: Digest, page_size: i32) -> Verdict<Result<(Vec<String>, usize), Status>> {
    let (mut all, mut page_token, mut largest) = (Vec::new(), String::new(), 0);
    loop {
        let request = re::GetTreeRequest {
            instance_name: probe.instance().to_owned(),
            root_digest: Some(root.to_wire()),
            page_size,
            page_token,
            ..Default::default()
        };
        let mut stream = match offered("GetTree", probe.cas().get_tree(request).await)? {
            Ok(stream) => stream.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        page_token = String::new();
        loop {
            match offered("GetTree", stream.message().await)? {
                Err(status) => return Ok(Err(status)),
                Ok(None) => break,
                Ok(Some(message)) => {
                    largest = largest.max(message.directories.len());
                    all.extend(message.directories.iter().map(|one| probe.digest(&one.encode_to_vec()).hash_text()));
                    page_token = message.next_page_token;
                }
            }
        }
        if page_token.is_empty() {
            return Ok(Ok((all, largest)));
        }
        ensure!(all.len() < 100, "100 directories of a tree of a handful");
    }
}

fn set(digests: &[Digest]) -> BTreeSet<String> {
    digests.iter().map(|digest| digest.hash_text()).collect()
}

/// A root, two directories, and one below both of them.
async fn diamond(probe: &Probe) -> Verdict<(Digest, Vec<Digest>)> {
    let leaf = put(probe, &[]).await?;
    let (left, right) = (put(probe, &[("leaf", leaf)]).await?, put(probe, &[("leaf", leaf)]).await?);
    let root = put(probe, &[("left", left), ("right", right)]).await?;
    Ok((root, vec![root, left, right, leaf]))
}

async fn whole_tree(probe: &Probe) -> Verdict {
    let (root, expected) = diamond(probe).await?;
    let (seen, _) = works("GetTree", get(probe, root, 0).await?)?;
    same("the directories", &set(&expected), &seen.into_iter().collect())
}

async fn once(probe: &Probe) -> Verdict {
    let (root, expected) = diamond(probe).await?;
    let (seen, _) = works("GetTree", get(probe, root, 0).await?)?;
    same("how many directories", &expected.len(), &seen.len())
}

async fn tree_with_a_hole(probe: &Probe) -> Verdict {
    let leaf = put(probe, &[]).await?;
    let hole = probe.digest(&directory(probe, &[]).encode_to_vec());
    let root = put(probe, &[("hole", hole), ("leaf", leaf)]).await?;
    let (seen, _) = works("GetTree of a tree with a hole", get(probe, root, 0).await?)?;
    same("the directories", &set(&[root, leaf]), &seen.into_iter().collect())
}

async fn no_root(probe: &Probe) -> Verdict {
    let gone = probe.digest(&directory(probe, &[]).encode_to_vec());
    refused("GetTree of a missing root", get(probe, gone, 0).await?, &[Code::NotFound]).map(drop)
}

async fn pages(probe: &Probe) -> Verdict {
    let (root, expected) = diamond(probe).await?;
    let (seen, largest) = works("GetTree in pages", get(probe, root, 1).await?)?;
    same("the directories", &set(&expected), &seen.into_iter().collect())?;
    same("directories in one message at most", &1, &largest)
}

async fn bad_token(probe: &Probe) -> Verdict {
    let (root, _) = diamond(probe).await?;
    let request = re::GetTreeRequest {
        instance_name: probe.instance().to_owned(),
        root_digest: Some(root.to_wire()),
        page_token: "no token of yours".to_owned(),
        ..Default::default()
    };
    let answer = match offered("GetTree", probe.cas().get_tree(request).await)? {
        Ok(stream) => stream.into_inner().message().await,
        Err(status) => Err(status),
    };
    refused("GetTree with a token of nobody", answer, &[Code::InvalidArgument]).map(drop)
}

async fn empty_tree(probe: &Probe) -> Verdict {
    let (seen, _) = works("GetTree of the empty directory", get(probe, probe.digest(b""), 0).await?)?;
    if seen.is_empty() {
        return fail("no directory at all");
    }
    same("the directories", &vec![probe.digest(b"").hash_text()], &seen)
}
