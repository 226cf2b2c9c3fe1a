//! Queue and admission as a step function. Pure.
