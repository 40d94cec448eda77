//! Every call that changes something at AWS, by what it changes: the one list that plans and
//! policies are made from.
//!
//! A plan lists the calls of a run by these names, and the policy of the task takes its changing
//! actions from the same rows, so that the two cannot disagree. The actions that allow a call are
//! those of the service authorization reference,
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>.

use serde::Serialize;

/// What a run changes at AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Objects of the lake.
    Lake,
    /// The database of the Data Catalog.
    Database,
    /// Tables and partitions of the Data Catalog.
    Tables,
    /// The warehouse.
    Warehouse,
    /// Training jobs.
    Training,
    /// Tuning jobs.
    Search,
    /// Processing jobs.
    Processing,
    /// Groups and versions of models.
    Registry,
    /// The table of state.
    State,
    /// Tables of served lists.
    Served,
    /// How long served lists live.
    Expiry,
}

/// When a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// As the plan says.
    Planned,
    /// Only where something failed, was stopped, or is put right after an earlier failure.
    Amends,
}

/// A call that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Its name in the service's API.
    pub name: &'static str,
    /// The actions of IAM that allow it.
    pub actions: &'static [&'static str],
    /// When it is made.
    pub when: When,
}

const fn planned(name: &'static str, actions: &'static [&'static str]) -> Operation {
    Operation { name, actions, when: When::Planned }
}

const fn amends(name: &'static str, actions: &'static [&'static str]) -> Operation {
    Operation { name, actions, when: When::Amends }
}

/// A small file, in one go.
pub const PUT_OBJECT: &str = "PutObject";
/// A large file begins; its parts and its end follow.
pub const CREATE_UPLOAD: &str = "CreateMultipartUpload";
/// A part of a large file.
pub const UPLOAD_PART: &str = "UploadPart";
/// A large file is there.
pub const COMPLETE_UPLOAD: &str = "CompleteMultipartUpload";
/// A file is copied by the service.
pub const COPY_OBJECT: &str = "CopyObject";
/// Files are removed.
pub const DELETE_OBJECTS: &str = "DeleteObjects";
/// A database of the catalog is made.
pub const CREATE_DATABASE: &str = "CreateDatabase";
/// A table is made, of the catalog or of DynamoDB.
pub const CREATE_TABLE: &str = "CreateTable";
/// The definition of a table of the catalog changes.
pub const UPDATE_TABLE: &str = "UpdateTable";
/// Partitions of the catalog become visible.
pub const CREATE_PARTITIONS: &str = "BatchCreatePartition";
/// Partitions of the catalog are flipped to new files.
pub const UPDATE_PARTITIONS: &str = "BatchUpdatePartition";
/// Statements of one transaction.
pub const EXECUTE_BATCH: &str = "BatchExecuteStatement";
/// A model is fitted.
pub const CREATE_TRAINING: &str = "CreateTrainingJob";
/// Hyperparameters are searched.
pub const CREATE_SEARCH: &str = "CreateHyperParameterTuningJob";
/// Users are scored.
pub const CREATE_PROCESSING: &str = "CreateProcessingJob";
/// A group of models is made.
pub const CREATE_GROUP: &str = "CreateModelPackageGroup";
/// A model is registered.
pub const CREATE_PACKAGE: &str = "CreateModelPackage";
/// An item is written.
pub const PUT_ITEM: &str = "PutItem";
/// An item is changed.
pub const UPDATE_ITEM: &str = "UpdateItem";
/// An item is removed.
pub const DELETE_ITEM: &str = "DeleteItem";
/// Items are written or removed, 25 at a time.
pub const WRITE_ITEMS: &str = "BatchWriteItem";
/// Items are written all or none.
pub const TRANSACT: &str = "TransactWriteItems";
/// A table can be restored to any second of the last weeks.
pub const SET_BACKUPS: &str = "UpdateContinuousBackups";
/// Items of a table expire.
pub const SET_EXPIRY: &str = "UpdateTimeToLive";

impl Subject {
    /// All of them, in the order in which a policy names them.
    pub const ALL: [Self; 11] = [
        Self::Lake,
        Self::State,
        Self::Served,
        Self::Expiry,
        Self::Database,
        Self::Tables,
        Self::Warehouse,
        Self::Training,
        Self::Search,
        Self::Processing,
        Self::Registry,
    ];

    /// The service, as signatures name it.
    pub fn service(self) -> &'static str {
        match self {
            Self::Lake => "s3",
            Self::Database | Self::Tables => "glue",
            Self::Warehouse => "redshift-data",
            Self::Training | Self::Search | Self::Processing | Self::Registry => "sagemaker",
            Self::State | Self::Served | Self::Expiry => "dynamodb",
        }
    }

    /// The calls that change it.
    pub fn operations(self) -> &'static [Operation] {
        match self {
            Self::Lake => LAKE,
            Self::Database => const { &[planned(CREATE_DATABASE, &["glue:CreateDatabase"])] },
            Self::Tables => TABLES,
            Self::Warehouse => {
                const { &[planned(EXECUTE_BATCH, &["redshift-data:BatchExecuteStatement"])] }
            }
            Self::Training => TRAINING,
            Self::Search => SEARCH,
            Self::Processing => PROCESSING,
            Self::Registry => REGISTRY,
            Self::State => STATE,
            Self::Served => SERVED,
            Self::Expiry => const { &[planned(SET_EXPIRY, &["dynamodb:UpdateTimeToLive"])] },
        }
    }

    /// The actions that a run needs to change it, in the order of their names.
    pub fn actions(self) -> Vec<&'static str> {
        let mut actions: Vec<_> =
            self.operations().iter().flat_map(|operation| operation.actions).copied().collect();
        actions.sort_unstable();
        actions.dedup();
        actions
    }
}

/// A multipart upload needs no more than `PutObject`; the parts count as such.
const LAKE: &[Operation] = &[
    planned(PUT_OBJECT, &["s3:PutObject"]),
    planned(CREATE_UPLOAD, &["s3:PutObject"]),
    planned(UPLOAD_PART, &["s3:PutObject"]),
    planned(COMPLETE_UPLOAD, &["s3:PutObject"]),
    planned(COPY_OBJECT, &["s3:PutObject"]),
    planned(DELETE_OBJECTS, &["s3:DeleteObject"]),
    amends("DeleteObject", &["s3:DeleteObject"]),
    amends("AbortMultipartUpload", &["s3:AbortMultipartUpload"]),
];

const TABLES: &[Operation] = &[
    planned(CREATE_TABLE, &["glue:CreateTable"]),
    planned(UPDATE_TABLE, &["glue:UpdateTable"]),
    planned(CREATE_PARTITIONS, &["glue:BatchCreatePartition"]),
    planned(UPDATE_PARTITIONS, &["glue:BatchUpdatePartition"]),
    amends("BatchDeletePartition", &["glue:BatchDeletePartition"]),
];

/// Jobs are always tagged with what they are attempts of.
const TRAINING: &[Operation] = &[
    planned(CREATE_TRAINING, &["sagemaker:AddTags", "sagemaker:CreateTrainingJob"]),
    amends("StopTrainingJob", &["sagemaker:StopTrainingJob"]),
];

const SEARCH: &[Operation] = &[
    planned(CREATE_SEARCH, &["sagemaker:AddTags", "sagemaker:CreateHyperParameterTuningJob"]),
    amends("StopHyperParameterTuningJob", &["sagemaker:StopHyperParameterTuningJob"]),
];

const PROCESSING: &[Operation] = &[
    planned(CREATE_PROCESSING, &["sagemaker:AddTags", "sagemaker:CreateProcessingJob"]),
    amends("StopProcessingJob", &["sagemaker:StopProcessingJob"]),
];

const REGISTRY: &[Operation] = &[
    planned(CREATE_GROUP, &["sagemaker:CreateModelPackageGroup"]),
    planned(CREATE_PACKAGE, &["sagemaker:CreateModelPackage"]),
];

/// Transactions are allowed by what they hold.
const STATE: &[Operation] = &[
    planned(CREATE_TABLE, &["dynamodb:CreateTable"]),
    planned(SET_BACKUPS, &["dynamodb:UpdateContinuousBackups"]),
    planned(PUT_ITEM, &["dynamodb:PutItem"]),
    planned(UPDATE_ITEM, &["dynamodb:UpdateItem"]),
    planned(TRANSACT, &["dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:PutItem"]),
];

const SERVED: &[Operation] = &[
    planned(CREATE_TABLE, &["dynamodb:CreateTable"]),
    planned(PUT_ITEM, &["dynamodb:PutItem"]),
    planned(UPDATE_ITEM, &["dynamodb:UpdateItem"]),
    planned(WRITE_ITEMS, &["dynamodb:BatchWriteItem"]),
    planned(DELETE_ITEM, &["dynamodb:DeleteItem"]),
    planned(TRANSACT, &["dynamodb:ConditionCheckItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]),
];
