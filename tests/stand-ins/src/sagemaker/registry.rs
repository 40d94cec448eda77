//! The model registry: groups, and the versions in them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::check::Check;
use super::page::Listing;
use super::{Answer, Shared, State, invalid, now, refuse, text};

const APPROVAL: [&str; 3] = ["Approved", "Rejected", "PendingManualApproval"];

/// Groups by name.
#[derive(Debug, Default)]
pub(super) struct Registry(BTreeMap<String, Group>);

#[derive(Debug)]
struct Group {
    description: Value,
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    token: Option<String>,
    request: Value,
    description: Value,
}

pub(super) fn answer(shared: &Shared, operation: &str, request: &Value) -> Answer {
    match operation {
        "CreateModelPackageGroup" => create_group(shared, request),
        "DescribeModelPackageGroup" => describe_group(shared, request),
        "CreateModelPackage" => create_package(shared, request),
        "DescribeModelPackage" => {
            let mut state = shared.lock();
            find(&mut state, text(request, "ModelPackageName")).map(|found| found.clone())
        }
        "ListModelPackages" => list(shared, request),
        "UpdateModelPackage" => update(shared, request),
        operation => refuse(
            "UnknownOperationException",
            format!("The requested operation {operation} is not recognized by the service."),
        ),
    }
}

fn create_group(shared: &Shared, request: &Value) -> Answer {
    let mut check = Check::new(request);
    check.name("/ModelPackageGroupName", 63);
    check.text("/ModelPackageGroupDescription", 1_024, r"^[\p{L}\p{M}\p{Z}\p{S}\p{N}\p{P}]*$");
    check.tags();
    check.finish().map_err(invalid)?;
    let name = text(request, "ModelPackageGroupName");
    let arn = shared.arn("model-package-group", name);
    let mut description = json!({
        "ModelPackageGroupName": name,
        "ModelPackageGroupArn": arn,
        "ModelPackageGroupStatus": "Completed",
        "CreationTime": now(),
        "CreatedBy": {},
    });
    if let Some(text) = request.get("ModelPackageGroupDescription") {
        description["ModelPackageGroupDescription"] = text.clone();
    }
    shared.update(|state| {
        if state.registry.0.contains_key(name) {
            return Err(invalid(format!("Model Package Group already exists: {arn}")));
        }
        state.add_tags(&arn, request);
        state.registry.0.insert(name.to_owned(), Group { description, packages: Vec::new() });
        Ok(json!({ "ModelPackageGroupArn": arn }))
    })
}

/// The last part of a name or an ARN.
fn bare(name: &str) -> &str {
    match name.split_once("model-package-group/") {
        Some((_, bare)) => bare,
        None => name,
    }
}

fn describe_group(shared: &Shared, request: &Value) -> Answer {
    let name = bare(text(request, "ModelPackageGroupName"));
    let state = shared.lock();
    match state.registry.0.get(name) {
        Some(group) => Ok(group.description.clone()),
        None => Err(invalid(format!("ModelPackageGroup {name} does not exist."))),
    }
}

fn create_package(shared: &Shared, request: &Value) -> Answer {
    let mut check = Check::new(request);
    // Versioned packages only: those without a group are for the marketplace.
    check.required("/ModelPackageGroupName");
    check.one_of("/ModelApprovalStatus", &APPROVAL);
    check.text("/ClientToken", 36, "^[a-zA-Z0-9-]+$");
    check.map("/CustomerMetadataProperties", 50, (128, r"^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$"), 256);
    check.length("/InferenceSpecification/Containers", 1, 15);
    let containers = request.pointer("/InferenceSpecification/Containers");
    for at in 0..containers.and_then(Value::as_array).map_or(0, Vec::len) {
        check.text(
            &format!("/InferenceSpecification/Containers/{at}/ModelDataUrl"),
            1_024,
            "^(https|s3)://.+",
        );
    }
    check.refuse_if(
        request.get("Tags").is_some_and(|tags| tags.as_array().is_some_and(|t| !t.is_empty())),
        "Tags cannot be given for a versioned model package; tag its group",
    );
    check.finish().map_err(invalid)?;
    let group_name = bare(text(request, "ModelPackageGroupName"));
    let token = request.get("ClientToken").and_then(Value::as_str).map(str::to_owned);
    shared.update(|state| {
        let Some(group) = state.registry.0.get_mut(group_name) else {
            return Err(invalid(format!("ModelPackageGroup {group_name} does not exist.")));
        };
        let known = group.packages.iter().find(|known| token.is_some() && known.token == token);
        if let Some(known) = known {
            if known.request != *request {
                return refuse(
                    "ConflictException",
                    "The ClientToken was used for another request.",
                );
            }
            return Ok(json!({ "ModelPackageArn": known.description["ModelPackageArn"] }));
        }
        let version = group.packages.len() + 1;
        let arn = shared.arn("model-package", &format!("{group_name}/{version}"));
        let mut description = request.clone();
        if let Some(members) = description.as_object_mut() {
            members.remove("ClientToken");
        }
        let approval = request.get("ModelApprovalStatus").and_then(Value::as_str);
        for (member, value) in [
            ("ModelPackageGroupName", json!(group_name)),
            ("ModelPackageName", json!(format!("{group_name}/{version}"))),
            ("ModelPackageVersion", json!(version)),
            ("ModelPackageArn", json!(arn)),
            ("ModelPackageStatus", json!("Completed")),
            ("ModelPackageStatusDetails", json!({ "ValidationStatuses": [] })),
            ("ModelApprovalStatus", json!(approval.unwrap_or("PendingManualApproval"))),
            ("CreationTime", json!(now())),
        ] {
            description[member] = value;
        }
        group.packages.push(Package { token, request: request.clone(), description });
        Ok(json!({ "ModelPackageArn": arn }))
    })
}

fn find<'a>(state: &'a mut State, name: &str) -> Result<&'a mut Value, super::Refusal> {
    let name = name.split_once(":model-package/").map_or(name, |(_, name)| name);
    let missing = || invalid(format!("ModelPackage {name} does not exist."));
    let (group, version) = name.rsplit_once('/').ok_or_else(missing)?;
    // ARNs are in lower case.
    let group = state.registry.0.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(group));
    let packages = group.map(|(_, group)| &mut group.packages).ok_or_else(missing)?;
    let version: usize = version.parse().map_err(|_| missing())?;
    let found = version.checked_sub(1).and_then(|at| packages.get_mut(at));
    found.map(|package| &mut package.description).ok_or_else(missing)
}

fn list(shared: &Shared, request: &Value) -> Answer {
    let state = shared.lock();
    let group = bare(text(request, "ModelPackageGroupName"));
    let approval = text(request, "ModelApprovalStatus");
    let packages = match state.registry.0.get(group) {
        Some(group) => group.packages.as_slice(),
        None if group.is_empty() => &[],
        None => return Err(invalid(format!("ModelPackageGroup {group} does not exist."))),
    };
    let items = packages
        .iter()
        .map(|package| &package.description)
        .filter(|item| approval.is_empty() || text(item, "ModelApprovalStatus") == approval)
        .map(|item| {
            let mut summary = json!({});
            for member in [
                "ModelPackageGroupName",
                "ModelPackageName",
                "ModelPackageVersion",
                "ModelPackageArn",
                "ModelPackageStatus",
                "ModelApprovalStatus",
                "ModelPackageDescription",
                "CreationTime",
            ] {
                if let Some(value) = item.get(member) {
                    summary[member] = value.clone();
                }
            }
            summary
        })
        .collect();
    let listing = Listing {
        list: "ModelPackageSummaryList",
        name: "ModelPackageName",
        status: "ModelApprovalStatus",
    };
    listing.answer(request, items, |_, _| None).map_err(invalid)
}

fn update(shared: &Shared, request: &Value) -> Answer {
    let mut check = Check::new(request);
    check.required("/ModelPackageArn");
    check.one_of("/ModelApprovalStatus", &APPROVAL);
    check.map("/CustomerMetadataProperties", 50, (128, r"^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$"), 256);
    check.finish().map_err(invalid)?;
    let arn = text(request, "ModelPackageArn");
    shared.update(|state| {
        let package = find(state, arn)?;
        for member in ["ModelApprovalStatus", "ApprovalDescription"] {
            if let Some(value) = request.get(member) {
                package[member] = value.clone();
            }
        }
        let more = request.get("CustomerMetadataProperties").and_then(Value::as_object);
        for (name, value) in more.into_iter().flatten() {
            package["CustomerMetadataProperties"][name] = value.clone();
        }
        let less = request.get("CustomerMetadataPropertiesToRemove").and_then(Value::as_array);
        for name in less.into_iter().flatten().filter_map(Value::as_str) {
            if let Some(kept) = package["CustomerMetadataProperties"].as_object_mut() {
                kept.remove(name);
            }
        }
        Ok(json!({ "ModelPackageArn": arn }))
    })
}
