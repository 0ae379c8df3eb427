//! Neighbours of network interfaces, from a running lldpd.
//!
//! lldpd has a protocol of its own, which is not for others; what it is for them is `lldpcli -f json0`, whose form does not
//! depend on how many neighbours there are. The client runs without an environment, says no more than a bound, and is
//! killed when its time is over. Where no lldpd runs, none is started.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde::Deserialize;

use super::question::{Asked, Question};
use crate::hardware::fact::{Fact, Unknown, UnknownReason};
use crate::hardware::inventory::{Neighbour, Nic};
use crate::hardware::read;

/// Longest answer, in bytes. A neighbour takes about 2 KiB.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// Who to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LldpClient {
    /// The socket of lldpd. Nobody is asked if it is not there.
    pub socket: PathBuf,
    /// The program that says what lldpd knows, and its arguments.
    pub command: Vec<String>,
}

impl Default for LldpClient {
    fn default() -> Self {
        let command = ["/usr/sbin/lldpcli", "-f", "json0", "show", "neighbors"];
        Self { socket: "/run/lldpd.socket".into(), command: command.map(str::to_owned).into() }
    }
}

/// The neighbours by the name of the interface.
type Neighbours = BTreeMap<String, Neighbour>;

/// A client that runs, or why none does.
#[derive(Debug)]
pub(super) struct Hearing<'a> {
    answer: Result<(Child, Asked<'a, Vec<u8>>), Unknown>,
}

impl LldpClient {
    /// Begins to ask.
    pub(super) fn ask<'a>(&self, question: &'a mut Question<Vec<u8>>) -> Hearing<'a> {
        if !self.socket.exists() {
            return Hearing { answer: Err(Unknown::new(UnknownReason::Missing, "no lldpd runs")) };
        }
        let answer = self.run().map_err(|error| {
            Unknown::new(UnknownReason::Unreadable, &format!("cannot run {}: {error}", self.command.join(" ")))
        });
        let answer = answer.map(|mut client| {
            let output = client.stdout.take();
            let asked = question.ask(move || output.map(hear).unwrap_or_default());
            (client, asked)
        });
        Hearing { answer }
    }

    fn run(&self) -> io::Result<Child> {
        let (program, arguments) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut client = Command::new(program);
        client.args(arguments).env_clear().current_dir("/");
        client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    }
}

/// What a client says, to a bound; nothing if it breaks off.
fn hear(output: impl io::Read) -> Vec<u8> {
    let mut answer = Vec::new();
    match output.take(MAX_ANSWER_BYTES).read_to_end(&mut answer) {
        Ok(_) => answer,
        Err(_) => Vec::new(),
    }
}

impl Hearing<'_> {
    /// The neighbours, if the client says them in time. It is gone when this returns.
    pub(super) fn wait(self, deadline: Instant) -> Fact<Neighbours> {
        let (mut client, asked) = match self.answer {
            Ok(running) => running,
            Err(unknown) => return Fact::Unknown(unknown),
        };
        let answer = asked.wait(deadline);
        // Its last word was said, or nobody waits for it any more.
        if let Err(error) = client.kill().and_then(|()| client.wait()) {
            return Fact::Unknown(read::because(&error));
        }
        answer.and_then(|answer| parse(&answer))
    }
}

/// The answer of `lldpcli -f json0 show neighbors`: every element is a list, every text an object.
#[derive(Debug, Deserialize)]
struct Answer {
    lldp: Vec<Interfaces>,
}

#[derive(Debug, Deserialize)]
struct Interfaces {
    #[serde(default)]
    interface: Vec<Interface>,
}

#[derive(Debug, Deserialize)]
struct Interface {
    name: String,
    #[serde(default)]
    chassis: Vec<Party>,
    #[serde(default)]
    port: Vec<Party>,
}

/// A switch, or a port of it.
#[derive(Debug, Deserialize)]
struct Party {
    #[serde(default)]
    id: Vec<Text>,
    #[serde(default)]
    name: Vec<Text>,
}

#[derive(Debug, Deserialize)]
struct Text {
    value: String,
}

fn parse(answer: &[u8]) -> Fact<Neighbours> {
    let answer: Answer = match serde_json::from_slice(answer) {
        Ok(answer) => answer,
        Err(error) => return Fact::unknown_for(UnknownReason::Malformed, &format!("lldpcli did not answer: {error}")),
    };
    let mut neighbours = Neighbours::new();
    for interface in answer.lldp.into_iter().flat_map(|all| all.interface) {
        let neighbour = Neighbour {
            system_name: first(&interface.chassis, |party| &party.name),
            chassis_id: first(&interface.chassis, |party| &party.id),
            port_id: first(&interface.port, |party| &party.id),
        };
        neighbours.entry(crate::text::printable(&interface.name)).or_insert(neighbour);
    }
    Fact::Known(neighbours)
}

fn first(parties: &[Party], what: impl Fn(&Party) -> &Vec<Text>) -> Fact<String> {
    let text = parties.first().and_then(|party| what(party).first());
    text.map_or(Fact::unknown(UnknownReason::Missing), |text| read::value(text.value.as_bytes()))
}

/// Gives each interface its neighbour.
pub(super) fn introduce(nics: &mut Fact<Vec<Nic>>, neighbours: &Fact<Neighbours>) {
    for nic in nics.value_mut().into_iter().flatten() {
        nic.neighbour = neighbours.as_ref().and_then(|neighbours| match neighbours.get(&nic.name) {
            Some(neighbour) => Fact::Known(neighbour.clone()),
            None => Fact::unknown(UnknownReason::Missing),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{LldpClient, Question, introduce, parse};
    use crate::hardware::fact::{Fact, UnknownReason};
    use crate::hardware::inventory::Nic;

    /// What lldpcli 1.0 says, less what is of no interest.
    const ANSWER: &str = r#"{"lldp": [{"interface": [{
        "name": "eno1", "via": "LLDP", "rid": "1", "age": "0 day, 00:00:03",
        "chassis": [{
            "id": [{"type": "mac", "value": "2e:de:d4:f9:1e:7b"}], "name": [{"value": "leaf-1\u001b[2J"}],
            "descr": [{"value": "CE6881"}], "capability": [{"type": "Bridge", "enabled": true}]
        }],
        "port": [{"id": [{"type": "ifname", "value": "25GE1/0/7"}], "ttl": [{"value": "120"}]}]
    }, {
        "name": "eno1", "chassis": [{"id": [{"type": "mac", "value": "second"}]}], "port": []
    }]}]}"#;

    fn long() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn client(script: &str) -> LldpClient {
        LldpClient { socket: "/".into(), command: ["/bin/sh", "-c", script].map(str::to_owned).into() }
    }

    fn reason<T>(fact: &Fact<T>) -> Option<UnknownReason> {
        fact.why_unknown().map(|unknown| unknown.reason)
    }

    #[test]
    fn interfaces_are_told_their_first_neighbour() {
        let mut question = Question::default();
        let neighbours = client(&format!("echo '{ANSWER}'")).ask(&mut question).wait(long());
        let nic = |name: &str| Nic { name: name.to_owned(), ..Nic::default() };
        let mut nics = Fact::Known(vec![nic("eno1"), nic("eno2")]);
        introduce(&mut nics, &neighbours);
        let nics = nics.items();
        let neighbour = nics[0].neighbour.value().expect("neighbour");
        assert_eq!(neighbour.system_name.value().map(String::as_str), Some("leaf-1\\u{1b}[2J"));
        assert_eq!(neighbour.chassis_id.value().map(String::as_str), Some("2e:de:d4:f9:1e:7b"));
        assert_eq!(neighbour.port_id.value().map(String::as_str), Some("25GE1/0/7"));
        assert_eq!(reason(&nics[1].neighbour), Some(UnknownReason::Missing));
    }

    #[test]
    fn no_neighbours_are_an_answer_and_nonsense_is_none() {
        for answer in [r#"{"lldp": [{}]}"#, r#"{"lldp": []}"#] {
            assert_eq!(parse(answer.as_bytes()).value().map(|all| all.len()), Some(0), "{answer}");
        }
        for answer in ["", "[]", "no such socket", r#"{"lldp": [{"interface": [{}]}]}"#] {
            assert_eq!(reason(&parse(answer.as_bytes())), Some(UnknownReason::Malformed), "{answer}");
        }
    }

    #[test]
    fn nobody_is_asked_without_a_daemon_and_a_program_that_is_not_there_is_no_answer() {
        let mut question = Question::default();
        let absent = LldpClient { socket: "/nowhere".into(), ..client("exit 1") };
        assert_eq!(reason(&absent.ask(&mut question).wait(long())), Some(UnknownReason::Missing));
        let lost = LldpClient { command: vec!["/nowhere".to_owned()], ..client("") };
        assert_eq!(reason(&lost.ask(&mut question).wait(long())), Some(UnknownReason::Unreadable));
    }

    #[test]
    fn a_client_that_hangs_or_never_ends_is_killed() {
        let begun = Instant::now();
        let mut question = Question::default();
        let hangs = client("exec sleep 600").ask(&mut question).wait(Instant::now() + Duration::from_millis(20));
        assert_eq!(reason(&hangs), Some(UnknownReason::TimedOut));
        let mut question = Question::default();
        let shouts = client("exec yes").ask(&mut question).wait(long());
        assert_eq!(reason(&shouts), Some(UnknownReason::Malformed));
        assert!(begun.elapsed() < Duration::from_secs(300));
    }
}
