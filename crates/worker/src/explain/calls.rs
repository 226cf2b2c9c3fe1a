//! Calls to somebody outside of the sandbox.
use super::{Line, View, Weight};
use crate::explain::said::Said;
use lre_model::Network;
use std::net::SocketAddr;

/// The port of name servers.
const NAME_SERVER: u16 = 53;

/// The lines for these addresses (see `Wanted::Network`). `asked_for_names`: a file was wanted that
/// says where name servers are.
pub(super) fn lines(addresses: &[&str], asked_for_names: bool, said: &Said, view: &View<'_>) -> Vec<Line> {
    let mut texts: Vec<_> = addresses.iter().filter_map(|address| line(address, said, view)).collect();
    let is_name_server = |address: &&&str| address.parse::<SocketAddr>().is_ok_and(|a| a.port() == NAME_SERVER);
    let looked_up = asked_for_names || addresses.iter().any(|address| is_name_server(&address));
    if looked_up && said.misses_a_name() && view.network == Network::Loopback {
        texts.push("wanted the address of a host by its name: an action has no network (see lre-network)".to_owned());
    }
    texts.into_iter().enumerate().map(|(at, text)| Line { weight: Weight::Called, at, text }).collect()
}

fn line(address: &str, said: &Said, view: &View<'_>) -> Option<String> {
    if address.starts_with('/') {
        let path = view.on_this_machine(address)?;
        return Some(format!("wanted the socket {}, which is on this machine but not in the sandbox", path.display()));
    }
    if view.network == Network::Host || address.contains(char::is_control) {
        return None;
    }
    let Ok(to) = address.parse::<SocketAddr>() else {
        return Some(format!("wanted the abstract socket {address}: an action has those of its own only"));
    };
    if !to.ip().is_loopback() && !to.ip().is_unspecified() {
        return Some(format!("wanted {to}: an action has no network (see lre-network)"));
    }
    // Between its own processes an action may talk; whoever was not there has not answered. That
    // name servers are looked for there only means that none are known.
    let unheard = to.port() != NAME_SERVER && (view.asked || said.misses_somebody());
    unheard.then(|| format!("wanted {to}: an action has a loopback of its own (see lre-network)"))
}
