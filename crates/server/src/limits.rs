//! Everything has a limit, with a name, a unit and a reason.
use std::time::Duration;

/// The largest message that we send, in bytes: what every gRPC client takes without being told
/// otherwise (PROTOCOL, 5).
pub const MESSAGE_BYTES_SENT_MAX: usize = 4 * 1024 * 1024;

/// The largest message that we take, in bytes. Larger than what clients may send by our
/// capabilities, so that one who sends more meets an answer in words instead of a broken stream;
/// and `FindMissingBlobs` of 200,000 digests fits.
pub const MESSAGE_BYTES_RECEIVED_MAX: usize = 16 * 1024 * 1024;

/// `max_batch_total_size_bytes`. A message also carries some 90 bytes for each blob; the difference
/// to [`MESSAGE_BYTES_SENT_MAX`] is room for 11,000 of them.
pub const BATCH_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// The largest blob that may come compressed in a batch, in uncompressed bytes. A kilobyte can
/// unpack to gigabytes, and a batch is in memory as a whole.
pub const BATCH_BLOB_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a blob costs in a message beside its bytes: digest, status, tags, rounded up.
pub const BATCH_ENTRY_BYTES: usize = 128;

/// Blobs of one batch that are written or read at the same time.
pub const BATCH_CONCURRENCY: usize = 8;

/// Below this many bytes compressing a blob gains less than the frame costs.
pub const COMPRESS_BYTES_MIN: u64 = 512;

/// Piece of a blob that is read, hashed, written or sent at a time, in bytes (LIMITS 4: 64-256 KiB).
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Pieces of [`CHUNK_BYTES`] that are read ahead of the network, for all downloads together, in number: 16 MiB.
pub const READ_AHEAD_PIECES_MAX: usize = 64;

/// Up to here reading or hashing is done where we are; above it, on a thread that may block.
/// Changing threads costs some 20 us, which is what this many bytes cost too.
pub const INLINE_WORK_BYTES_MAX: usize = 64 * 1024;

/// zstd level of what we send. On loopback every level costs more than it saves; the client asked.
pub const ZSTD_LEVEL: i32 = 1;

/// Largest window of a zstd frame that we take, as a power of two in bytes: 32 MiB. RFC 8878 asks
/// for 8 MiB at least; the window is the memory that one upload can claim.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// Half-done uploads that are kept for their clients to come back, in number. Each is a file.
pub const UPLOADS_PARKED_MAX: usize = 256;

/// How long a half-done upload is kept after its stream broke. Bazel comes back within seconds and
/// gives up after five retries, some 15 s.
pub const UPLOAD_PARKED_TIME_MAX: Duration = Duration::from_secs(300);

/// Directories in one message of `GetTree` where the client sets no page size.
pub const TREE_PAGE_DIRECTORIES_MAX: usize = 1000;

/// Bytes of directories after which a message of `GetTree` is sent, full page or not.
pub const TREE_PAGE_BYTES_MAX: usize = 1024 * 1024;

/// The largest `Directory` that is read into memory, in bytes: some 500,000 files.
pub const DIRECTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Blobs that are cut into chunks or put together of them at the same time; others wait. Each has some 8 MiB of chunks in
/// memory and reads as fast as the disk gives.
pub const CHUNKINGS_AT_ONCE_MAX: usize = 4;

/// Chunks that one blob may be put together of, in number: 64 GiB in chunks of 256 KiB. Their names are in memory.
pub const CHUNKS_OF_A_BLOB_MAX: usize = 256 * 1024;

/// Names of chunks that are remembered, in number, twice: 48 bytes each.
pub const CHUNKS_REMEMBERED_MAX: usize = 256 * 1024;

/// Names of chunks in one message: some 80 bytes each.
pub const CHUNKS_IN_MESSAGE_MAX: usize = 40_000;

/// Bytes that may be inlined into one `ActionResult`, beside what it has already.
pub const INLINE_BYTES_MAX: usize = 1024 * 1024;

/// Google RPC details that fit the trailers of a response, in bytes before base64. Java's HTTP/2
/// takes 8 KiB of headers in all. Larger details go where there is a message for them
/// (`ExecuteResponse.status`).
pub const TRAILER_DETAILS_BYTES_MAX: usize = 4 * 1024;

/// Longest text of an error, in bytes, each of which can become three on the wire. It repeats what the client named, and that
/// may be megabytes.
pub const TEXT_BYTES_MAX: usize = 1024;

/// When to come again where we ask for it (PROTOCOL, 2). A server that ends is followed by another within a second, a queue moves
/// as fast as commands run.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// HTTP/2 flow-control window of a stream and of a connection, in bytes (LIMITS 4).
pub const HTTP2_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Largest HTTP/2 frame that we take, in bytes (LIMITS 4).
pub const HTTP2_FRAME_BYTES: u32 = 1024 * 1024;

/// How often an idle connection is asked whether the other side still lives. `Execute` streams may
/// be silent for hours; without this a vanished laptop keeps its executions for ever.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// How long the answer may take. Generous: a machine that swaps is not gone.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// Streams that a client may have reset before we looked at them, in number, until its connection is
/// closed as an attack. The default of 20 is for the open internet; Bazel cancels hundreds of calls
/// in one moment when its user presses Ctrl-C.
pub const HTTP2_RESET_STREAMS_MAX: usize = 4096;

/// Streams that one connection may have open, in number; further calls wait in their client. A build has one for each job, some
/// thousand at most; each costs the server up to a megabyte while its client does not read.
pub const HTTP2_STREAMS_MAX: u32 = 4096;

/// How often the kernel's table of sockets is read until a peer is found in it. While sockets come
/// and go, one reading can miss a row.
pub const PEER_LOOKS_MAX: usize = 5;

/// Bytes of an upload after which it is asked again whether somebody else has completed the blob
/// meanwhile. Asking may be a call to somebody else's service, so not for each piece.
pub const PRESENCE_CHECK_BYTES: usize = 8 * 1024 * 1024;

/// URIs in one call of the Remote Asset API, in number. Each is a look, or a file.
pub const ASSET_URIS_MAX: usize = 256;

/// References of one pushed asset, in number: they are kept in one file of 1 MiB at most.
pub const ASSET_REFERENCES_MAX: usize = 10_000;

/// The longest path of the HTTP cache, in bytes. Longer ones than any client makes.
pub const HTTP_PATH_BYTES_MAX: usize = 4096;

/// How long the HTTP cache waits for the next bytes of a body. Generous: a compiler's machine may be busy with something
/// else; but a client that has hung must not keep its half of a blob for ever.
pub const HTTP_BODY_IDLE_TIME_MAX: Duration = Duration::from_secs(120);

/// Logs that clients make (LogStream), in number: each is an open file.
pub const LOGS_MAX: usize = 256;

/// Bytes of such a log. With [`LOGS_MAX`] this bounds what they take of the disk of the store, outside its budget.
pub const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long such a log is kept after its last byte, as long as a finished operation.
pub const LOG_KEPT: Duration = Duration::from_secs(600);

/// Bytes of the name of a log's parent.
pub const LOG_PARENT_BYTES_MAX: usize = 1024;

/// How long an `Execute` that is looked for in caches, or whose toolchain is fetched, is silent: then it is told that
/// it is at CACHE_CHECK and what it is called. A hit takes a thousandth of it, and needs no message more.
pub const CACHE_CHECK_SILENT: Duration = Duration::from_millis(250);

/// How often the store is told that a call goes on for its invocation. To the quarter of an hour it remembers when an
/// invocation called last, and three hours after that it is idle.
pub const INVOCATION_CALLS_AGAIN: Duration = Duration::from_secs(15 * 60);

/// From this duration on the end of a call is told too.
pub const INVOCATION_CALL_LONG: Duration = Duration::from_secs(60);

/// How long an orderly shutdown waits for open streams before it closes them.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Pause after the kernel refused to accept a connection (no file descriptors left, as a rule).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes in the path of a Unix socket, without the final NUL: `sockaddr_un` has 108.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Execution and cache priorities that are accepted: all. REAPI lets clients ask for what is in the
/// advertised range only, and there is no value that we could not sort.
pub const PRIORITY_RANGE: (i32, i32) = (i32::MIN, i32::MAX);

/// How long fetching a toolchain may take, from all peers together, until its actions are refused: 300 MB at
/// 1 MB/s. Actions wait for it, and nobody waits for ever (PROTOCOL, 63).
pub const TOOLCHAIN_FETCH_TIME_MAX: Duration = Duration::from_secs(600);

/// How long a peer may take to say whether it has a toolchain, connecting included.
pub const PEER_ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a peer that did not answer is not asked again: a build of a thousand actions waits for it once.
pub const PEER_DOWN_TIME: Duration = Duration::from_secs(15);

const _: () =
    assert!(PEER_ANSWER_TIME_MAX.as_secs() < PEER_DOWN_TIME.as_secs(), "else it is waited for again and again");
const _: () = assert!(MESSAGE_BYTES_SENT_MAX < MESSAGE_BYTES_RECEIVED_MAX);
const _: () = assert!((BATCH_BYTES_MAX as usize) + 8_000 * BATCH_ENTRY_BYTES <= MESSAGE_BYTES_SENT_MAX);
const _: () = assert!(BATCH_BLOB_BYTES_MAX >= BATCH_BYTES_MAX, "what may be sent plain may be sent compressed");
const _: () = assert!(CHUNK_BYTES >= 64 * 1024 && CHUNK_BYTES <= 256 * 1024, "LIMITS 4");
const _: () = assert!(2 * INLINE_BYTES_MAX < MESSAGE_BYTES_SENT_MAX, "a result with all its hints fits one message");
const _: () = assert!(TREE_PAGE_BYTES_MAX * 2 < MESSAGE_BYTES_SENT_MAX);
const _: () = assert!(CHUNKS_IN_MESSAGE_MAX * 100 <= MESSAGE_BYTES_SENT_MAX, "a digest has 64 digits and a size");
const _: () = assert!(CHUNKS_OF_A_BLOB_MAX <= CHUNKS_REMEMBERED_MAX);
const _: () = assert!(HTTP2_FRAME_BYTES < HTTP2_WINDOW_BYTES);
const _: () = assert!(PRESENCE_CHECK_BYTES >= CHUNK_BYTES);
