//! What a run will probably cost, by a dated price list.

use serde::Serialize;

use super::effects::operation::{
    COMPLETE_UPLOAD, COPY_OBJECT, CREATE_UPLOAD, PUT_OBJECT, UPLOAD_PART,
};
use super::effects::{Amount, Call, Effect, Jobs, Machine};
use crate::pipeline::target::{AwsTarget, RedshiftEndpoint};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::spec::prices::{Prices, Region, read};

/// The price list that recctl has of its own.
const BUILT_IN: &str = include_str!("prices.yaml");
const BUILT_IN_FILE: &str = "recctl's own prices.yaml";
/// Redshift Serverless bills at least so many seconds whenever it wakes.
/// <https://docs.aws.amazon.com/redshift/latest/mgmt/serverless-billing.html>
const REDSHIFT_LEAST_SECONDS: f64 = 60.0;
const HOUR: f64 = 3_600.0;
const MONTH: f64 = 730.0 * HOUR;
const GB: f64 = 1e9;

/// Prices of one region, from a project's own list and recctl's.
#[derive(Debug, Clone, PartialEq)]
pub struct PriceList {
    own: Option<Region>,
    built_in: Option<Region>,
    /// Where the prices are from.
    pub about: About,
}

/// Where prices are from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct About {
    /// The region whose prices they are.
    pub region: String,
    /// Whether nobody said the region.
    pub region_assumed: bool,
    /// The currency.
    pub currency: String,
    /// The lists that have prices of the region, the one that goes first before the others.
    pub lists: Vec<ListAbout>,
}

/// A price list, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListAbout {
    /// When somebody looked, `YYYY-MM-DD`.
    pub date: String,
    /// Where the prices are from.
    pub source: String,
}

/// What a run will probably cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Sum of what is known.
    pub amount: f64,
    /// What nobody knows the cost of.
    pub unknown: Vec<String>,
    /// One line for each thing that costs something.
    pub lines: Vec<CostLine>,
}

/// Something that costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CostLine {
    /// The service.
    pub service: &'static str,
    /// What is paid for.
    pub what: String,
    /// How many units, if that is known.
    pub quantity: Option<f64>,
    /// The unit.
    pub unit: &'static str,
    /// The price of a unit, if the list has it.
    pub price: Option<f64>,
    /// What it costs, if both are known.
    pub amount: Option<f64>,
    /// What it costs at most, where a limit is declared.
    pub at_most: Option<f64>,
    /// Whether it is paid for every month and not once; such lines are not in the sum.
    pub monthly: bool,
}

/// What costs are made from.
pub struct Bill<'a> {
    /// The target.
    pub target: &'a AwsTarget,
    /// Effects of the run.
    pub effects: Vec<&'a Effect>,
    /// Its calls, counted.
    pub calls: &'a [Call],
    /// Seconds of the publications that load the warehouse, if they are known.
    pub load_seconds: Option<f64>,
}

impl PriceList {
    /// The prices of a region: those of the project's own list go first. Without a region, those of
    /// the region that the lists assume.
    ///
    /// Errors: `Usage`, with the place, if the project's list cannot be read.
    pub fn of(region: Option<&str>, own: Option<(&str, &str)>) -> Outcome<Self> {
        let parsed = |file: &str, text: &str| {
            read(file, text)
                .map_err(|problem| Failure::problems("the price list is not valid", vec![*problem]))
        };
        let built_in = parsed(BUILT_IN_FILE, BUILT_IN)
            .map_err(|failure| Failure::new(FailureKind::Internal, failure.to_string()))?;
        let own = own.map(|(file, text)| parsed(file, text)).transpose()?;
        let currency = own.as_ref().map_or(&built_in.currency, |own| &own.currency).clone();
        let assumed = own.as_ref().and_then(|own| own.assumed_region.clone());
        let assumed = assumed.or_else(|| built_in.assumed_region.clone());
        let name = region.map(str::to_owned).or(assumed).unwrap_or_default();
        // Prices of two currencies make no sum.
        let built_in = Some(built_in).filter(|list| list.currency == currency);
        let about =
            |list: &Prices| ListAbout { date: list.date.clone(), source: list.source.clone() };
        let of_region = |list: &Option<Prices>| list.as_ref()?.regions.get(&name).cloned();
        let has_region = |list: &&Prices| list.regions.contains_key(&name);
        Ok(Self {
            own: of_region(&own),
            built_in: of_region(&built_in),
            about: About {
                region: name.clone(),
                region_assumed: region.is_none(),
                currency,
                lists: own.iter().chain(&built_in).filter(has_region).map(about).collect(),
            },
        })
    }

    fn price(&self, of: impl Fn(&Region) -> Option<f64>) -> Option<f64> {
        self.own.as_ref().and_then(&of).or_else(|| self.built_in.as_ref().and_then(&of))
    }

    /// The price of an hour of an instance type.
    pub fn instance(&self, kind: &str) -> Option<f64> {
        self.price(|region| region.sagemaker.instance_hour.get(kind).copied())
    }

    /// What a run on AWS costs. Requests that only read, and traffic, are not counted.
    pub fn cost(&self, bill: &Bill<'_>) -> Cost {
        let mut lines = self.requests(bill.calls);
        lines.extend(self.jobs(&bill.effects));
        lines.extend(self.warehouse(bill));
        lines.extend(self.served(&bill.effects));
        lines.extend(self.storage(&bill.effects));
        let mut cost = Cost::default();
        for line in &lines {
            match line.amount {
                _ if line.monthly => {}
                Some(amount) => cost.amount += amount,
                None if cost.unknown.contains(&line.what) => {}
                None => cost.unknown.push(line.what.clone()),
            }
        }
        cost.lines = lines;
        cost
    }

    fn requests(&self, calls: &[Call]) -> Vec<CostLine> {
        let sum = |service: &str, operations: &[&str]| -> Amount {
            let of = |call: &&Call| {
                call.service == service
                    && (operations.is_empty() || operations.contains(&call.operation))
            };
            calls.iter().filter(of).map(|call| call.count).sum()
        };
        let mut lines = Vec::new();
        let writes = sum("s3", &[PUT_OBJECT, COPY_OBJECT]);
        let parts = sum("s3", &[CREATE_UPLOAD, UPLOAD_PART, COMPLETE_UPLOAD]);
        // Nobody knows of parts before a first run; small files have none.
        let writes = if parts == Amount::Unknown { writes } else { writes + parts };
        if !writes.is_none() {
            let price = self.price(|region| region.s3.thousand_writes);
            lines.push(line(
                "s3",
                "S3 requests that write",
                number(writes, 1e3),
                "a thousand",
                price,
            ));
        }
        let changes = sum("glue", &[]);
        if !changes.is_none() {
            let price = self.price(|region| region.glue.million_requests);
            lines.push(line(
                "glue",
                "Glue requests that write",
                number(changes, 1e6),
                "a million",
                price,
            ));
        }
        lines
    }

    fn jobs(&self, effects: &[&Effect]) -> Vec<CostLine> {
        let mut lines: Vec<CostLine> = Vec::new();
        for effect in effects {
            let Effect::Jobs(jobs) = effect else { continue };
            let Some(machine) = &jobs.machine else { continue };
            let new = self.job(jobs, machine);
            match lines.iter_mut().find(|it| it.what == new.what && it.unit == new.unit) {
                Some(known) => known.add(&new),
                None => lines.push(new),
            }
        }
        lines
    }

    fn job(&self, jobs: &Jobs, machine: &Machine) -> CostLine {
        let kind = machine.instances.first().map_or("", String::as_str);
        let volume = self.price(|region| region.sagemaker.volume_gb_month).unwrap_or_default();
        // An hour with its volume, which lives as long as the job.
        let price = self
            .instance(kind)
            .map(|price| price + volume * f64::from(machine.volume_gb) * HOUR / MONTH);
        let count = f64::from(machine.count);
        let hours = number(jobs.seconds, HOUR).map(|hours| hours * count);
        let limit = number(jobs.number, 1.0)
            .map(|number| number * machine.max_seconds as f64 / HOUR * count);
        let spot = if machine.spot { ", spot, at the full price" } else { "" };
        let what = format!("jobs on {kind}{spot}");
        let mut line = line("sagemaker", &what, hours, "an hour", price);
        line.at_most = limit.zip(price).map(|(hours, price)| hours * price);
        line
    }

    fn warehouse(&self, bill: &Bill<'_>) -> Option<CostLine> {
        let loads = bill.effects.iter().any(|effect| matches!(effect, Effect::Load { .. }));
        let redshift = bill.target.warehouse.as_ref().filter(|_| loads)?;
        match redshift.endpoint {
            // A cluster costs the same whether it is loaded or not.
            RedshiftEndpoint::Cluster { .. } => None,
            RedshiftEndpoint::Workgroup(_) => {
                let rpus = self.price(|region| region.redshift_serverless.rpus);
                let price = self.price(|region| region.redshift_serverless.rpu_hour);
                let seconds = bill.load_seconds.map(|it| it.max(REDSHIFT_LEAST_SECONDS));
                let hours = seconds.zip(rpus).map(|(seconds, rpus)| seconds * rpus / HOUR);
                let what = match rpus {
                    Some(rpus) => format!("Redshift Serverless of {rpus} RPU"),
                    None => "Redshift Serverless".to_owned(),
                };
                Some(line("redshift", &what, hours, "an RPU hour", price))
            }
        }
    }

    fn served(&self, effects: &[&Effect]) -> Option<CostLine> {
        let mut units = Amount::NONE;
        for effect in effects {
            match effect {
                Effect::Generation(generation) => {
                    units = units + generation.write_units.unwrap_or(Amount::NONE);
                }
                Effect::GenerationsRemoved { items, .. } => units = units + *items,
                _ => {}
            }
        }
        if units.is_none() {
            return None;
        }
        let price = self.price(|region| region.dynamodb.million_write_units);
        Some(line(
            "dynamodb",
            "write units of served lists",
            number(units, 1e6),
            "a million",
            price,
        ))
    }

    fn storage(&self, effects: &[&Effect]) -> Option<CostLine> {
        use super::effects::Content;
        let kept = effects.iter().filter_map(|effect| match effect {
            Effect::Files(files)
                if matches!(files.content, Content::Table | Content::Recommendations) =>
            {
                Some(files.bytes)
            }
            _ => None,
        });
        let bytes: Amount = kept.sum();
        if bytes.is_none() {
            return None;
        }
        let price = self.price(|region| region.s3.gb_month);
        let mut line =
            line("s3", "storage of what is written", number(bytes, GB), "a GB and month", price);
        line.monthly = true;
        Some(line)
    }
}

impl CostLine {
    fn add(&mut self, other: &Self) {
        let sum = |one: Option<f64>, two: Option<f64>| one.zip(two).map(|(one, two)| one + two);
        self.quantity = sum(self.quantity, other.quantity);
        self.amount = sum(self.amount, other.amount);
        self.at_most = sum(self.at_most, other.at_most);
    }
}

fn line(
    service: &'static str,
    what: &str,
    quantity: Option<f64>,
    unit: &'static str,
    price: Option<f64>,
) -> CostLine {
    let amount = quantity.zip(price).map(|(quantity, price)| quantity * price);
    let what = what.to_owned();
    CostLine { service, what, quantity, unit, price, amount, at_most: None, monthly: false }
}

fn number(amount: Amount, unit: f64) -> Option<f64> {
    amount.number().map(|number| number as f64 / unit)
}

impl Cost {
    /// Adds the cost of another day.
    pub fn add(&mut self, other: &Self, times: f64) {
        self.amount += other.amount * times;
        for why in &other.unknown {
            if !self.unknown.contains(why) {
                self.unknown.push(why.clone());
            }
        }
        for line in &other.lines {
            let mut line = line.clone();
            for value in [&mut line.quantity, &mut line.amount, &mut line.at_most] {
                *value = value.map(|value| value * times);
            }
            let same = |it: &&mut CostLine| it.what == line.what && it.unit == line.unit;
            match self.lines.iter_mut().find(same) {
                Some(known) => known.add(&line),
                None => self.lines.push(line),
            }
        }
    }
}
