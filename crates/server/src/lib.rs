//! Listeners and the services of the Remote Execution API.
#![forbid(unsafe_code)]
