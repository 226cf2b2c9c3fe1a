//! A connection that breaks: a port that passes everything on to a server, until the server says a certain thing.
use anyhow::Result;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Where somebody connects instead of to the server. It passes on until the process ends.
pub struct Cut {
    /// Of the port.
    pub address: SocketAddr,
    times: Arc<AtomicUsize>,
}

impl Cut {
    /// Cuts the connection on which the server says `word`, the first time that it does; from then on nothing more.
    pub fn when_said(server: SocketAddr, word: &'static [u8]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let times = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&times);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A server that is gone is a client whose connection ends.
                if let Ok(server) = TcpStream::connect(server) {
                    let _ = both_ways(&client, &server, word, &counted);
                }
            }
        });
        Ok(Self { address, times })
    }

    /// How many connections were cut.
    pub fn times(&self) -> usize {
        self.times.load(Ordering::SeqCst)
    }
}

fn both_ways(client: &TcpStream, server: &TcpStream, word: &'static [u8], times: &Arc<AtomicUsize>) -> Result<()> {
    let (up, down) = ((client.try_clone()?, server.try_clone()?), (server.try_clone()?, client.try_clone()?));
    thread::spawn(move || pass(up, |_| false));
    let times = Arc::clone(times);
    let says = move |bytes: &[u8]| bytes.windows(word.len()).any(|part| part == word);
    thread::spawn(move || {
        pass(down, |bytes| {
            let first = times.compare_exchange(0, usize::from(says(bytes)), Ordering::SeqCst, Ordering::SeqCst);
            first.is_ok() && says(bytes)
        });
    });
    Ok(())
}

/// Until the end, or until `enough` of what was passed on.
fn pass((mut from, mut to): (TcpStream, TcpStream), enough: impl Fn(&[u8]) -> bool) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() || enough(&bytes[..count]) {
            break;
        }
    }
    for stream in [from, to] {
        // Already gone is as good.
        let _ = stream.shutdown(Shutdown::Both);
    }
}
