//! The DynamoDB table behind a served table: found or made, and what it gives.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TableDescription, TableStatus, Tag, TimeToLiveSpecification, TimeToLiveStatus,
};

use super::failure::{built, of_code};
use super::item::{EXPIRES, PK, SK};
use super::limiter::Limiter;
use crate::adapters::aws::error::{code, failure};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// What a new on-demand table gives at once, in units a second.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html>
const ON_DEMAND_WRITE: f64 = 4_000.0;
const ON_DEMAND_READ: f64 = 12_000.0;
/// The part of the read capacity that a scan may take. The rest is the readers'.
const READ_SHARE: f64 = 0.25;
/// How long a table may take to be made.
const CREATION: Duration = Duration::from_secs(180);
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// A served table that is there.
#[derive(Debug)]
pub(super) struct ServedTable {
    pub client: Client,
    /// The served table's name.
    pub table: String,
    /// The name of the DynamoDB table.
    pub name: String,
    pub write: Mutex<Limiter>,
    pub read: Mutex<Limiter>,
}

impl ServedTable {
    fn new(
        client: &Client,
        table: &str,
        name: &str,
        found: &TableDescription,
        max_write_units: Option<u32>,
    ) -> Self {
        let (write, read) = capacity(found);
        let own = found.on_demand_throughput().and_then(|one| one.max_write_request_units());
        let own = own.filter(|units| *units > 0).map_or(f64::INFINITY, |units| units as f64);
        let ceiling = max_write_units.map_or(own, |units| f64::from(units).min(own));
        let now = Instant::now();
        Self {
            client: client.clone(),
            table: table.to_owned(),
            name: name.to_owned(),
            write: Mutex::new(Limiter::new(write, ceiling, now)),
            read: Mutex::new(Limiter::new(read * READ_SHARE, read * READ_SHARE, now)),
        }
    }

    /// The table, if it is there and ready.
    ///
    /// Errors: `Usage` if it is not one of ours.
    pub async fn find(
        client: &Client,
        table: &str,
        name: &str,
        max_write_units: Option<u32>,
    ) -> Outcome<Option<Self>> {
        let Some(found) = describe(client, name).await? else { return Ok(None) };
        if !is_ready(&found) {
            return Ok(None);
        }
        check_keys(name, &found)?;
        Ok(Some(Self::new(client, table, name, &found, max_write_units)))
    }

    /// The table; it is made if it is missing.
    ///
    /// Errors: as [`Self::find`], and `Transient` if it does not become ready.
    pub async fn find_or_create(
        client: &Client,
        table: &str,
        name: &str,
        tags: &BTreeMap<String, String>,
        max_write_units: Option<u32>,
    ) -> Outcome<Self> {
        let begin = Instant::now();
        let mut look = FIRST_LOOK;
        loop {
            match describe(client, name).await? {
                Some(found) if is_ready(&found) => {
                    check_keys(name, &found)?;
                    return Ok(Self::new(client, table, name, &found, max_write_units));
                }
                // Being made, by us or by somebody else, or being deleted.
                Some(_) => {}
                None => create(client, name, tags).await?,
            }
            if begin.elapsed() > CREATION {
                let message = format!("table `{name}` is not ready after {CREATION:?}");
                return Err(Failure::new(FailureKind::Transient, message));
            }
            tokio::time::sleep(look).await;
            look = (look * 2).min(LONGEST_LOOK);
        }
    }

    /// Sees to it that items with [`EXPIRES`] expire.
    ///
    /// Errors: `Usage` if the table's items expire by another attribute.
    pub async fn enable_expiry(&self) -> Outcome<()> {
        let found = self.client.describe_time_to_live().table_name(&self.name).send().await;
        let doing = format!("read the time to live of table `{}`", self.name);
        let found = found.map_err(|error| failure(doing, &error, of_code))?;
        if let Some(known) = found.time_to_live_description()
            && let Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling) =
                known.time_to_live_status()
        {
            return match known.attribute_name() {
                Some(EXPIRES) => Ok(()),
                other => {
                    let other = other.unwrap_or_default();
                    let message = format!(
                        "items of table `{}` expire by `{other}` instead of `{EXPIRES}`",
                        self.name
                    );
                    let hint = "say `removal: delete`, or disable the table's time to live";
                    Err(Failure::new(FailureKind::Usage, message).with_hint(hint))
                }
            };
        }
        let wanted = TimeToLiveSpecification::builder().attribute_name(EXPIRES).enabled(true);
        let update = self.client.update_time_to_live().table_name(&self.name);
        let done = update.time_to_live_specification(built(wanted.build())?).send().await;
        let doing = format!("enable the time to live of table `{}`", self.name);
        done.map(|_| ()).map_err(|error| failure(doing, &error, of_code))
    }
}

/// Whether the table has our keys.
pub(super) fn has_our_keys(found: &TableDescription) -> bool {
    let is_text = |name: &str| {
        let mut all = found.attribute_definitions().iter();
        all.any(|one| {
            one.attribute_name() == name && *one.attribute_type() == ScalarAttributeType::S
        })
    };
    match found.key_schema() {
        [one, two] => {
            let (hash, range) = match one.key_type() {
                KeyType::Hash => (one, two),
                _ => (two, one),
            };
            (hash.attribute_name(), range.attribute_name()) == (PK, SK)
                && is_text(PK)
                && is_text(SK)
        }
        _ => false,
    }
}

fn check_keys(name: &str, found: &TableDescription) -> Outcome<()> {
    if has_our_keys(found) {
        return Ok(());
    }
    let keys = found.key_schema().iter();
    let keys: Vec<_> =
        keys.map(|key| format!("`{}` ({})", key.attribute_name(), key.key_type())).collect();
    let message = format!(
        "table `{name}` is not one of recctl's: its keys are {} instead of texts `{PK}` (HASH) and \
         `{SK}` (RANGE)",
        keys.join(" and ")
    );
    let hint = "give the target's `serving` another `table_prefix`, or the load another table";
    Err(Failure::new(FailureKind::Usage, message).with_hint(hint))
}

fn is_ready(found: &TableDescription) -> bool {
    !matches!(found.table_status(), Some(TableStatus::Creating | TableStatus::Deleting))
}

/// What a table says of itself; `None` if there is none.
pub(super) async fn describe(client: &Client, name: &str) -> Outcome<Option<TableDescription>> {
    match client.describe_table().table_name(name).send().await {
        Ok(answer) => Ok(answer.table),
        Err(error) if code(&error) == Some("ResourceNotFoundException") => Ok(None),
        Err(error) => Err(failure(format_args!("look at table `{name}`"), &error, of_code)),
    }
}

async fn create(client: &Client, name: &str, tags: &BTreeMap<String, String>) -> Outcome<()> {
    let mut request =
        client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    for (attribute, role) in [(PK, KeyType::Hash), (SK, KeyType::Range)] {
        let definition = AttributeDefinition::builder()
            .attribute_name(attribute)
            .attribute_type(ScalarAttributeType::S);
        let key = KeySchemaElement::builder().attribute_name(attribute).key_type(role);
        request = request
            .attribute_definitions(built(definition.build())?)
            .key_schema(built(key.build())?);
    }
    for (key, value) in tags {
        request = request.tags(built(Tag::builder().key(key).value(value).build())?);
    }
    match request.send().await {
        Ok(_) => Ok(()),
        // Somebody else makes it.
        Err(error) if code(&error) == Some("ResourceInUseException") => Ok(()),
        Err(error) => Err(failure(format_args!("create table `{name}`"), &error, of_code)),
    }
}

/// Write and read units a second: those that are paid for; of an on-demand table those that it says
/// are warm, or else what a new one gives.
fn capacity(found: &TableDescription) -> (f64, f64) {
    let on_demand = found
        .billing_mode_summary()
        .and_then(|mode| mode.billing_mode())
        .is_some_and(|mode| *mode == BillingMode::PayPerRequest);
    let units = |known: Option<i64>, default: f64| {
        known.filter(|units| *units > 0).map_or(default, |units| units as f64)
    };
    let (write, read) = if on_demand {
        let warm = found.warm_throughput();
        (
            warm.and_then(|warm| warm.write_units_per_second()),
            warm.and_then(|warm| warm.read_units_per_second()),
        )
    } else {
        let paid = found.provisioned_throughput();
        (
            paid.and_then(|paid| paid.write_capacity_units()),
            paid.and_then(|paid| paid.read_capacity_units()),
        )
    };
    (units(write, ON_DEMAND_WRITE), units(read, ON_DEMAND_READ))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::{
        BillingModeSummary, ProvisionedThroughputDescription, TableWarmThroughputDescription,
    };

    use super::*;

    #[test]
    fn a_table_gives_what_it_says() {
        let mode = |mode: BillingMode| {
            let mode = BillingModeSummary::builder().billing_mode(mode).build();
            TableDescription::builder().billing_mode_summary(mode)
        };
        let on_demand = mode(BillingMode::PayPerRequest);
        assert_eq!(capacity(&on_demand.clone().build()), (4_000.0, 12_000.0));
        let warm = TableWarmThroughputDescription::builder()
            .write_units_per_second(9_000)
            .read_units_per_second(20_000);
        let warm = on_demand.warm_throughput(warm.build()).build();
        assert_eq!(capacity(&warm), (9_000.0, 20_000.0));
        let paid = ProvisionedThroughputDescription::builder()
            .write_capacity_units(50)
            .read_capacity_units(10)
            .build();
        // A provisioned table that was never anything else has no summary.
        let paid = TableDescription::builder().provisioned_throughput(paid).build();
        assert_eq!(capacity(&paid), (50.0, 10.0));
    }
}
