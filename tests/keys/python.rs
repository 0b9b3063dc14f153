//! The same derivation by a CPython (3.11 or later) that runs as a child, compared byte for byte.
//!
//! The inputs come from a seed that is written here, so a failure repeats. Without `python3` the tests fail, unless
//! `FCA_PROXY_TESTS_WITHOUT_PYTHON` is set: then they say that they did nothing.
//! Left out of the comparison, by the oracle: what Unicode has changed since that Python's version.

use fca_proxy::key::{canonical_params, normalise};
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

const ORACLE: &str = include_str!("oracle.py");
const SKIPPING: &str = "FCA_PROXY_TESTS_WITHOUT_PYTHON";

/// Runs the oracle over a script; none where there is no Python and the tests are told to do without.
fn ask_python(script: String) -> Option<Vec<String>> {
    let child = Command::new("python3")
        .args(["-X", "utf8", "-c", ORACLE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound && std::env::var_os(SKIPPING).is_some() => {
            eprintln!("SKIPPED: no python3 to compare with, and {SKIPPING} is set");
            return None;
        }
        Err(error) => panic!("python3: {error}; to go without the comparison, set {SKIPPING}"),
    };
    // The oracle reads all of its script before it answers, so neither side waits for the other's pipe.
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the oracle ended with {}", output.status);
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn normalised_hex(query: &str) -> String {
    let mut out = Vec::new();
    normalise(query.as_bytes(), &mut out).unwrap();
    hex(&out)
}

/// SplitMix64: small, seeded, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u64) as usize]
    }

    fn character(&mut self) -> char {
        let code = match self.below(8) {
            0..3 => 0x20 + self.below(0x5f),
            3 => self.below(0x20),
            4 => 0x80 + self.below(0x780),
            5 => 0x800 + self.below(0x2800),
            6 => 0x1_0000 + self.below(0x2_0000),
            _ => {
                return self
                    .pick(&["Σ", "İ", "ß", "ǅ", "\u{1c}", "\u{85}", "\u{a0}", "\u{3000}", "Ω", "'"])
                    .chars()
                    .next()
                    .unwrap();
            }
        };
        char::from_u32(code as u32).unwrap_or(' ')
    }
}

#[test]
fn every_code_point_is_folded_as_python_does() {
    let Some(answers) = ask_python("all\n".to_owned()) else { return };
    assert_eq!(answers.last().unwrap(), "end");
    assert!(answers.len() > 280_000, "{} code points", answers.len());
    for answer in &answers[..answers.len() - 1] {
        let [code, plain, sigma] = answer.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let c = char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap();
        assert_eq!(normalised_hex(&format!("A{c}B {c} {c}")), plain, "U+{code}");
        if !sigma.is_empty() {
            assert_eq!(normalised_hex(&format!("A{c}Σ{c}B {c}Σ A{c}Σ AΣ{c}")), sigma, "U+{code} by a sigma");
        }
    }
}

#[test]
fn random_queries_are_folded_as_python_does() {
    const QUERIES: usize = 40_000;
    let mut random = Random(1);
    let queries = (0..QUERIES)
        .map(|_| {
            let length = random.below(24);
            (0..length).map(|_| random.character()).collect::<String>()
        })
        .collect::<Vec<_>>();
    let script = queries.iter().map(|query| format!("q {}\n", hex(query.as_bytes()))).collect();
    let Some(answers) = ask_python(script) else { return };
    assert_eq!(answers.len(), QUERIES);
    let mut compared = 0;
    for (query, expected) in queries.iter().zip(&answers).filter(|(_, expected)| *expected != "skip") {
        assert_eq!(&normalised_hex(query), expected, "{query:?}");
        compared += 1;
    }
    assert!(compared > QUERIES / 3, "{compared} queries compared");
}

#[test]
fn random_params_are_written_as_python_does() {
    const DOCUMENTS: usize = 30_000;
    let mut random = Random(2);
    let documents = (0..DOCUMENTS)
        .map(|_| {
            let mut json = String::new();
            write_value(&mut random, 4, &mut json);
            // One in four is damaged: most of those are refused by both, and both have to agree on the rest.
            if random.below(4) == 0 {
                damage(&mut random, &mut json);
            }
            json
        })
        .collect::<Vec<_>>();
    let script = documents.iter().map(|json| format!("p {}\n", hex(json.as_bytes()))).collect();
    let Some(answers) = ask_python(script) else { return };
    assert_eq!(answers.len(), DOCUMENTS);
    let mut refused = 0;
    for (json, expected) in documents.iter().zip(&answers) {
        let mut out = Vec::new();
        match canonical_params(json.as_bytes(), &mut out) {
            Ok(()) => assert_eq!(&hex(&out), expected, "{json}"),
            Err(error) => {
                assert_eq!(expected, "refused", "{error}: {json}");
                refused += 1;
            }
        }
    }
    assert!((DOCUMENTS / 20..DOCUMENTS / 2).contains(&refused), "{refused} documents refused");
}

fn write_value(random: &mut Random, depth: u64, json: &mut String) {
    write_space(random, json);
    match random.below(if depth == 0 { 4 } else { 7 }) {
        0 => json.push_str(random.pick(&["true", "false", "null", "0", "-0", "[]", "{}"])),
        1 => write_string(random, json),
        2 | 3 => write_number(random, json),
        4 => {
            json.push('[');
            for place in 0..random.below(5) {
                json.push_str(if place > 0 { "," } else { "" });
                write_value(random, depth - 1, json);
            }
            json.push(']');
        }
        _ => {
            json.push('{');
            for place in 0..random.below(7) {
                json.push_str(if place > 0 { "," } else { "" });
                write_space(random, json);
                // Few short keys, so that some are equal and many share a beginning.
                match random.below(3) {
                    0 => write_string(random, json),
                    _ => json.push_str(random.pick(&[
                        r#""a""#,
                        r#""\u0061""#,
                        r#""ab""#,
                        r#""b""#,
                        r#""""#,
                        "\"é\"",
                        "\"😀\"",
                    ])),
                }
                write_space(random, json);
                json.push(':');
                write_value(random, depth - 1, json);
            }
            json.push('}');
        }
    }
    write_space(random, json);
}

fn write_space(random: &mut Random, json: &mut String) {
    if random.below(4) == 0 {
        json.push_str(random.pick(&[" ", "\t", "\n", "\r\n", "  "]));
    }
}

fn write_string(random: &mut Random, json: &mut String) {
    json.push('"');
    for _ in 0..random.below(8) {
        match random.character() {
            c @ ('"' | '\\' | ..'\u{20}') => write!(json, "\\u{:04x}", c as u32).unwrap(),
            c if random.below(3) == 0 => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(json, "\\u{unit:04X}").unwrap();
                }
            }
            c => json.push(c),
        }
        if random.below(12) == 0 {
            json.push_str(random.pick(&[r"\n", r"\/", r"\b", r"\f", r"\r", r"\t", r#"\""#, r"\\"]));
        }
    }
    json.push('"');
}

fn write_number(random: &mut Random, json: &mut String) {
    match random.below(6) {
        0 => write!(json, "{}", random.next() as i64 >> random.below(64)).unwrap(),
        1 => write!(json, "{}{:020}", 1 + random.below(9), random.next()).unwrap(),
        // Any double, in the fewest digits and in all of them.
        2 | 3 => {
            let value = f64::from_bits(random.next());
            let value = if value.is_finite() { value } else { 0.1 };
            match random.below(3) {
                0 => write!(json, "{value:e}").unwrap(),
                1 => write!(json, "{value:.1}").unwrap(),
                _ => write!(json, "{value:.25E}").unwrap(),
            }
        }
        // Near where `repr` changes its form, and near ties between two doubles.
        4 => write!(json, "{}.{}e{}", random.below(10), random.below(100_000), random.below(44) as i64 - 22).unwrap(),
        _ => write!(json, "{}.{}", (1 << 53) + random.below(1 << 12), random.pick(&["0", "25", "5", "50000001", "75"]))
            .unwrap(),
    }
}

/// Takes away, doubles or replaces a character or two.
fn damage(random: &mut Random, json: &mut String) {
    for _ in 0..=random.below(2) {
        let mut characters = json.chars().collect::<Vec<_>>();
        if characters.is_empty() {
            return;
        }
        let place = random.below(characters.len() as u64) as usize;
        match random.below(3) {
            0 => drop(characters.remove(place)),
            1 => characters.insert(place, characters[place]),
            _ => {
                characters[place] = random
                    .pick(&["\"", "\\", ",", ":", "{", "]", "0", "-", ".", "e", "u", "\u{1}"])
                    .chars()
                    .next()
                    .unwrap()
            }
        }
        *json = characters.into_iter().collect();
    }
}

/// Chosen for their length, which random documents do not reach.
#[test]
fn long_numbers_are_written_as_python_does() {
    let zeros = "0".repeat(100_000);
    let halfway = "1.00000000000000011102230246251565404236316680908203125";
    let smallest = "2.4703282292062327208299614391";
    let documents = [
        "7".repeat(4300),
        "7".repeat(4301),
        format!("-{}", "7".repeat(4300)),
        format!("0.{zeros}125e100001"),
        format!("-125{zeros}e-100002"),
        format!("{halfway}{zeros}1"),
        format!("{halfway}{zeros}"),
        format!("{smallest}e-324"),
        format!("{smallest}{zeros}1e-324"),
        format!("1e{zeros}5"),
        format!("1{zeros}.0"),
        format!("0e{}", "9".repeat(5000)),
        format!("-1e-{}", "9".repeat(5000)),
        format!("{}.5", "7".repeat(308)),
        format!("{}.5", "7".repeat(309)),
    ];
    let script = documents.iter().map(|json| format!("p {}\n", hex(json.as_bytes()))).collect();
    let Some(answers) = ask_python(script) else { return };
    assert_eq!(answers.len(), documents.len());
    for (json, expected) in documents.iter().zip(&answers) {
        let mut out = Vec::new();
        let canonical =
            canonical_params(json.as_bytes(), &mut out).map_or_else(|_| "refused".to_owned(), |()| hex(&out));
        assert_eq!(&canonical, expected, "{}… of {} bytes", &json[..20], json.len());
    }
}
