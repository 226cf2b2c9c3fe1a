//! The real program, from outside: as a library client of its server, and as commands.
mod client;
mod commands;
mod home;
