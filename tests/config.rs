//! Configuration files as fixtures, and the example file as what it claims to be.
//!
//! The comments at the head of a fixture say what is to come of it: `# expect: ` is a line of the program's answer (a
//! fault without the path of the file, or the summary of a valid one), `# env: ` sets a variable. Every answer is
//! compared as a whole.

#![expect(clippy::unwrap_used, reason = "a test ends where a fixture is not as it is expected")]

use fca_proxy::config::{Config, ConfigError, Environment, Sources};
use std::fs;
use std::path::{Path, PathBuf};

fn load(file: &Path, environment: Environment) -> Result<Config, ConfigError> {
    Config::load(&Sources { file: Some(file.to_owned()), environment, ..Sources::default() })
}

struct Fixture {
    path: PathBuf,
    environment: Environment,
    expected: Vec<String>,
}

impl Fixture {
    fn load(&self) -> Result<Config, ConfigError> {
        load(&self.path, self.environment.clone())
    }
}

/// The fixtures of a directory, which are at least so many.
fn fixtures(directory: &str, at_least: usize) -> Vec<Fixture> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(directory);
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let fixtures: Vec<Fixture> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "toml")).map(fixture).collect();
    assert!(fixtures.len() >= at_least, "only {} fixtures", fixtures.len());
    fixtures
}

fn fixture(path: PathBuf) -> Fixture {
    let bytes = fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let said = |what: &'static str| {
        text.lines().take_while(|line| line.starts_with('#')).filter_map(move |line| line.strip_prefix(what))
    };
    let variables = said("# env: ").map(|line| line.split_once('=').unwrap());
    let environment = variables.map(|(name, value)| (name.into(), value.into())).collect();
    let expected = said("# expect: ").map(str::to_owned).collect();
    Fixture { environment, expected, path }
}

/// What is said of a fixture, without where this checkout happens to be.
fn relative(text: &str, fixture: &Path) -> String {
    let directory = format!("{}/", fixture.parent().unwrap().display());
    let name = format!("{}:", fixture.file_name().unwrap().to_string_lossy());
    let text = text.replace(&directory, "");
    text.strip_prefix(&name).unwrap_or(&text).to_owned()
}

#[test]
fn every_invalid_file_has_precisely_its_faults() {
    for fixture in fixtures("invalid", 15) {
        assert!(!fixture.expected.is_empty(), "{} expects nothing", fixture.path.display());
        let error = fixture.load().expect_err(&fixture.path.display().to_string());
        let said: Vec<String> = error.to_string().lines().map(|line| relative(line, &fixture.path)).collect();
        assert_eq!(said, fixture.expected, "{}:\n{}", fixture.path.display(), said.join("\n"));
    }
}

#[test]
fn every_valid_file_amounts_to_its_summary() {
    for fixture in fixtures("valid", 5) {
        let config = fixture.load().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!([config.summary()], *fixture.expected, "{}", fixture.path.display());
    }
}

#[test]
fn a_missing_file_is_a_fault_of_the_file() {
    let error = load(Path::new("/nonexistent/fca-proxy.toml"), Environment::new()).unwrap_err();
    assert!(
        error.to_string().starts_with("/nonexistent/fca-proxy.toml: the file can't be read: No such file"),
        "{error}"
    );
}

#[test]
fn the_variable_names_the_file_and_the_flag_another() {
    let valid = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/valid").join(name);
    let environment = Environment::from([("FCA_PROXY_CONFIG".into(), valid("disabled.toml").into_os_string())]);
    let of = |file| Config::load(&Sources { file, environment: environment.clone(), flags: Vec::new() }).unwrap();
    assert!(of(None).summary().contains("upstream disabled"));
    assert!(of(Some(valid("empty.toml"))).summary().contains("upstream embedded"));
}

mod example {
    //! `config.toml.example`: every key stands in it, and with all comments taken away it says what holds anyway.

    use super::*;

    /// One setting of the example file.
    struct Setting {
        /// Its path, with `NAME` for a namespace.
        key: String,
        line: usize,
        /// Whether it has no default, so that what stands there is an example.
        is_sample: bool,
    }

    fn text() -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml.example")).unwrap()
    }

    /// A line that is a setting once its comment sign is away: `#key = value` or `#[table]`, no space after the sign.
    fn setting(line: &str) -> Option<&str> {
        line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()))
    }

    fn settings(text: &str) -> Vec<Setting> {
        let (mut table, mut settings, mut is_sample, mut in_prose) = (String::new(), Vec::new(), false, false);
        for (line, written) in text.lines().enumerate() {
            let uncommented = setting(written).unwrap_or(written);
            if let Some(header) = uncommented.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                table = format!("{}.", header.replace("namespaces.faq", "namespaces.NAME"));
            } else if uncommented.starts_with('#') {
                is_sample = (in_prose && is_sample) || written.contains("Default: none");
            } else if let Some((key, _)) = uncommented.split_once(" = ") {
                settings.push(Setting { key: format!("{table}{key}"), line, is_sample });
            }
            in_prose = uncommented.starts_with('#');
        }
        settings
    }

    /// The example without the comment signs of the settings that `keep` accepts.
    fn uncommented(text: &str, keep: impl Fn(&Setting) -> bool) -> String {
        let settings = settings(text);
        let is_kept = |line| settings.iter().find(|setting| setting.line == line).is_none_or(&keep);
        let lines = text.lines().enumerate().map(|(at, line)| setting(line).filter(|_| is_kept(at)).unwrap_or(line));
        lines.map(|line| format!("{line}\n")).collect()
    }

    fn load_text(directory: &Path, text: &str, environment: Environment) -> Result<Config, ConfigError> {
        let file = directory.join("config.toml");
        fs::write(&file, text).unwrap();
        load(&file, environment)
    }

    #[test]
    fn as_it_is_it_gives_the_defaults() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(load_text(directory.path(), &text(), Environment::new()), Ok(Config::default()));
    }

    #[test]
    fn what_stands_in_it_as_default_is_the_default() {
        let directory = tempfile::tempdir().unwrap();
        let text = uncommented(&text(), |setting| !setting.is_sample).replace("[namespaces.faq]", "");
        assert!(text.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count() > 30, "{text}");
        assert_eq!(load_text(directory.path(), &text, Environment::new()), Ok(Config::default()));
    }

    #[test]
    fn with_all_comments_away_it_is_valid() {
        let directory = tempfile::tempdir().unwrap();
        for secret in
            ["upstream-password", "redis-ca.pem", "fca-proxy.pem", "fca-proxy-key.pem", "key-secret", "faq-secret"]
        {
            fs::write(directory.path().join(secret), "0123456789abcdef\n").unwrap();
        }
        let environment: Environment =
            ["REDIS_PASSWORD", "FAQ_KEY_SECRET"].map(|name| (name.into(), "0123456789abcdef".into())).into();
        // A secret is given by one of two keys, so that there are two ways to take all comments away.
        for other in ["_env", "_file"] {
            let is_other = |key: &str| key.ends_with(other) && (key.contains("password") || key.contains("secret"));
            let text = uncommented(&text(), |setting| !is_other(&setting.key));
            let text = text.replace("/run/secrets/", "").replace("url = \"embedded\"", "url = \"rediss://redis:6380\"");
            let config =
                load_text(directory.path(), &text, environment.clone()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(config.upstream.password.unwrap().expose(), b"0123456789abcdef");
            assert_eq!(config.namespaces.find(b"faq").unwrap().ttl_max.as_secs(), 7 * 86_400);
        }
    }

    #[test]
    fn every_key_stands_in_it_and_no_other() {
        let mut written: Vec<String> = settings(&text()).into_iter().map(|setting| setting.key).collect();
        let mut keys = Config::keys();
        written.sort();
        keys.sort();
        assert!(keys.len() > 40, "{keys:?}");
        assert_eq!(written, keys);
    }

    #[test]
    fn every_setting_has_words_above_it() {
        let text = text();
        let lines: Vec<&str> = text.lines().collect();
        for at in settings(&text).iter().map(|setting| setting.line) {
            let first = (0..at).rev().find(|&above| setting(lines[above]).is_none()).unwrap();
            assert!(lines[first].starts_with("# "), "line {}: {}", at + 1, lines[at]);
        }
    }
}
