//! What an execution used, for `ExecutedActionMetadata.auxiliary_metadata` (PROTOCOL, 82).
use lre_model::{PosixResourceUsage, duration, protobuf, usage_any};
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
    usage_any(&PosixResourceUsage {
        user_time: Some(duration(usage.user)),
        system_time: Some(duration(usage.system)),
        maximum_resident_set_size: usage.resident_bytes_max.cast_signed(),
        page_reclaims: usage.faults_minor.cast_signed(),
        page_faults: usage.faults_major.cast_signed(),
        block_input_operations: usage.blocks_in.cast_signed(),
        block_output_operations: usage.blocks_out.cast_signed(),
        voluntary_context_switches: usage.switches_voluntary.cast_signed(),
        involuntary_context_switches: usage.switches_involuntary.cast_signed(),
        termination_signal: match ended.how {
            How::Signaled(signal) => name(signal),
            How::TimedOut => name(9),
            _ => String::new(),
        },
    })
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
