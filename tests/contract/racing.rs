//! Two processes that race for a lease, each with the state store opened by itself.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use recctl::adapters::aws::DynamoDbStateStore;
use recctl::adapters::local::SqliteStateStore;
use recctl::ports::{Lease, StateStore};
use recctl::run::failure::FailureKind;
use stand_ins::stack;

use super::at;
use crate::aws::session::{open_as, target};

/// How often they race; a thousand times where this variable is set.
const ALL: &str = "RECCTL_TEST_ALL_RACES";
const SOME: i64 = 60;

/// What a racer is told: its host, and where the state is.
const RACER: &str = "RECCTL_TEST_RACER";
/// Which of the lines that it prints are answers: the test harness prints too.
const ANSWER: &str = "racer: ";
const MINUTE: Duration = Duration::from_secs(60);

/// A process of this binary that runs [`a_racer`] and nothing else.
struct Racer {
    child: Child,
    orders: ChildStdin,
    answers: std::io::Lines<BufReader<ChildStdout>>,
}

impl Racer {
    fn start(host: &str, state: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["contract::racing::a_racer", "--exact", "--ignored", "--nocapture"])
            .env(RACER, format!("{host} {state}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, orders, answers }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    fn answer(&mut self) -> String {
        let mut lines = self.answers.by_ref().map(Result::unwrap);
        lines.find_map(|line| line.strip_prefix(ANSWER).map(str::to_owned)).expect("an answer")
    }

    fn end(mut self) {
        drop(self.orders);
        assert!(self.child.wait().unwrap().success());
    }
}

/// Of two processes that want a free lease exactly one gets it, with a fence that nobody had before,
/// and the other is told who has it. Returns the counts, in words.
fn race(state: &str) -> String {
    let rounds = if std::env::var_os(ALL).is_some() { 1_000 } else { SOME };
    let hosts = ["one", "two"];
    let mut racers = hosts.map(|host| Racer::start(host, state));
    let (mut won, mut last) = ([0, 0], 0);
    for round in 0..rounds {
        // Free because nobody had it, because it was given back, or because time is up.
        let first = usize::from(round % 2 == 0);
        for racer in [first, 1 - first] {
            racers[racer].order(&format!("{}", round * 120));
        }
        let answers = [racers[0].answer(), racers[1].answer()];
        let fences = answers.each_ref().map(|answer| answer.strip_prefix("fence "));
        let (winner, fence) = match fences {
            [Some(fence), None] => (0, fence),
            [None, Some(fence)] => (1, fence),
            _ => panic!("round {round}: {answers:?}"),
        };
        let told = format!("held by process 1 on host `{}`", hosts[winner]);
        assert!(answers[1 - winner].contains(&told), "round {round}: {answers:?}");
        let fence: u64 = fence.parse().unwrap();
        assert!(fence > last, "round {round}: {fence} after {last}");
        (won[winner], last) = (won[winner] + 1, fence);
        if round % 3 == 0 {
            racers[winner].order("release");
            assert_eq!(racers[winner].answer(), "released");
        }
    }
    racers.into_iter().for_each(Racer::end);
    format!("{rounds} races of two processes, won {} and {} times", won[0], won[1])
}

#[test]
fn of_two_processes_one_gets_a_lease_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let told = race(&format!("sqlite {}", folder.path().join("state.db").display()));
    println!("SQLite: {told}");
}

#[test]
fn of_two_processes_one_gets_a_lease_of_dynamodb() {
    let Some(stack) = stack::or_skip() else { return };
    let told = race(&format!("dynamodb {} {}", stack.ministack(), stack::account()));
    println!("DynamoDB: {told}");
}

#[tokio::test]
#[ignore = "a process of the races, which start it"]
async fn a_racer() {
    let told = std::env::var(RACER).expect("it is started by a race");
    let words: Vec<&str> = told.split(' ').collect();
    let (host, state): (&str, Box<dyn StateStore>) = match words[..] {
        [host, "sqlite", path] => {
            (host, Box::new(SqliteStateStore::open(Path::new(path), host).await.unwrap()))
        }
        [host, "dynamodb", url, account] => {
            let session = open_as(&target(url), account);
            (host, Box::new(DynamoDbStateStore::create(&session).await.unwrap()))
        }
        _ => panic!("{told}"),
    };
    let mut held: Option<Lease> = None;
    for (number, order) in std::io::stdin().lines().map(Result::unwrap).enumerate() {
        if order == "release" {
            state.release(&held.take().unwrap()).await.unwrap();
            println!("{ANSWER}released");
            continue;
        }
        let holder = format!("{host}/1/{number}");
        match state.acquire("daily", &holder, MINUTE, at(order.parse().unwrap())).await {
            Ok(lease) => {
                println!("{ANSWER}fence {}", lease.fence);
                held = Some(lease);
            }
            Err(failure) => {
                assert_eq!(failure.kind, FailureKind::Held, "{failure}");
                println!("{ANSWER}{failure}");
            }
        }
    }
}
