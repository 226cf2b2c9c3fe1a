//! Server reflection (PROTOCOL, 6).
use tonic::service::RoutesBuilder;

/// Adds the reflection service.
pub fn add_to(_routes: &mut RoutesBuilder) {}
