//! Small blobs, many in one call. A call costs some 200 us on both sides whatever it carries, so a toolchain of
//! thousands of small files would spend seconds on nothing but calls.
use super::blobs::{explain, shorter, status_of};
use super::{Upstream, failed};
use crate::{Blob, StoreError};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use lre_model::{Digest, DigestFunction};
use lre_proto::re;
use std::collections::{HashMap, HashSet};
use tonic::{Code, Status};

/// Bytes that a blob takes in a message beside its own: digest, status and tags, rounded up.
const ENTRY_BYTES: u64 = 128;

/// Calls at the same time. While one is answered the next is on its way; each has a batch in memory.
const CALLS_IN_FLIGHT: usize = 4;

/// What is asked for together.
enum Part {
    /// One that needs a stream.
    Large(usize),
    /// Those that fit one message.
    Batch(Vec<usize>),
}

/// Splits blobs into parts, by their place in `digests`. What is in one batch has one digest function.
fn parts(digests: &[Digest], batch_bytes_max: u64) -> Vec<Part> {
    let mut parts = Vec::new();
    for function in DigestFunction::ALL {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (at, digest) in digests.iter().enumerate().filter(|(_, d)| d.function() == function) {
            if digest.size_bytes() > batch_bytes_max {
                parts.push(Part::Large(at));
                continue;
            }
            let size = digest.size_bytes() + ENTRY_BYTES;
            if bytes + size > batch_bytes_max && !batch.is_empty() {
                parts.push(Part::Batch(std::mem::take(&mut batch)));
                bytes = 0;
            }
            batch.push(at);
            bytes += size;
        }
        if !batch.is_empty() {
            parts.push(Part::Batch(batch));
        }
    }
    parts
}

/// What the answers of a service are told apart by: hash and size.
type Key = (String, i64);

fn key(digest: &re::Digest) -> Key {
    (digest.hash.clone(), digest.size_bytes)
}

/// The failure of a call is that of every blob in it.
pub(super) fn each<T>(count: usize, error: &StoreError) -> Vec<Result<T, StoreError>> {
    (0..count).map(|_| Err(StoreError::Upstream(error.to_string()))).collect()
}

/// Puts answers in the order of the questions.
fn in_order<T>(count: usize, answers: Vec<(usize, Result<T, StoreError>)>) -> Vec<Result<T, StoreError>> {
    let mut ordered: Vec<_> = (0..count).map(|_| None).collect();
    answers.into_iter().for_each(|(at, answer)| ordered[at] = Some(answer));
    // Every place is in exactly one part.
    ordered.into_iter().flatten().collect()
}

impl Upstream {
    pub(super) async fn read_parts(&self, digests: &[Digest]) -> Result<Vec<Result<Blob, StoreError>>, StoreError> {
        let parts = parts(digests, self.batch_bytes_max().await?);
        let read = |part| async {
            match part {
                Part::Large(at) => vec![(at, self.read_stream(digests[at]).await)],
                Part::Batch(places) => {
                    let asked: Vec<_> = places.iter().map(|at| digests[*at]).collect();
                    places.into_iter().zip(self.read_batch(&asked).await).collect()
                }
            }
        };
        let answers = stream::iter(parts).map(read).buffer_unordered(CALLS_IN_FLIGHT).concat().await;
        Ok(in_order(digests.len(), answers))
    }

    /// Blobs that fit one message, all of one digest function; answers in the same order.
    pub(super) async fn read_batch(&self, digests: &[Digest]) -> Vec<Result<Blob, StoreError>> {
        match self.ask_for_batch(digests).await {
            Ok(found) => digests
                .iter()
                .map(|digest| match found.get(&key(&digest.to_wire())) {
                    Some(one) => checked(*digest, one),
                    None => Err(StoreError::Upstream(format!("BatchReadBlobs answered without the blob {digest}"))),
                })
                .collect(),
            Err(error) => each(digests.len(), &error),
        }
    }

    async fn ask_for_batch(&self, digests: &[Digest]) -> Result<HashMap<Key, Answered>, StoreError> {
        let Some(function) = digests.first().map(|d| d.function()) else { return Ok(HashMap::new()) };
        let asked: HashSet<_> = digests.iter().filter(|d| !d.is_empty_blob()).collect();
        let mut found = HashMap::from([(key(&Digest::empty(function).to_wire()), Answered::default())]);
        if asked.is_empty() {
            return Ok(found);
        }
        let message = re::BatchReadBlobsRequest {
            instance_name: self.instance.clone(),
            digests: asked.into_iter().map(|d| d.to_wire()).collect(),
            digest_function: function.to_wire(),
            ..Default::default()
        };
        let answer = self.cas().batch_read_blobs(self.unary(message)?).await;
        let answer = answer.map_err(|status| failed("BatchReadBlobs", &status))?.into_inner();
        for one in answer.responses {
            let named = one.digest.as_ref().map(key).unwrap_or_default();
            found.insert(named, Answered { status: one.status, bytes: one.data.into() });
        }
        Ok(found)
    }

    pub(super) async fn write_parts(
        &self,
        blobs: Vec<(Digest, Blob)>,
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let batch_bytes_max = self.batch_bytes_max().await?;
        // What is really sent counts; that it is not what its name says is found out by the service.
        let sizes: Vec<_> = blobs.iter().map(|(_, blob)| blob.size_bytes()).collect();
        let digests: Vec<_> = blobs.iter().map(|(digest, _)| *digest).collect();
        let write = |part| async {
            match part {
                Part::Large(at) => vec![(at, self.write_one(digests[at], blobs[at].1.clone()).await)],
                // With other bytes than the name says it may not fit the message after all.
                Part::Batch(places) if places.iter().any(|at| sizes[*at] > digests[*at].size_bytes()) => {
                    let mut answers = Vec::new();
                    for at in places {
                        answers.push((at, self.write_one(digests[at], blobs[at].1.clone()).await));
                    }
                    answers
                }
                Part::Batch(places) => {
                    let given: Vec<_> = places.iter().map(|at| &blobs[*at]).collect();
                    places.into_iter().zip(self.write_batch(&given).await).collect()
                }
            }
        };
        let parts = parts(&digests, batch_bytes_max);
        let answers = stream::iter(parts).map(write).buffer_unordered(CALLS_IN_FLIGHT).concat().await;
        Ok(in_order(digests.len(), answers))
    }

    /// Blobs that fit one message, all of one digest function; answers in the same order.
    pub(super) async fn write_batch(&self, blobs: &[&(Digest, Blob)]) -> Vec<Result<(), StoreError>> {
        let mut said = match self.send_batch(blobs).await {
            Ok(said) => said,
            Err(error) => return each(blobs.len(), &error),
        };
        let mut answers = Vec::new();
        for (digest, blob) in blobs {
            let answer = match said.remove(&key(&digest.to_wire())) {
                // Of two equal blobs only one was sent. The empty one never is.
                None => explain(*digest, blob.clone(), None).await,
                Some(status) if status.code() == Code::Ok => Ok(()),
                Some(status) if status.code() == Code::InvalidArgument => {
                    explain(*digest, blob.clone(), Some(status)).await
                }
                Some(status) => Err(failed("BatchUpdateBlobs", &status)),
            };
            answers.push(answer);
        }
        answers
    }

    async fn send_batch(&self, blobs: &[&(Digest, Blob)]) -> Result<HashMap<Key, Status>, StoreError> {
        let Some(function) = blobs.first().map(|(d, _)| d.function()) else { return Ok(HashMap::new()) };
        let mut requests = HashMap::new();
        for (digest, blob) in blobs.iter().filter(|(digest, _)| !digest.is_empty_blob()) {
            if requests.contains_key(digest) {
                continue;
            }
            let data = blob.clone().into_bytes(u64::MAX).await?;
            if data.len() as u64 != blob.size_bytes() {
                return Err(shorter());
            }
            requests.insert(*digest, data);
        }
        let sent: Vec<_> = requests.keys().copied().collect();
        if sent.is_empty() {
            return Ok(HashMap::new());
        }
        let request = |(digest, data): (Digest, Bytes)| re::batch_update_blobs_request::Request {
            digest: Some(digest.to_wire()),
            data: data.into(),
            ..Default::default()
        };
        let message = re::BatchUpdateBlobsRequest {
            instance_name: self.instance.clone(),
            requests: requests.into_iter().map(request).collect(),
            digest_function: function.to_wire(),
        };
        let answer = self.cas().batch_update_blobs(self.unary(message)?).await;
        let answer = answer.map_err(|status| failed("BatchUpdateBlobs", &status))?.into_inner();
        let said = answer.responses.into_iter();
        let said = said.map(|one| (one.digest.as_ref().map(key).unwrap_or_default(), status_of(one.status)));
        let mut said: HashMap<_, _> = said.collect();
        for digest in sent {
            said.entry(key(&digest.to_wire())).or_insert_with(|| Status::unknown("the answer does not name the blob"));
        }
        Ok(said)
    }
}

/// What a service said of one blob.
#[derive(Default)]
struct Answered {
    status: Option<lre_proto::rpc::Status>,
    bytes: Bytes,
}

fn checked(digest: Digest, answered: &Answered) -> Result<Blob, StoreError> {
    match status_of(answered.status.clone()) {
        status if status.code() == Code::Ok => {}
        status if status.code() == Code::NotFound => return Err(StoreError::Missing(digest)),
        status => return Err(failed("BatchReadBlobs", &status)),
    }
    let actual = Digest::of(digest.function(), &answered.bytes);
    if actual == digest {
        Ok(answered.bytes.clone().into())
    } else {
        Err(StoreError::Corrupt { expected: digest, actual })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blob_is_in_one_part_and_no_batch_is_too_large() {
        let digest = |i: u64, size: u64| {
            let function = if i.is_multiple_of(5) { DigestFunction::Blake3 } else { DigestFunction::Sha256 };
            let hash = Digest::of(function, &i.to_le_bytes()).hash_text();
            Digest::parse(function, &hash, size.cast_signed()).unwrap()
        };
        const MAX: u64 = 4096;
        let digests: Vec<_> = (0..400).map(|i| digest(i, (i * 37) % 5000)).collect();
        let mut seen = vec![0; digests.len()];
        for part in parts(&digests, MAX) {
            match part {
                Part::Large(at) => {
                    assert!(digests[at].size_bytes() > MAX);
                    seen[at] += 1;
                }
                Part::Batch(places) => {
                    let bytes: u64 = places.iter().map(|at| digests[*at].size_bytes() + ENTRY_BYTES).sum();
                    assert!(bytes <= MAX || places.len() == 1, "{bytes} bytes in {} blobs", places.len());
                    assert!(places.iter().all(|at| digests[*at].function() == digests[places[0]].function()));
                    places.iter().for_each(|at| seen[*at] += 1);
                }
            }
        }
        assert!(seen.iter().all(|times| *times == 1));
    }
}
