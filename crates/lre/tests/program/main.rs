//! The real program, from outside: as a library client of its server, and as commands.
mod cache;
mod client;
mod commands;
mod guide;
mod home;
