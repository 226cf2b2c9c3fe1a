//! Binary caches: store paths without Nix.
use super::keys::Keys;
use super::nar;
use super::narinfo::NarInfo;
use super::path::StorePath;
use crate::access::Access;
use crate::error::ToolchainError;
use crate::import::blocking;
use crate::intake::Intake;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::sources::compressed::decompressed;
use crate::sources::http::{Download, Http, Request, Trust};
use futures::stream::{FuturesUnordered, StreamExt};
use lre_model::RelPath;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Longest `.narinfo`; one with a thousand references has some 60 KiB.
const NARINFO_BYTES_MAX: u64 = 1024 * 1024;
/// Most paths of a closure. The largest of real systems have some ten thousand.
const PATHS_MAX: usize = 50_000;
/// Questions asked at the same time: they are small, and the answer is far away.
const PARALLEL_QUESTIONS: usize = 16;
/// Archives read at the same time: each is work for one processor.
const PARALLEL_ARCHIVES: usize = 4;
/// The ways of compressing that are read here, as a `.narinfo` calls them.
const COMPRESSIONS: [&str; 5] = ["none", "xz", "zstd", "gzip", ""];

/// The binary caches that are asked, in order, and whose word is taken.
pub(super) struct Caches {
    all: Vec<Cache>,
    keys: Keys,
    http: Http,
}

struct Cache {
    /// As the user wrote it.
    address: String,
    place: Place,
}

enum Place {
    Folder(PathBuf),
    Web,
}

/// A path, and which cache has it.
#[derive(Debug)]
pub(super) struct Offered {
    cache: usize,
    /// Proven by a signature or by its content.
    pub narinfo: NarInfo,
}

impl Caches {
    /// Those that the user names.
    pub fn new(access: &Access, progress: Arc<dyn Progress>) -> Result<Self, ToolchainError> {
        let wrong = |key: &str, problem: String| unfetched("from binary caches", format!("`{key}`: {problem}"));
        let keys = Keys::new(&access.nix_keys).map_err(|problem| wrong("nix_keys", problem))?;
        let all = access.nix_caches.iter().map(|address| Cache::new(address)).collect::<Result<_, _>>();
        let all = all.map_err(|problem| wrong("nix_caches", problem))?;
        let http = Http::new(access, progress);
        Ok(Self { all, keys, http })
    }

    fn addresses(&self) -> String {
        self.all.iter().map(|cache| cache.address.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// All paths that these need, themselves included, each with the proof that it is what it is called.
    pub async fn closure(self: &Arc<Self>, paths: &[StorePath]) -> Result<Vec<Offered>, ToolchainError> {
        let mut seen: BTreeSet<StorePath> = paths.iter().cloned().collect();
        let mut left: VecDeque<(StorePath, Option<StorePath>)> =
            seen.iter().cloned().map(|path| (path, None)).collect();
        let (mut asked, mut found) = (FuturesUnordered::new(), Vec::new());
        loop {
            while asked.len() < PARALLEL_QUESTIONS
                && let Some((path, needed_by)) = left.pop_front()
            {
                let caches = Arc::clone(self);
                asked.push(blocking(move || caches.ask(&path, needed_by.as_ref())));
            }
            let Some(offered) = asked.next().await else { return Ok(found) };
            let offered = offered?;
            let info = &offered.narinfo.info;
            for path in &info.references {
                if seen.insert(path.clone()) {
                    left.push_back((path.clone(), Some(info.path.clone())));
                }
            }
            if seen.len() > PATHS_MAX {
                return Err(ToolchainError::unusable(
                    paths[0].to_string(),
                    format!("it needs more than {PATHS_MAX} paths"),
                ));
            }
            found.push(offered);
        }
    }

    /// The first cache that has this path and can prove it.
    fn ask(&self, path: &StorePath, needed_by: Option<&StorePath>) -> Result<Offered, ToolchainError> {
        let mut problems = Vec::new();
        for (n, cache) in self.all.iter().enumerate() {
            match cache.narinfo(path, &self.keys, &self.http) {
                Ok(Some(narinfo)) => return Ok(Offered { cache: n, narinfo }),
                Ok(None) => {}
                Err(problem) => problems.push(format!("{}: {problem}", cache.address)),
            }
        }
        if problems.is_empty() {
            let why = needed_by.map_or_else(String::new, |needed_by| format!(", which {needed_by} needs,"));
            let hint = format!("it is in none of these binary caches: {}", self.addresses());
            return Err(ToolchainError::NotFound { what: format!("{path}{why}"), hint });
        }
        Err(unfetched(&path.to_string(), problems.join("; ")))
    }

    /// Reads the archives of all these paths. Blocks.
    pub fn unpack(&self, mut offered: Vec<Offered>, intake: &Intake) -> Result<Layout, ToolchainError> {
        // The largest first: else the last one is read alone while the other processors wait.
        offered.sort_by_key(|one| one.narinfo.info.nar_size);
        let (left, layout, failed) = (Mutex::new(offered), Mutex::new(Layout::default()), Mutex::new(None));
        let work = || {
            while failed.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(next) = next else { return };
                match self.unpack_one(&next, intake) {
                    Ok(one) => {
                        let mut layout = layout.lock().unwrap_or_else(PoisonError::into_inner);
                        one.iter().for_each(|(path, entry)| layout.insert(path.clone(), entry.clone()));
                    }
                    Err(e) => {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL_ARCHIVES {
                scope.spawn(work);
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(e) => Err(e),
            None => Ok(layout.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn unpack_one(&self, offered: &Offered, intake: &Intake) -> Result<Layout, ToolchainError> {
        let NarInfo { info, url, compression, .. } = &offered.narinfo;
        let cache = &self.all[offered.cache];
        let path = info.path.to_string();
        let broken = |problem: String| unfetched(&path, format!("{url} of {}: {problem}", cache.address));
        if !COMPRESSIONS.contains(&compression.as_str()) {
            return Err(broken(format!("it is compressed with {compression}; gzip, xz and zstd are read here")));
        }
        let (opened, download) = cache.nar(&offered.narinfo, &self.http).map_err(&broken)?;
        // One byte more shows that there is more.
        let reader = decompressed(opened).map_err(|e| broken(nar::Bad::from(e).to_string()))?.take(info.nar_size + 1);
        let at = RelPath::parse(info.path.base())?;
        let mut layout = Layout::default();
        let mut take = |content: &mut dyn Read, executable| intake.file(&path, content, executable);
        let whole = match nar::read(reader, &at, &mut layout, &mut take) {
            Ok(whole) => whole,
            Err(nar::Bad::Taking(e)) => return Err(*e),
            Err(bad) => return Err(broken(bad.to_string())),
        };
        if (whole.hash, whole.size_bytes) != (info.nar_hash, info.nar_size) {
            let nar::Whole { hash, size_bytes } = whole;
            let (said, said_bytes) = (info.nar_hash, info.nar_size);
            return Err(broken(format!(
                "its content has the narHash {hash} and {size_bytes} bytes, but {said} and {said_bytes} bytes are signed"
            )));
        }
        if let Some(download) = download {
            download.forget();
        }
        Ok(layout)
    }
}

fn unfetched(what: &str, problem: String) -> ToolchainError {
    ToolchainError::Fetch { what: what.to_owned(), problem }
}

impl Cache {
    fn new(address: &str) -> Result<Self, String> {
        let place = match address.split_once("://") {
            Some(("http" | "https", rest)) if !rest.is_empty() => Place::Web,
            Some(("file", path)) if path.starts_with('/') => Place::Folder(path.into()),
            _ => return Err(format!("`{address}` is not the address of a binary cache: http(s)://... or file:///...")),
        };
        Ok(Self { address: address.trim_end_matches('/').to_owned(), place })
    }

    fn narinfo(&self, path: &StorePath, keys: &Keys, http: &Http) -> Result<Option<NarInfo>, String> {
        let name = format!("{}.narinfo", path.hash());
        let bytes = match &self.place {
            Place::Folder(folder) => match File::open(folder.join(&name)) {
                Ok(file) => {
                    let mut bytes = Vec::new();
                    file.take(NARINFO_BYTES_MAX).read_to_end(&mut bytes).map(|_| Some(bytes))
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(e),
            }
            .map_err(|e| format!("{name} cannot be read: {e}"))?,
            // What it says is signed, so that any connection will do.
            Place::Web => {
                let url = format!("{}/{name}", self.address);
                http.get_bytes(Request::new(&url, Trust::Checked), NARINFO_BYTES_MAX).map_err(|e| e.to_string())?
            }
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let narinfo = NarInfo::parse(&String::from_utf8_lossy(&bytes), path);
        let narinfo = narinfo.map_err(|problem| format!("{name}: {problem}"))?;
        narinfo.proof(keys).map_err(|problem| format!("{name}: {problem}"))?;
        Ok(Some(narinfo))
    }

    /// Opens an archive. What is fetched is kept until it has been imported, so that a second try goes on where the first
    /// one ended.
    fn nar(&self, narinfo: &NarInfo, http: &Http) -> Result<(Box<dyn Read + Send>, Option<Download>), String> {
        // An address or a path that leads out of the cache would make us read what the user never named.
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_));
        let url = &narinfo.url;
        if url.is_empty() || url.contains("://") || !Path::new(url).components().all(inside) {
            return Err("that is not a file of the cache".to_owned());
        }
        let opened = |path: &Path| File::open(path).map_err(|e| format!("it cannot be read: {e}"));
        match &self.place {
            Place::Folder(folder) => Ok((Box::new(opened(&folder.join(url))?), None)),
            Place::Web => {
                let url = format!("{}/{url}", self.address);
                let download = http.fetch(&url, narinfo.expected()).map_err(|e| e.to_string())?;
                Ok((Box::new(opened(&download.path)?), Some(download)))
            }
        }
    }
}
