//! Keeps of a descriptor set what the roots reach, without options and comments that only code generators read.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// All of Envoy's set and our own, each file after those that it imports, without comments.
pub(crate) fn merge(envoy: FileDescriptorSet, own: FileDescriptorSet) -> FileDescriptorSet {
    let mut files: BTreeMap<String, FileDescriptorProto> = BTreeMap::new();
    for mut file in envoy.file.into_iter().chain(own.file) {
        file.source_code_info = None;
        files.entry(file.name().to_owned()).or_insert(file);
    }
    FileDescriptorSet {
        file: in_order(files.into_values().collect()),
    }
}

/// Merges Envoy's set with our own and keeps the closure of `roots` and of every message of our own files.
pub(crate) fn prune(
    envoy: FileDescriptorSet,
    own: FileDescriptorSet,
    roots: &[&str],
) -> Result<FileDescriptorSet, String> {
    let mut files: BTreeMap<String, FileDescriptorProto> = envoy
        .file
        .into_iter()
        .map(|f| (f.name().to_owned(), f))
        .collect();
    let mut wanted: Vec<String> = roots.iter().map(|root| (*root).to_owned()).collect();
    for file in own.file {
        if file.package() != "google.protobuf" {
            wanted.extend(
                file.message_type
                    .iter()
                    .map(|m| format!("{}.{}", file.package(), m.name())),
            );
        }
        files.entry(file.name().to_owned()).or_insert(file);
    }
    let mut index = Index::default();
    for file in files.values() {
        index.add_file(file);
    }
    let keep = index.closure(wanted)?;
    let mut kept: Vec<FileDescriptorProto> = files
        .into_values()
        .filter_map(|file| prune_file(file, &keep))
        .collect();
    let homes: BTreeMap<String, String> = kept
        .iter()
        .flat_map(|f| names_of(f).into_iter().map(|n| (n, f.name().to_owned())))
        .collect();
    for file in &mut kept {
        file.dependency = dependencies(file, &homes);
    }
    Ok(FileDescriptorSet {
        file: in_order(kept),
    })
}

/// Message full name → full names of the types its fields use.
#[derive(Default)]
struct Index {
    uses: BTreeMap<String, Vec<String>>,
    enums: BTreeSet<String>,
}

impl Index {
    fn add_file(&mut self, file: &FileDescriptorProto) {
        for message in &file.message_type {
            self.add_message(file.package(), message);
        }
        for item in &file.enum_type {
            self.enums
                .insert(format!("{}.{}", file.package(), item.name()));
        }
    }

    fn add_message(&mut self, parent: &str, message: &DescriptorProto) {
        let name = format!("{parent}.{}", message.name());
        for nested in &message.nested_type {
            self.add_message(&name, nested);
        }
        for item in &message.enum_type {
            self.enums.insert(format!("{name}.{}", item.name()));
        }
        self.uses.insert(
            name,
            message
                .field
                .iter()
                .filter_map(|f| f.type_name.as_deref())
                .map(undotted)
                .collect(),
        );
    }

    fn closure(&self, mut wanted: Vec<String>) -> Result<BTreeSet<String>, String> {
        let mut keep = BTreeSet::new();
        while let Some(name) = wanted.pop() {
            if keep.contains(&name) {
                continue;
            }
            if let Some(uses) = self.uses.get(&name) {
                wanted.extend(uses.iter().cloned());
            } else if !self.enums.contains(&name) {
                return Err(format!("{name} is in no descriptor file"));
            }
            keep.insert(name);
        }
        Ok(keep)
    }
}

fn undotted(name: &str) -> String {
    name.trim_start_matches('.').to_owned()
}

fn prune_file(
    mut file: FileDescriptorProto,
    keep: &BTreeSet<String>,
) -> Option<FileDescriptorProto> {
    let package = file.package().to_owned();
    file.message_type = prune_messages(std::mem::take(&mut file.message_type), &package, keep);
    file.enum_type = prune_enums(std::mem::take(&mut file.enum_type), &package, keep);
    file.service.clear();
    file.extension.clear();
    file.public_dependency.clear();
    file.weak_dependency.clear();
    file.source_code_info = None;
    file.options = None;
    (!file.message_type.is_empty() || !file.enum_type.is_empty()).then_some(file)
}

fn prune_messages(
    messages: Vec<DescriptorProto>,
    parent: &str,
    keep: &BTreeSet<String>,
) -> Vec<DescriptorProto> {
    messages
        .into_iter()
        .filter_map(|message| prune_message(message, parent, keep))
        .collect()
}

/// A message that is not kept stays as an empty shell while something nested in it is.
fn prune_message(
    mut message: DescriptorProto,
    parent: &str,
    keep: &BTreeSet<String>,
) -> Option<DescriptorProto> {
    let name = format!("{parent}.{}", message.name());
    message.nested_type = prune_messages(std::mem::take(&mut message.nested_type), &name, keep);
    message.enum_type = prune_enums(std::mem::take(&mut message.enum_type), &name, keep);
    message.extension.clear();
    message.reserved_name.clear();
    message.reserved_range.clear();
    for field in &mut message.field {
        field.options = field
            .options
            .take()
            .filter(|options| options.packed.is_some());
    }
    for oneof in &mut message.oneof_decl {
        oneof.options = None;
    }
    if let Some(options) = &mut message.options {
        options.uninterpreted_option.clear();
    }
    if !keep.contains(&name) {
        if message.nested_type.is_empty() && message.enum_type.is_empty() {
            return None;
        }
        message.field.clear();
        message.oneof_decl.clear();
    }
    Some(message)
}

fn prune_enums(
    enums: Vec<EnumDescriptorProto>,
    parent: &str,
    keep: &BTreeSet<String>,
) -> Vec<EnumDescriptorProto> {
    let mut enums: Vec<_> = enums
        .into_iter()
        .filter(|e| keep.contains(&format!("{parent}.{}", e.name())))
        .collect();
    for value in enums.iter_mut().flat_map(|e| &mut e.value) {
        value.options = None;
    }
    enums
}

fn names_of(file: &FileDescriptorProto) -> Vec<String> {
    fn walk(parent: &str, messages: &[DescriptorProto], names: &mut Vec<String>) {
        for message in messages {
            let name = format!("{parent}.{}", message.name());
            names.extend(
                message
                    .enum_type
                    .iter()
                    .map(|e| format!("{name}.{}", e.name())),
            );
            walk(&name, &message.nested_type, names);
            names.push(name);
        }
    }
    let mut names = Vec::new();
    walk(file.package(), &file.message_type, &mut names);
    names.extend(
        file.enum_type
            .iter()
            .map(|e| format!("{}.{}", file.package(), e.name())),
    );
    names
}

fn dependencies(file: &FileDescriptorProto, homes: &BTreeMap<String, String>) -> Vec<String> {
    fn walk(
        messages: &[DescriptorProto],
        homes: &BTreeMap<String, String>,
        found: &mut BTreeSet<String>,
    ) {
        for message in messages {
            let used = message.field.iter().filter_map(|f| f.type_name.as_deref());
            found.extend(used.filter_map(|name| homes.get(name.trim_start_matches('.')).cloned()));
            walk(&message.nested_type, homes, found);
        }
    }
    let mut found = BTreeSet::new();
    walk(&file.message_type, homes, &mut found);
    found.remove(file.name());
    found.into_iter().collect()
}

/// Files after the files they depend on, as a reader in one pass needs them.
fn in_order(files: Vec<FileDescriptorProto>) -> Vec<FileDescriptorProto> {
    let mut left = files;
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut sorted = Vec::new();
    while !left.is_empty() {
        let (ready, rest): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|f| f.dependency.iter().all(|d| done.contains(d)));
        if ready.is_empty() {
            sorted.extend(rest);
            break;
        }
        done.extend(ready.iter().map(|f| f.name().to_owned()));
        sorted.extend(ready);
        left = rest;
    }
    sorted
}
