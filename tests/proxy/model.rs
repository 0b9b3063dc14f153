//! The FCA family against the plainest model of it.
//!
//! Random commands over few questions, whose spellings meet in every way, go out in pipelines that are cut anywhere,
//! with and without MULTI around them; every reply is the one that a map from questions to values gives. So the order
//! of look-ups that take two steps, of writes that remove the other spelling, and of transactions is held together.

use crate::support::client::encode;
use crate::support::proxy::Proxy;
use crate::support::random::Random;
use crate::support::redis::Redis;
use crate::support::value::Value;
use std::collections::HashMap;

/// Questions that are, or are not, spellings of each other.
const QUESTIONS: &[&str] = &["a", "A ", "a?", "a ?", "a??", "b", "B?", "b  c", "b c?", "", "?"];

/// Pipelines in a run.
const PIPELINES: usize = 150;
/// Commands in a pipeline.
const COMMANDS: usize = 40;

/// What the entries of one namespace are.
#[derive(Default)]
struct Model {
    values: HashMap<String, String>,
}

impl Model {
    fn get(&self, question: &str) -> Value {
        let found = self.values.get(&normalised(question));
        let found = found.or_else(|| self.values.get(&twin(&normalised(question))?));
        found.map_or(Value::Nil, Value::bulk)
    }

    fn set(&mut self, question: &str, value: &str) {
        let question = normalised(question);
        if let Some(twin) = twin(&question) {
            self.values.remove(&twin);
        }
        self.values.insert(question, value.to_owned());
    }

    /// How many entries that removes, both spellings being one.
    fn delete(&mut self, question: &str) -> i64 {
        let question = normalised(question);
        let exact = self.values.remove(&question).is_some();
        let other = twin(&question).is_some_and(|twin| self.values.remove(&twin).is_some());
        i64::from(exact || other)
    }
}

fn normalised(question: &str) -> String {
    question.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn twin(normalised: &str) -> Option<String> {
    match normalised.strip_suffix('?') {
        Some(_) => Some(normalised.trim_end_matches('?').trim_end().to_owned()).filter(|twin| !twin.is_empty()),
        None => Some(format!("{normalised}?")),
    }
}

/// What a reply has to be.
#[derive(Clone, Debug)]
enum Right {
    Is(Value),
    /// A time to live: of an entry that is there, or of none.
    Ttl(Presence),
    /// EXEC's array.
    Each(Vec<Self>),
}

#[derive(Clone, Copy, Debug)]
enum Presence {
    There,
    Absent,
}

impl Right {
    fn accepts(&self, reply: &Value) -> bool {
        match (self, reply) {
            (Self::Is(value), reply) => value == reply,
            (Self::Ttl(Presence::There), Value::Integer(seconds)) => (1..=300).contains(seconds),
            (Self::Ttl(Presence::Absent), Value::Integer(seconds)) => *seconds == -2,
            (Self::Each(rights), Value::Array(replies)) => {
                rights.len() == replies.len() && rights.iter().zip(replies).all(|(right, reply)| right.accepts(reply))
            }
            _ => false,
        }
    }
}

#[test]
fn random_commands_answer_as_the_model_says_on_redis() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    compare_with_model(&proxy, Transactions::Some);
}

#[test]
fn random_commands_answer_as_the_model_says_on_the_embedded_store() {
    compare_with_model(&Proxy::embedded(), Transactions::None);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transactions {
    Some,
    None,
}

fn compare_with_model(proxy: &Proxy, transactions: Transactions) {
    let mut random = Random::seeded(3);
    let mut model = Model::default();
    let mut client = proxy.client();
    for pipeline in 0..PIPELINES {
        let (mut commands, mut rights) = (Vec::new(), Vec::new());
        let mut queued: Option<Vec<Right>> = None;
        for _ in 0..COMMANDS {
            if transactions == Transactions::Some && random.below(8) == 0 {
                let (word, right) = match queued.take() {
                    Some(each) => ("EXEC", Right::Each(each)),
                    None => {
                        queued = Some(Vec::new());
                        ("MULTI", Right::Is(Value::ok()))
                    }
                };
                commands.push(vec![word.to_owned()]);
                rights.push(right);
                continue;
            }
            let (command, right) = random_command(&mut random, &mut model);
            commands.push(command);
            match &mut queued {
                Some(each) => {
                    each.push(right);
                    rights.push(Right::Is(Value::simple("QUEUED")));
                }
                None => rights.push(right),
            }
        }
        if let Some(each) = queued.take() {
            commands.push(vec!["EXEC".to_owned()]);
            rights.push(Right::Each(each));
        }
        let bytes: Vec<u8> = commands.iter().flat_map(encode).collect();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + random.below(600)).min(rest.len()));
            client.send_raw(piece);
            rest = behind;
        }
        for (number, right) in rights.iter().enumerate() {
            let reply = client.reply();
            let (before, behind) = commands.split_at(number);
            let before = &before[before.len().saturating_sub(12)..];
            assert!(
                right.accepts(&reply),
                "pipeline {pipeline}: {reply:?}, not {right:?}, to the first of {behind:?}; before it came {before:?}"
            );
        }
    }
}

fn random_command(random: &mut Random, model: &mut Model) -> (Vec<String>, Right) {
    let question = random.one_of(QUESTIONS);
    let other = random.one_of(QUESTIONS);
    let (value, other_value) = (random.below(100_000).to_string(), random.below(100_000).to_string());
    let (words, right): (Vec<&str>, Right) = match random.below(10) {
        0..=3 => (vec!["FCA.GET", "faq", question], Right::Is(model.get(question))),
        4 => {
            let right = Right::Is(Value::Array(vec![model.get(other), model.get(question)]));
            (vec!["FCA.MGET", "faq", other, question], right)
        }
        5 | 6 => {
            model.set(question, &value);
            (vec!["FCA.SET", "faq", question, &value], Right::Is(Value::ok()))
        }
        7 => {
            model.set(question, &value);
            model.set(other, &other_value);
            (vec!["FCA.MSET", "faq", question, &value, other, &other_value], Right::Is(Value::Integer(2)))
        }
        8 => {
            let removed = model.delete(question) + model.delete(other);
            (vec!["FCA.DEL", "faq", question, other], Right::Is(Value::Integer(removed)))
        }
        _ => {
            let presence = if model.get(question).is_nil() { Presence::Absent } else { Presence::There };
            (vec!["FCA.TTL", "faq", question], Right::Ttl(presence))
        }
    };
    (words.into_iter().map(str::to_owned).collect(), right)
}
