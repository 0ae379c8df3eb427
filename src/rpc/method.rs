//! Every method that is served, as an enum that `build.rs` makes of the descriptors.
//!
//! Whoever matches on it, as `role` does, is held by the compiler to have an arm for each.

include!(concat!(env!("OUT_DIR"), "/methods.rs"));

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::Method;
    use crate::rpc::proto::DESCRIPTORS;

    fn paths(encoded: &[u8]) -> Vec<String> {
        let set = FileDescriptorSet::decode(encoded).expect("descriptors");
        let services =
            set.file.iter().flat_map(|file| file.service.iter().map(move |service| (file.package(), service)));
        services
            .flat_map(|(package, service)| {
                let path = move |method: &str| format!("/{package}.{}/{method}", service.name());
                service.method.iter().map(move |method| path(method.name()))
            })
            .collect()
    }

    #[test]
    fn methods_are_those_of_all_descriptors() {
        let sets = [DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET];
        let mut described: Vec<_> = sets.into_iter().flat_map(paths).collect();
        let mut known: Vec<_> = Method::ALL.iter().map(|method| method.path().to_owned()).collect();
        described.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, described);
    }

    #[test]
    fn a_path_is_that_of_its_method_alone() {
        for &method in Method::ALL {
            assert_eq!(Method::of(method.path()), Some(method));
        }
        for path in ["", "/", "/grpc.health.v1.Health", "/grpc.health.v1.Health/check", "/grpc.health.v1.Health/Check/"]
        {
            assert_eq!(Method::of(path), None, "{path}");
        }
    }
}
