//! `Execute` and its neighbours, through the real server. Each test names the line of the protocol
//! checklist that it shows.
mod answers;
mod fetching;
mod leaving;
mod logs;
mod operations;
mod refusals;
mod scripted;
mod sharing;
mod stages;
mod starting;
mod stopping;
mod storm;
mod world;
