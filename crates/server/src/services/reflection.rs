//! Server reflection (PROTOCOL, 6): `grpcurl` and its like can list and call everything.
use tonic::service::RoutesBuilder;
use tonic_reflection::server::Builder;

/// Adds the reflection service, in the version of today and in the one that older tools ask for.
///
/// # Panics
/// The descriptors are part of the program; a server test reads all of them.
pub fn add_to(routes: &mut RoutesBuilder) {
    let described = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(lre_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // What is in the details of an error: grpcurl prints as bytes what it finds no description of.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    routes
        .add_service(described().build_v1().expect("the descriptors are well-formed"))
        .add_service(described().build_v1alpha().expect("the descriptors are well-formed"));
}
