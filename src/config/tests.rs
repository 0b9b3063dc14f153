//! Claims about a whole configuration: what overrides what, what is told, what never is.
//!
//! Faults in files are fixtures under `tests/config`; here stands what needs the environment, flags or random input.

use super::*;
use proptest::prelude::*;
use std::sync::Arc;

/// What `text` as a file, these variables and these flags amount to.
fn load(
    text: &str,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &'static [&'static str], &str)],
) -> Result<Config, ConfigError> {
    let mut report = Report::default();
    let written = file::parse(text, &Arc::from(std::path::Path::new("f.toml")), &mut report);
    let flags = flags.iter().map(|&(flag, key, value)| FlagValue { flag, key, value: value.to_owned() });
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let sources = Sources { file: None, environment, flags: flags.collect() };
    Config::from_written(written, &sources, report)
}

fn faults(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    load(text, environment, &[]).unwrap_err().faults.iter().map(Fault::to_string).collect()
}

const UPSTREAM_URL: &[&str] = &["upstream", "url"];

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(load("", &[], &[]), Ok(Config::default()));
}

#[test]
fn a_flag_overrides_the_environment_and_that_the_file() {
    let (file, variable) = ("workers = 1\ndrain = \"1s\"\nkey_prefix = \"a:\"", ("FCA_PROXY_WORKERS", "2"));
    let drain = ("FCA_PROXY_DRAIN", "2s");
    let config = load(file, &[variable, drain], &[("--workers", &["workers"], "3")]).unwrap();
    assert_eq!((config.workers.get(), config.drain.as_secs(), config.key_prefix.as_str()), (3, 2, "a:"));
}

#[test]
fn a_variable_replaces_a_faulty_value_of_the_file() {
    let config = load("[limits]\nclients_max = 0", &[("FCA_PROXY_LIMITS__CLIENTS_MAX", "7")], &[]).unwrap();
    assert_eq!(config.limits.clients_max, 7);
}

#[test]
fn the_environment_sets_every_type_of_value() {
    let environment = [
        ("FCA_PROXY_LISTEN", "127.0.0.1:1, [::1]:2"),
        ("FCA_PROXY_ADMIN_LISTEN", "off"),
        ("FCA_PROXY_UPSTREAM", "redis://cache/3"),
        ("FCA_PROXY_UPSTREAM_PASSWORD", "pw"),
        ("FCA_PROXY_LOG_LEVEL", "error"),
        ("FCA_PROXY_LOG_FORMAT", "json"),
        ("FCA_PROXY_DEFAULTS__ENABLED", "false"),
        ("FCA_PROXY_LIMITS__QUERY_BYTES_MAX", "2kb"),
        ("FCA_PROXY_LIMITS__VALUE_BYTES_MAX", "4096"),
        ("FCA_PROXY_UPSTREAM__ON_UNREACHABLE", "error"),
        ("FCA_PROXY_DRAIN", ""),
        ("HOME", "/root"),
    ];
    let config = load("", &environment, &[]).unwrap();
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.admin_listen, None);
    assert_eq!((config.upstream.database, config.upstream.on_unreachable), (3, OnUnreachable::Error));
    assert_eq!(config.upstream.password, Some(Secret::new(b"pw".to_vec())));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Error, LogFormat::Json));
    assert!(!config.namespaces.defaults().enabled);
    assert_eq!((config.limits.query_bytes_max, config.limits.value_bytes_max), (2048, 4096));
    assert_eq!(config.drain, Config::default().drain);
}

#[test]
fn a_namespace_is_found_in_capitals_or_made_in_lower_case() {
    let file = "[namespaces.FaQ]\n[namespaces.\"legal-de.v1\"]\n[namespaces.a__b]";
    let environment = [
        ("FCA_PROXY_NAMESPACES__FAQ__TTL", "1s"),
        ("FCA_PROXY_NAMESPACES__LEGAL_DE_V1__TTL", "2s"),
        ("FCA_PROXY_NAMESPACES__A__B__TTL", "3s"),
        ("FCA_PROXY_NAMESPACES__NEW__TTL", "4s"),
        ("FCA_PROXY_NAMESPACES__NEW__ENABLED", "false"),
    ];
    let config = load(file, &environment, &[]).unwrap();
    let ttls: Vec<(&str, u64)> = config.namespaces.named().map(|(name, made)| (name, made.ttl.as_secs())).collect();
    assert_eq!(ttls, [("FaQ", 1), ("a__b", 3), ("legal-de.v1", 2), ("new", 4)]);
    assert!(!config.namespaces.find(b"new").unwrap().enabled);
}

#[test]
fn two_namespaces_that_read_the_same_in_capitals_are_told_apart_by_case_only() {
    let file = "[namespaces.faq]\n[namespaces.Faq]";
    let config = load(file, &[("FCA_PROXY_NAMESPACES__faq__TTL", "1s")], &[]).unwrap();
    assert_eq!(config.namespaces.find(b"faq").unwrap().ttl.as_secs(), 1);
    assert_eq!(config.namespaces.find(b"Faq").unwrap().ttl.as_secs(), 300);
    assert_eq!(
        faults(file, &[("FCA_PROXY_NAMESPACES__FAQ__TTL", "1s")]),
        ["FCA_PROXY_NAMESPACES__FAQ__TTL: the namespaces Faq and faq read the same in capitals; set this in the file"]
    );
}

#[test]
fn a_variable_that_names_no_key_is_a_fault() {
    let environment = [
        ("FCA_PROXY_LISTENS", "127.0.0.1:1"),
        ("FCA_PROXY_LIMITS__CLIENT_MAX", "5"),
        ("FCA_PROXY_PORT", "6380"),
        ("FCA_PROXY_LIMITS", "5"),
        ("FCA_PROXY_LOG_LEVEL", "info"),
        ("FCA_PROXY_LOG__LEVEL", "debug"),
    ];
    let faults = faults("", &environment);
    let starts = [
        "FCA_PROXY_LIMITS: limits: expected a table, for example [limits]; found \"5\"",
        "FCA_PROXY_LISTENS: listens: unknown key; did you mean listen?",
        "FCA_PROXY_LOG__LEVEL: log.level: FCA_PROXY_LOG_LEVEL gives it already",
        "FCA_PROXY_PORT: port: unknown key",
    ];
    for start in starts {
        assert!(faults.iter().any(|fault| fault.starts_with(start)), "{start} is not in {faults:#?}");
    }
}

#[test]
fn a_variable_that_holds_a_secret_is_no_unknown_key() {
    let secret = ("FCA_PROXY_FAQ_SECRET", "0123456789abcdef");
    let config = load("[namespaces.faq]\nkey_secret_env = \"FCA_PROXY_FAQ_SECRET\"", &[secret], &[]).unwrap();
    let exposed = config.namespaces.find(b"faq").unwrap().key_secret.as_ref().map(Secret::expose);
    assert_eq!(exposed, Some(b"0123456789abcdef".as_slice()));
    assert_eq!(faults("", &[secret]).len(), 1);
}

#[test]
fn a_secret_in_place_of_its_place_is_not_repeated() {
    for key in ["password_file", "password_env", "url", "password"] {
        let said = faults(&format!("[upstream]\nurl = \"redis://a\"\n{key} = \"Xq7ZkW9s\""), &[]);
        assert!(!said.is_empty() && !said.concat().contains("Xq7ZkW9s"), "{said:?}");
    }
}

#[test]
fn the_password_of_the_later_source_counts() {
    let password = |file: &str, environment: &[(&str, &str)], url: Option<&str>| {
        let flags: Vec<_> = url.map(|url| ("--upstream", UPSTREAM_URL, url)).into_iter().collect();
        let config = load(file, environment, &flags).unwrap();
        config.upstream.password.map(|password| String::from_utf8(password.expose().to_vec()).unwrap())
    };
    let in_url = "[upstream]\nurl = \"redis://:file@a\"";
    let variable = [("FCA_PROXY_UPSTREAM_PASSWORD", "variable")];
    assert_eq!(password(in_url, &[], None).as_deref(), Some("file"));
    assert_eq!(password(in_url, &variable, None).as_deref(), Some("variable"));
    assert_eq!(password(in_url, &variable, Some("redis://:flag@b")).as_deref(), Some("flag"));
    assert_eq!(password(in_url, &variable, Some("redis://b")).as_deref(), Some("variable"));
    assert_eq!(password(in_url, &[], Some("redis://b")), None);
}

#[test]
fn a_url_for_a_trial_leaves_aside_what_the_file_says_for_its_own() {
    let file = "[upstream]\nurl = \"rediss://a\"\nserver_name = \"b\"\nusername = \"app\"\npassword_env = \"PW\"";
    let variable = [("PW", "pw")];
    let flag = |url| [("--upstream", UPSTREAM_URL, url)];
    let config = load(file, &variable, &flag("embedded")).unwrap();
    assert_eq!(config.upstream, Upstream::default());
    let config = load(file, &variable, &flag("redis://c")).unwrap();
    assert_eq!((config.upstream.username.as_deref(), config.upstream.tls), (Some("app"), UpstreamTls::default()));
}

#[test]
fn a_longer_timeout_lengthens_the_default_of_dead_after() {
    let config = load("[upstream]\ntimeout = \"3s\"", &[], &[]).unwrap();
    assert_eq!(config.upstream.dead_after, Duration::from_secs(3));
}

#[test]
fn the_reload_that_needs_a_restart_says_so() {
    let running = Config::default();
    let reloaded = "[upstream]\ntimeout = \"9ms\"\non_unreachable = \"error\"\nadmin_commands = [\"debug\"]\n[defaults]\nttl = \"1s\"\n[limits]\nclients_max = 1";
    assert_eq!(load(reloaded, &[], &[]).unwrap().needs_restart(&running), [""; 0]);
    let fixed = "listen = \"127.0.0.1:1\"\nworkers = 99\n[upstream]\nbackoff_min = \"1ms\"\n[log]\nlevel = \"warn\"";
    let keys = load(fixed, &[], &[]).unwrap().needs_restart(&running);
    assert_eq!(keys, ["listen", "workers", "[upstream] (all but timeout, on_unreachable and admin_commands)", "[log]"]);
}

#[test]
fn what_the_near_cache_tracks_is_fixed_at_the_start() {
    let server = "upstream.url = \"redis://redis\"\n";
    let running = load(server, &[], &[]).unwrap();
    for changed in ["key_prefix = \"faq:\"", "near_cache.ttl_max = \"1s\"", "near_cache.enabled = false"] {
        let keys = load(&format!("{server}{changed}"), &[], &[]).unwrap().needs_restart(&running);
        assert_eq!(keys, ["[near_cache] (key_prefix is one of its prefixes)"], "{changed}");
    }
    let embedded = load("key_prefix = \"faq:\"", &[], &[]).unwrap();
    assert_eq!(embedded.needs_restart(&Config::default()), [""; 0]);
}

#[test]
fn the_near_cache_tracks_the_key_prefix_and_what_is_named() {
    let prefixes = |text: &str| load(text, &[], &[]).unwrap().near_cache.prefixes;
    assert_eq!(prefixes(""), ["fca:"]);
    assert_eq!(prefixes("key_prefix = \"faq:\""), ["faq:"]);
    assert_eq!(prefixes("near_cache.prefixes = [\"a:\", \"b:\"]"), ["fca:", "a:", "b:"]);
    assert_eq!(prefixes("near_cache.prefixes = [\"a:\", \"f\"]"), ["a:", "f"]);
    assert_eq!(prefixes("near_cache.prefixes = \"\""), [""]);
    let variable = [("FCA_PROXY_NEAR_CACHE__PREFIXES", "a:, fca:")];
    assert_eq!(load("", &variable, &[]).unwrap().near_cache.prefixes, ["a:", "fca:"]);
}

#[test]
fn without_tracking_nothing_is_served_for_longer_than_with_it() {
    let config = load("near_cache.ttl_max = \"1s\"", &[], &[]).unwrap();
    assert_eq!(config.near_cache.ttl_max_without_tracking, Duration::from_secs(1));
}

#[test]
fn there_are_at_most_so_many_namespaces() {
    let namespaces = |count| (0..count).map(|n| format!("[namespaces.n{n}]\n")).collect::<String>();
    assert!(load(&namespaces(NAMESPACES_MAX), &[], &[]).is_ok());
    assert_eq!(faults(&namespaces(NAMESPACES_MAX + 1), &[]).len(), 1);
    assert_eq!(NAMESPACES_MAX, crate::metrics::NAMESPACES_MAX, "each is to have a label of the metrics");
}

#[test]
fn a_long_list_of_faults_is_found_in_time() {
    let lines: String = (0..20_000).map(|n| format!("k{n} = {n}\n")).collect();
    assert_eq!(faults(&lines, &[]).len(), 20_000);
}

#[test]
fn the_summary_names_some_namespaces_and_counts_the_rest() {
    let summary = |file: &str| load(file, &[], &[]).unwrap().summary();
    let ten: String = (0..10).map(|n| format!("[namespaces.n{n}]\n")).collect();
    assert!(
        summary(&ten).ends_with("namespaces n0, n1, n2, n3, n4, n5, n6, n7, 2 more, any other"),
        "{}",
        summary(&ten)
    );
    let none = summary("unknown_namespaces = \"reject\"\nadmin_listen = \"off\"");
    assert!(none.contains("; metrics off; ") && none.ends_with("namespaces none at all"), "{none}");
}

proptest! {
    #[test]
    fn no_text_makes_the_reading_panic(text in "[a-z_.\\[\\]=\"'0-9{}, \n#\\\\é-]{0,200}", value in any::<String>()) {
        let _ = load(&text, &[], &[]);
        let _ = load(&format!("[limits]\nclients_max = {value}\n{text}"), &[], &[]);
        let _ = load("[upstream]\nurl = 5", &[("FCA_PROXY_LISTEN", &value), (&format!("FCA_PROXY_{text}"), "1")], &[]);
    }

    #[test]
    fn no_fault_and_no_debug_output_holds_a_secret(
        url in prop::sample::select(vec!["redis://:@!", "redis://u:@h/x", "http://:@h", "unix://@/x", "redis://h?p=@", ":@", "rediss://u:@h"]),
        key in prop::sample::select(vec!["url", "password", "password_file", "server_name", "url = [", "x.y"]),
    ) {
        const SECRET: &str = "Xq7ZkW9s";
        let url = url.replace('@', &format!("{SECRET}@"));
        let key_secret = ("FCA_PROXY_DEFAULTS__KEY_SECRET", SECRET);
        let environment = [("FCA_PROXY_UPSTREAM", url.as_str()), ("FCA_PROXY_UPSTREAM_PASSWORD", SECRET), key_secret];
        let file = if key.starts_with("url") { format!("[upstream]\n{key} = \"{url}\"") } else { String::new() };
        for said in [load(&file, &environment, &[]), load(&file, &[], &[("--upstream", UPSTREAM_URL, &url)])] {
            let said = said.map_or_else(|error| format!("{error} {error:?}"), |config| format!("{config:?} {}", config.summary()));
            prop_assert!(!said.contains(SECRET), "{said}");
        }
    }
}
