//! Compiles the hand-written protos, and prunes Envoy's descriptor set to the messages that `json` and `canonical` know.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use prost::Message;
use prost_types::FileDescriptorSet;

#[path = "build/frozen.rs"]
mod frozen;
#[path = "build/prune.rs"]
mod prune;
#[path = "build/roots.rs"]
mod roots;
#[path = "build/shapes.rs"]
mod shapes;

const PROTOS: &[&str] = &[
    "istio/v1/auth/ca.proto",
    "stats/config.proto",
    "istio/envoy/config/filter/http/alpn/v2alpha1/config.proto",
    "io/istio/http/peer_metadata/config.proto",
    "envoy/tcp/metadataexchange/config/metadata_exchange.proto",
    "istio/networking/nds/v1/nds.proto",
    "udpa/type/v1/typed_struct.proto",
    "xds/type/v3/typed_struct.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for path in ["build.rs", "build", "proto"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let own = protox::compile(PROTOS, ["proto"])?;
    compile_messages(own.clone())?;
    let types = fs::read(envoy_types_dir()?.join("src/generated/types.bin"))?;
    let envoy = FileDescriptorSet::decode(types.as_slice())?;
    fs::write(out.join("frozen.rs"), frozen::source(&types)?)?;
    let all = prune::merge(envoy.clone(), own.clone());
    fs::write(out.join("all.bin"), all.encode_to_vec())?;
    let pruned = prune::prune(envoy, own, roots::ROOTS)?;
    fs::write(out.join("shapes.rs"), shapes::source(&pruned))?;
    fs::write(out.join("descriptors.bin"), pruned.encode_to_vec())?;
    Ok(())
}

/// Messages and the certificate service; well-known types are those of envoy-types, so that they cross freely.
fn compile_messages(own: FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    let mut config = tonic_prost_build::Config::new();
    config
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .btree_map(["."]);
    tonic_prost_build::configure()
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::envoy_types::pb::google::protobuf")
        .include_file("messages.rs")
        .compile_fds_with_config(own, config)?;
    Ok(())
}

/// Where cargo keeps the envoy-types package that this build uses; it ships the descriptor set.
fn envoy_types_dir() -> Result<PathBuf, Box<dyn Error>> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let run = |offline: bool| {
        let mut command = Command::new(&cargo);
        command
            .args(["metadata", "--format-version", "1", "--filter-platform"])
            .arg(env::var("TARGET").unwrap_or_default());
        command.arg("--manifest-path").arg(&manifest);
        if offline {
            command.arg("--offline");
        }
        command.output()
    };
    let mut output = run(true)?;
    if !output.status.success() {
        output = run(false)?;
    }
    if !output.status.success() {
        return Err(format!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata lists no packages")?;
    let package = packages
        .iter()
        .find(|p| p["name"] == "envoy-types")
        .ok_or("envoy-types is not among the dependencies")?;
    let manifest = package["manifest_path"]
        .as_str()
        .ok_or("envoy-types has no manifest path")?;
    Ok(Path::new(manifest)
        .parent()
        .ok_or("envoy-types has no folder")?
        .to_owned())
}
