//! An accident in the calls of every operation of every service in turn: the run goes on to the end,
//! or it stops in a way that the next one, with an empty disk, goes on from. Either way the day ends
//! as one that nothing happened to.

use std::collections::{BTreeMap, BTreeSet};

use stand_ins::recorder::{Accident, Recorder};
use stand_ins::stack::{self, Stack};

use super::cloud::Cloud;
use super::daily::hashes;
use crate::engine::faults::project;
use crate::sandbox::{DAY, Ran, Sandbox};

/// How many of the accidents a test run tries; all of them where this variable is `1`, and the second
/// quarter of them where it is `2/4`.
const ALL: &str = "RECCTL_TEST_ALL_FAULTS";
const SOME: usize = 3;

const RUN: [&str; 6] = ["run", "daily", "--date", DAY, "--threads", "2"];

/// As often as the SDK sends a request: it is up to the step, then, to be tried again.
const BUSY_TIMES: usize = 5;

/// An operation of a service.
type Operation = (String, String);

/// A target with accidents before each of its services.
struct Accidents {
    cloud: Cloud,
    sagemaker: Recorder,
    redshift: Recorder,
}

impl Accidents {
    async fn new(stack: &'static Stack, sandbox: &Sandbox) -> Self {
        let mut cloud = Cloud::new(stack, sandbox.copied()).await;
        let sagemaker = Recorder::start(&cloud.sagemaker.url()).unwrap();
        let redshift = Recorder::start(&cloud.redshift.url()).unwrap();
        cloud.variables = cloud
            .variables
            .clone()
            .with("SAGEMAKER", &sagemaker.url())
            .with("CLOUDWATCH_LOGS", &sagemaker.url())
            .with("REDSHIFT_DATA", &redshift.url());
        Self { cloud, sagemaker, redshift }
    }

    fn recorders(&self) -> [&Recorder; 3] {
        [&self.cloud.recorder, &self.sagemaker, &self.redshift]
    }

    /// How often each operation was called.
    fn calls(&self) -> BTreeMap<Operation, usize> {
        let mut calls = BTreeMap::new();
        for call in self.recorders().into_iter().flat_map(Recorder::requests) {
            *calls.entry((call.service, call.operation)).or_default() += 1;
        }
        calls
    }

    fn upset(&self, (service, operation): &Operation, before: usize, accident: Accident) {
        let times = if accident == Accident::Busy { BUSY_TIMES } else { 1 };
        for recorder in self.recorders() {
            recorder.upset((service, operation), before, times, accident);
        }
    }

    /// Lets all calls through again; whether the accident came.
    fn calm(&self, accident: Accident) -> bool {
        let left: usize = self.recorders().into_iter().map(Recorder::calm).sum();
        let of_one = if accident == Accident::Busy { BUSY_TIMES } else { 1 };
        left < of_one * self.recorders().len()
    }

    /// That the day is whole, and was made once.
    async fn is_whole(&self, tables: &BTreeMap<String, String>, what: &str) {
        let cloud = &self.cloud;
        cloud.serves_what_the_embedded_target_serves().await;
        cloud.the_warehouse_holds_what_the_embedded_one_holds().await;
        let shown = cloud.run(&["tables"]).await.ends_with(0).stdout;
        assert_eq!(hashes(&shown), *tables, "{what}");
        super::chaos::no_job_twice(cloud);
        super::chaos::no_load_twice(cloud).await;
        cloud.forget();
        let again = cloud.run(&RUN).await.ends_with(0);
        assert!(again.stderr.contains("nothing to do"), "{what}, at last: {}", again.stderr);
        assert_eq!(cloud.mutating(), BTreeMap::new(), "{what}, at last");
    }
}

/// What is said of a run that an accident stopped: the service's own word, and a code of its kind.
fn is_told(ran: &Ran, accident: Accident, what: &str) {
    // S3 answers a HEAD with a status alone.
    let (words, codes) = match accident {
        Accident::Busy => (&["SlowDown", "Throttling", "503 Service Unavailable"][..], &[5][..]),
        Accident::Denied => (&["AccessDenied", "403 Forbidden"][..], &[2][..]),
        Accident::LostAnswer => (&[""][..], &[5, 7][..]),
    };
    assert!(words.iter().any(|word| ran.stderr.contains(word)), "{what}: {}", ran.stderr);
    assert!(codes.contains(&ran.code), "{what} ends with {}: {}", ran.code, ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accident_in_any_operation_ends_well_or_can_be_gone_on_from() {
    let Some(stack) = stack::or_skip() else { return };
    let sandbox = tokio::task::spawn_blocking(|| {
        let sandbox = project();
        sandbox.run(&RUN).ends_with(0);
        sandbox
    });
    let sandbox = sandbox.await.unwrap();
    let tables = hashes(&sandbox.run(&["tables"]).ends_with(0).stdout);
    let undisturbed = Accidents::new(stack, &sandbox).await;
    undisturbed.cloud.run(&RUN).await.ends_with(0);
    let calls = undisturbed.calls();
    undisturbed.is_whole(&tables, "undisturbed").await;
    let services: BTreeSet<&str> = calls.keys().map(|(service, _)| service.as_str()).collect();
    for service in ["s3", "glue", "dynamodb", "redshift-data", "sagemaker"] {
        assert!(services.contains(service), "{services:?}");
    }
    // The first of an operation's calls, and one in the middle.
    let places = calls.iter().flat_map(|(operation, count)| {
        BTreeSet::from([0, count / 2]).into_iter().map(move |before| (operation, before))
    });
    let all: Vec<(&Operation, usize, Accident)> = places
        .flat_map(|(operation, before)| Accident::ALL.map(|kind| (operation, before, kind)))
        .collect();
    let (total, operations) = (all.len(), calls.len());
    let chosen: Vec<_> = match std::env::var(ALL) {
        Err(_) => {
            // Others at each step of the count, so that every kind is among them.
            let step = total.div_ceil(SOME);
            let step = if step.is_multiple_of(Accident::ALL.len()) { step + 1 } else { step };
            all.into_iter().step_by(step).collect()
        }
        Ok(part) => {
            let (part, of) = part.split_once('/').unwrap_or((&part, "1"));
            let (part, of): (usize, usize) = (part.parse().unwrap(), of.parse().unwrap());
            let size = total.div_ceil(of);
            all.into_iter().skip((part - 1) * size).take(size).collect()
        }
    };
    println!("{} of {total} accidents in {operations} operations", chosen.len());
    let (mut straight, mut stopped, mut came) = (0, 0, 0);
    for (at, (operation, before, accident)) in chosen.into_iter().enumerate() {
        let (service, name) = operation;
        let what = format!("{accident:?} {service}:{name} after {before}");
        println!("{}: {what}", at + 1);
        let target = Accidents::new(stack, &sandbox).await;
        target.upset(operation, before, accident);
        let ran = target.cloud.run(&RUN).await;
        // Which calls there are is up to the clock as well.
        came += usize::from(target.calm(accident));
        if ran.code == 0 {
            straight += 1;
        } else {
            stopped += 1;
            is_told(&ran, accident, &what);
            println!("  stopped with {}", ran.code);
            let again = target.cloud.run(&RUN).await;
            assert_eq!(again.code, 0, "{what}, then: {}", again.stderr);
        }
        target.is_whole(&tables, &what).await;
    }
    assert!(came > 0 && straight > 0, "{came} {straight} {stopped}");
    println!("{came} came: {straight} runs went on by themselves, {stopped} were gone on from");
}
