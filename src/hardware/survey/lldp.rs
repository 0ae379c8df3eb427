//! Neighbours of network interfaces, from a running lldpd.
//!
//! lldpd has a protocol of its own, which is not for others; what it is for them is `lldpcli -f json0`, whose form does not
//! depend on how many neighbours there are. The client runs without an environment, says no more than a bound, and is
//! killed when its time is over; whoever calls this waits for its end. Where no lldpd runs, none is started.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags};
use serde::Deserialize;

use crate::hardware::fact::{Fact, Unknown, UnknownReason};
use crate::hardware::inventory::{Neighbour, Nic};
use crate::hardware::read;

/// Longest answer, in bytes. A neighbour takes about 2 KiB.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// What is read of its complaints, at least.
const MAX_ERROR_BYTES: usize = 4096;
/// Longest line of them that is told: every interface tells it.
const MAX_LINE_CHARS: usize = 200;
/// How long a client may take, which is longer than anyone waits: its answer is kept for the next who asks.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Who to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LldpClient {
    /// The socket of lldpd. Nobody is asked if it is not there.
    pub socket: PathBuf,
    /// The program that says what lldpd knows, and its arguments.
    pub command: Vec<String>,
    /// How long it may take before it is killed.
    pub time_limit: Duration,
}

impl Default for LldpClient {
    fn default() -> Self {
        let command = ["/usr/sbin/lldpcli", "-f", "json0", "show", "neighbors"];
        Self { socket: "/run/lldpd.socket".into(), command: command.map(str::to_owned).into(), time_limit: TIME_LIMIT }
    }
}

/// The neighbours by the name of the interface.
pub(super) type Neighbours = BTreeMap<String, Neighbour>;

impl LldpClient {
    /// Asks. No client is left when this returns, which it does only when the kernel is done with it.
    pub(super) fn ask(&self) -> Fact<Neighbours> {
        if !self.socket.exists() {
            return Fact::unknown_for(UnknownReason::Missing, "no lldpd runs");
        }
        match self.run() {
            Ok(answer) => parse(&answer),
            Err(unknown) => Fact::Unknown(unknown),
        }
    }

    /// Runs the client, and gives what it said.
    fn run(&self) -> Result<Vec<u8>, Unknown> {
        let program = self.command.first().map_or("", String::as_str);
        let broken = |error: io::Error| {
            if error.kind() == io::ErrorKind::TimedOut {
                Unknown::new(UnknownReason::TimedOut, &format!("{program} did not end in time"))
            } else {
                Unknown::new(UnknownReason::Unreadable, &format!("{program}: {error}"))
            }
        };
        let deadline = Instant::now() + self.time_limit;
        let mut client = Running(self.spawn().map_err(broken)?);
        let answer = until_end(client.0.stdout.take(), MAX_ANSWER_BYTES, deadline).map_err(broken)?;
        if answer.len() > MAX_ANSWER_BYTES {
            let detail = format!("{program} says more than {MAX_ANSWER_BYTES} bytes");
            return Err(Unknown::new(UnknownReason::Malformed, &detail));
        }
        let errors = until_end(client.0.stderr.take(), MAX_ERROR_BYTES, deadline).map_err(broken)?;
        let status = client.end(deadline).map_err(broken)?;
        if status.success() {
            return Ok(answer);
        }
        let errors = String::from_utf8_lossy(&errors);
        let first: String = errors.lines().next().unwrap_or_default().chars().take(MAX_LINE_CHARS).collect();
        Err(Unknown::new(UnknownReason::Unreadable, &format!("{program}: {status}: {first}")))
    }

    fn spawn(&self) -> io::Result<Child> {
        let (program, arguments) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut client = Command::new(program);
        client.args(arguments).env_clear().current_dir("/");
        client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }
}

/// A client that is killed and reaped when this is dropped, at the latest.
#[derive(Debug)]
struct Running(Child);

impl Running {
    /// How it ended, if it does in time.
    fn end(&mut self, deadline: Instant) -> io::Result<ExitStatus> {
        let process = rustix::process::pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty())?;
        wait_for(&process, deadline)?;
        self.0.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            tracing::error!(%error, "cannot end the client of lldpd");
        }
    }
}

/// What is said on a pipe until its other end is closed; of what is longer than `max_bytes`, somewhat more than these.
fn until_end(pipe: Option<impl io::Read + AsFd>, max_bytes: usize, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut pipe = pipe.ok_or(io::ErrorKind::BrokenPipe)?;
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    while said.len() <= max_bytes {
        wait_for(&pipe, deadline)?;
        match pipe.read(&mut buffer)? {
            0 => break,
            len => said.extend_from_slice(buffer.get(..len).unwrap_or_default()),
        }
    }
    Ok(said)
}

/// Waits until something can be read, or a process has ended.
fn wait_for(what: &impl AsFd, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    let ready = retry_on_intr(|| poll(&mut [PollFd::new(what, PollFlags::IN)], Some(&left)))?;
    if ready == 0 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
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
    value: Option<String>,
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
    let text = parties.first().and_then(|party| what(party).first()?.value.as_ref());
    text.map_or(Fact::unknown(UnknownReason::Missing), |text| read::value(text.as_bytes()))
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

    use super::{LldpClient, introduce, parse};
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

    fn client(script: &str) -> LldpClient {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).into();
        LldpClient { socket: "/".into(), command, time_limit: Duration::from_secs(60) }
    }

    fn reason<T>(fact: &Fact<T>) -> Option<UnknownReason> {
        fact.why_unknown().map(|unknown| unknown.reason)
    }

    #[test]
    fn interfaces_are_told_their_first_neighbour() {
        let neighbours = client(&format!("echo '{ANSWER}'")).ask();
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
    fn a_name_without_a_value_costs_only_itself() {
        let answer = ANSWER.replace(r#""name": [{"value": "leaf-1\u001b[2J"}]"#, r#""name": [{}]"#);
        assert_ne!(answer, ANSWER);
        let neighbours = parse(answer.as_bytes()).into_value().expect("neighbours");
        assert_eq!(reason(&neighbours["eno1"].system_name), Some(UnknownReason::Missing));
        assert_eq!(neighbours["eno1"].port_id, Fact::Known("25GE1/0/7".to_owned()));
    }

    #[test]
    fn nobody_is_asked_without_a_daemon_and_a_program_that_is_not_there_is_no_answer() {
        let absent = LldpClient { socket: "/nowhere".into(), ..client("exit 1") };
        assert_eq!(reason(&absent.ask()), Some(UnknownReason::Missing));
        let lost = LldpClient { command: vec!["/nowhere".to_owned()], ..client("") };
        assert_eq!(reason(&lost.ask()), Some(UnknownReason::Unreadable));
    }

    #[test]
    fn a_client_that_fails_says_why() {
        let failed = client("echo '{\"lldp\": []}'; echo 'unable to connect to socket\nmore' >&2; exit 1").ask();
        let why = failed.why_unknown().expect("failed");
        assert_eq!(why.reason, UnknownReason::Unreadable);
        assert_eq!(why.detail.as_deref(), Some("/bin/sh: exit status: 1: unable to connect to socket"));
    }

    #[test]
    fn a_client_that_hangs_or_never_ends_is_killed() {
        let begun = Instant::now();
        let short = Duration::from_millis(20);
        for script in ["exec sleep 600", "exec >&- 2>&-; exec sleep 600"] {
            let hangs = LldpClient { time_limit: short, ..client(script) }.ask();
            assert_eq!(reason(&hangs), Some(UnknownReason::TimedOut), "{script}");
        }
        assert_eq!(reason(&client("exec yes").ask()), Some(UnknownReason::Malformed));
        assert!(begun.elapsed() < Duration::from_secs(50));
    }
}
