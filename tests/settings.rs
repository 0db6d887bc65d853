//! The settings, their example file and their documentation name the same keys and defaults.

use std::path::{Path, PathBuf};

use clap::Args as _;
use crosspoint::control::config::Settings;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn example() -> PathBuf {
    root().join("packaging/crosspoint.toml")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Each setting: its key, its environment variable and its help.
fn settings() -> Vec<(String, String, String)> {
    let command = Settings::augment_args(clap::Command::new("serve"));
    let all: Vec<_> = command
        .get_arguments()
        .map(|arg| {
            let key = arg.get_long().expect("a setting is a flag").to_owned();
            let variable = arg
                .get_env()
                .expect("and a variable")
                .to_string_lossy()
                .into_owned();
            (
                key,
                variable,
                arg.get_help().expect("and explained").to_string(),
            )
        })
        .collect();
    assert!(all.len() > 20);
    all
}

/// The example with every key uncommented.
fn uncommented() -> String {
    let is_key = |line: &str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    let example = text(&example());
    let lines = example
        .lines()
        .map(|line| if is_key(line) { &line[1..] } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_the_defaults() {
    let given = Settings::read(&example()).unwrap().resolve().unwrap();
    let defaults = Settings::default().resolve().unwrap();
    assert_eq!(format!("{given:?}"), format!("{defaults:?}"));
}

#[test]
fn the_example_uncommented_is_valid_and_shows_the_defaults() {
    let mut all: Settings = toml::from_str(&uncommented()).unwrap();
    // These have no default of their own, or depend on the machine: the example is an example.
    (all.ng_tcp, all.http_token, all.max_calls, all.socket_buffer) = (None, None, None, None);
    (all.workers, all.pin, all.dtmf_log_dest) = (None, Vec::new(), None);
    (all.recording_store, all.recording_store_option) = (None, Vec::new());
    (all.recording_key, all.recording_callback) = (None, None);
    all.recording_retention = None;
    (all.flow_dir, all.status_callback_secret) = (None, None);
    all.sip_listen.clear();
    let defaults = Settings::default().resolve().unwrap();
    assert_eq!(
        format!("{:?}", all.resolve().unwrap()),
        format!("{defaults:?}")
    );
}

#[test]
fn the_example_has_every_key() {
    let example = uncommented();
    for (key, _, _) in settings() {
        let head = format!("{key} = ");
        assert!(
            example.lines().any(|line| line.starts_with(&head)),
            "no key {key}"
        );
    }
}

#[test]
fn the_guide_has_every_key_with_its_default() {
    let guide = text(&root().join("docs/guide.md"));
    for (key, variable, help) in settings() {
        let head = format!("| `{key}` | `--{key}` | `{variable}` | ");
        let row = guide.lines().find_map(|line| line.strip_prefix(&head));
        let row = row.unwrap_or_else(|| panic!("no row {head}"));
        let default = help
            .split_once("[default: ")
            .and_then(|(_, rest)| rest.strip_suffix(']'));
        let default = default.unwrap_or_else(|| panic!("{key}: no default in its help"));
        assert!(
            row.starts_with(&format!("{default} |")),
            "{key}: {row} is not {default}"
        );
    }
}
