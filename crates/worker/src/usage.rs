//! What an execution used, for `ExecutedActionMetadata.auxiliary_metadata` (PROTOCOL, 82).
use lre_model::{ResourceUsage, protobuf};
use lre_sandbox::{Ended, How};

/// Names of the signals of Linux, from number 1 on; real-time signals have none.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// The usage of an execution that the root has told the end of.
pub(crate) fn any(ended: &Ended) -> protobuf::Any {
    let usage = &ended.usage;
    // Exact up to 2^53, far beyond what a command can use.
    #[expect(clippy::cast_precision_loss, reason = "the message has no other numbers")]
    let count = |number: u64| number as f64;
    let numbers = [
        ("user_seconds", usage.user.as_secs_f64()),
        ("system_seconds", usage.system.as_secs_f64()),
        ("maximum_resident_set_bytes", count(usage.resident_bytes_max)),
        ("page_reclaims", count(usage.faults_minor)),
        ("page_faults", count(usage.faults_major)),
        ("block_input_operations", count(usage.blocks_in)),
        ("block_output_operations", count(usage.blocks_out)),
        ("voluntary_context_switches", count(usage.switches_voluntary)),
        ("involuntary_context_switches", count(usage.switches_involuntary)),
    ];
    let termination_signal = match ended.how {
        How::Signaled(signal) => name(signal),
        How::TimedOut => name(9),
        _ => String::new(),
    };
    ResourceUsage { numbers: numbers.into(), termination_signal }.to_any()
}

fn name(signal: i32) -> String {
    let known = usize::try_from(signal - 1).ok().and_then(|index| SIGNALS.get(index));
    known.map_or_else(|| signal.to_string(), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_names() {
        assert_eq!([1, 9, 11, 15, 31, 34, 0].map(name), ["HUP", "KILL", "SEGV", "TERM", "SYS", "34", "0"]);
    }
}
