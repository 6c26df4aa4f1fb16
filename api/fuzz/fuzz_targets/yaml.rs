//! Any text: the YAML parser, the splitter, and printing what was read.
#![no_main]

use lateen_api::yaml;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let parts = yaml::split(text);
    let whole: String = parts
        .iter()
        .map(|part| &text[part.span.clone()])
        .collect();
    assert_eq!(whole, text, "the parts are the whole");
    let Ok(documents) = yaml::parse(text) else {
        return;
    };
    for document in documents {
        if let Ok(value) = yaml::read::<serde_json::Value>(&document.root) {
            let printed = yaml::to_text(&value);
            let again = yaml::parse(&printed).expect("what is printed is YAML");
            let read: serde_json::Value =
                yaml::read(&again[0].root).expect("what is printed is read");
            assert_eq!(read, value, "{printed}");
        }
    }
});
