use super::*;
use proptest::prelude::*;

const NONE: PathNormalization = PathNormalization {
    normalize: false,
    merge_slashes: false,
    unescape_slashes: false,
};
const BASE: PathNormalization = PathNormalization {
    normalize: true,
    ..NONE
};
const MERGE: PathNormalization = PathNormalization {
    merge_slashes: true,
    ..BASE
};
const DECODE: PathNormalization = PathNormalization {
    unescape_slashes: true,
    ..MERGE
};

#[test]
fn s2_each_mode_has_one_form() {
    for (path, none, base, merge, decode) in [
        (
            "/a/b?q=../x",
            "/a/b?q=../x",
            "/a/b?q=../x",
            "/a/b?q=../x",
            "/a/b?q=../x",
        ),
        ("/a/../b", "/a/../b", "/b", "/b", "/b"),
        ("/a/%2e%2E/b", "/a/%2e%2E/b", "/b", "/b", "/b"),
        ("/a\\..\\b", "/a\\..\\b", "/b", "/b", "/b"),
        ("/../../a/.", "/../../a/.", "/a/", "/a/", "/a/"),
        ("/a/b/..", "/a/b/..", "/a/", "/a/", "/a/"),
        ("//a///b", "//a///b", "//a///b", "/a/b", "/a/b"),
        ("/a%2Fb", "/a%2Fb", "/a%2Fb", "/a%2Fb", "/a/b"),
        ("/a%5cb", "/a%5cb", "/a%5cb", "/a%5cb", "/a/b"),
        (
            "/a%2f..%2fb",
            "/a%2f..%2fb",
            "/a%2f..%2fb",
            "/a%2f..%2fb",
            "/b",
        ),
        ("/a%2f%2fb", "/a%2f%2fb", "/a%2f%2fb", "/a%2f%2fb", "/a/b"),
        (
            "/%61%7e%252e",
            "/%61%7e%252e",
            "/a~%252e",
            "/a~%252e",
            "/a~%252e",
        ),
        ("/100%", "/100%", "/100%", "/100%", "/100%"),
        ("/a{b}", "/a{b}", "/a%7Bb%7D", "/a%7Bb%7D", "/a%7Bb%7D"),
        ("*", "*", "*", "*", "*"),
    ] {
        for (mode, wanted) in [(NONE, none), (BASE, base), (MERGE, merge), (DECODE, decode)] {
            assert_eq!(
                normalize_path(mode, path).as_deref(),
                Ok(wanted),
                "{path} {mode:?}"
            );
        }
    }
}

#[test]
fn s2_all_percent_encodings_keep_their_meaning() {
    for byte in 1..=255_u8 {
        for text in [format!("/a%{byte:02x}b"), format!("/a%{byte:02X}b")] {
            let normal = normalize_path(BASE, &text).expect("valid").into_owned();
            if is_unreserved(byte) {
                assert_eq!(normal, format!("/a{}b", char::from(byte)));
            } else {
                assert_eq!(normal, text);
            }
        }
    }
    assert_eq!(normalize_path(BASE, "/%00"), Err(BadPath::Nul));
    assert_eq!(normalize_path(BASE, "a/b"), Err(BadPath::NotAbsolute));
}

#[test]
fn stray_percent_signs_never_make_new_escapes() {
    for path in ["/%%32e%%32e/x", "/%2%35c", "/%%2e"] {
        assert_eq!(normalize_path(DECODE, path).as_deref(), Ok(path));
    }
}

#[test]
fn clean_paths_are_borrowed() {
    assert!(matches!(
        normalize_path(DECODE, "/productpage?u=normal"),
        Ok(Cow::Borrowed(_))
    ));
}

#[test]
fn s1_the_fragment_is_cut() {
    assert_eq!(cut_fragment("/admin#/x"), Some("/admin"));
    assert_eq!(cut_fragment("/admin"), None);
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing(path in "/[a-c./\\\\%25fFeEcC0{é]{0,24}(\\?[./%]{0,4})?") {
        for mode in [NONE, BASE, MERGE, DECODE] {
            if let Ok(once) = normalize_path(mode, &path) {
                let twice = normalize_path(mode, &once).map(Cow::into_owned);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
                if mode.normalize {
                    let plain = once.split('?').next().unwrap_or_default();
                    prop_assert!(plain.split('/').all(|part| part != "." && part != ".."));
                }
            }
        }
    }

    #[test]
    fn any_text_is_handled(path in any::<String>()) {
        for mode in [NONE, BASE, MERGE, DECODE] {
            let _ = normalize_path(mode, &path);
        }
    }
}
