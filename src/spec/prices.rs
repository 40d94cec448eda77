//! Price lists as written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::yaml;
use crate::run::failure::Problem;
use crate::run::rule::Rule;

/// A price list. Prices that are absent are unknown.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The version of the format: 1.
    pub version: u32,
    /// When somebody looked, `YYYY-MM-DD`.
    pub date: String,
    /// Where the prices are from, for people.
    pub source: String,
    /// The currency; USD by default.
    #[serde(default = "dollars")]
    pub currency: String,
    /// The region whose prices are taken where nobody says a region.
    #[serde(default)]
    pub assumed_region: Option<String>,
    /// Prices by region.
    #[serde(default)]
    pub regions: BTreeMap<String, Region>,
}

/// Prices of a region.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// S3.
    #[serde(default)]
    pub s3: S3,
    /// DynamoDB, on demand.
    #[serde(default)]
    pub dynamodb: DynamoDb,
    /// Glue Data Catalog.
    #[serde(default)]
    pub glue: Glue,
    /// Redshift Serverless.
    #[serde(default)]
    pub redshift_serverless: RedshiftServerless,
    /// SageMaker.
    #[serde(default)]
    pub sagemaker: SageMaker,
}

/// Prices of S3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// A thousand requests that write or copy.
    #[serde(default)]
    pub thousand_writes: Option<f64>,
    /// A GB for a month.
    #[serde(default)]
    pub gb_month: Option<f64>,
}

/// Prices of DynamoDB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamoDb {
    /// A million write units.
    #[serde(default)]
    pub million_write_units: Option<f64>,
}

/// Prices of the Data Catalog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Glue {
    /// A million requests.
    #[serde(default)]
    pub million_requests: Option<f64>,
}

/// Prices of Redshift Serverless.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedshiftServerless {
    /// An hour of a processing unit.
    #[serde(default)]
    pub rpu_hour: Option<f64>,
    /// The base capacity of the workgroup in processing units.
    #[serde(default)]
    pub rpus: Option<f64>,
}

/// Prices of SageMaker.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SageMaker {
    /// A GB of a job's volume for a month.
    #[serde(default)]
    pub volume_gb_month: Option<f64>,
    /// An hour of each type of instance, for training and processing alike.
    #[serde(default)]
    pub instance_hour: BTreeMap<String, f64>,
}

fn dollars() -> String {
    "USD".to_owned()
}

/// Reads a price list. The error is the first thing that is wrong.
pub fn read(file: &str, text: &str) -> Result<Prices, Box<Problem>> {
    let prices: Prices = yaml::read_whole(file, text)?;
    let wrong = |rule: Rule, words: &str, message: String, hint: &str| {
        let line = text.lines().position(|line| line.trim_start().starts_with(words));
        let (line, length) = (line.map_or(1, |at| at + 1), words.chars().count());
        let problem = Problem::new(rule, file, line, 1, length, message);
        Box::new(problem.with_hint(hint.to_owned()))
    };
    if prices.version != 1 {
        let message = format!("version {} of price lists is not known", prices.version);
        return Err(wrong(Rule::UnknownVersion, "version", message, "write `version: 1`"));
    }
    if prices.date.parse::<crate::pipeline::interval::LogicalDate>().is_err() {
        let message = format!("`{}` is not a date (expected YYYY-MM-DD)", prices.date);
        return Err(wrong(
            Rule::InvalidValue,
            "date",
            message,
            "say when somebody looked the prices up",
        ));
    }
    Ok(prices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_when_it_was_made() {
        let text = "version: 1\ndate: 2026-01-02\nsource: our contract\nregions:\n  \
                    eu-west-1: {sagemaker: {instance_hour: {ml.m5.xlarge: 0.2}}}\n";
        let prices = read("prices.yaml", text).unwrap();
        assert_eq!(prices.currency, "USD");
        assert_eq!(prices.regions["eu-west-1"].sagemaker.instance_hour["ml.m5.xlarge"], 0.2);
        assert_eq!(prices.regions["eu-west-1"].s3.gb_month, None, "unknown, not zero");
        let broken = read("prices.yaml", &text.replace("2026-01-02", "January")).unwrap_err();
        assert_eq!((broken.line, broken.message.contains("not a date")), (2, true));
        let broken = read("prices.yaml", &text.replace("sagemaker:", "sage:")).unwrap_err();
        assert_eq!(broken.message, "unknown field `sage`");
        assert_eq!(broken.line, 5);
    }
}
