//! Lists: filters, order and pages, which all `List…` operations have in common.

use std::cmp::Ordering;

use serde_json::{Value, json};

/// How a list names its things.
pub(super) struct Listing<'a> {
    /// The member that holds the list.
    pub(super) list: &'a str,
    /// The member of an item that holds its name.
    pub(super) name: &'a str,
    /// The member of an item that holds its status.
    pub(super) status: &'a str,
}

impl Listing<'_> {
    /// Answers a request. Items come in the order in which they were created; `other` gives a
    /// sorting key for a `SortBy` of the operation's own, and drops items without one.
    pub(super) fn answer(
        &self,
        request: &Value,
        mut items: Vec<Value>,
        other: impl Fn(&str, &Value) -> Option<f64>,
    ) -> Result<Value, String> {
        let text = |member: &str| request.get(member).and_then(Value::as_str);
        let number = |value: &Value, member: &str| value.get(member).and_then(Value::as_f64);
        items.retain(|item| {
            let is = |member: &str| item.get(member).and_then(Value::as_str).unwrap_or_default();
            text("NameContains").is_none_or(|part| is(self.name).contains(part))
                && text("StatusEquals").is_none_or(|status| is(self.status) == status)
                && number(request, "CreationTimeAfter")
                    .is_none_or(|after| number(item, "CreationTime").is_some_and(|at| at >= after))
                && number(request, "CreationTimeBefore").is_none_or(|before| {
                    number(item, "CreationTime").is_some_and(|at| at <= before)
                })
        });
        match text("SortBy").unwrap_or("CreationTime") {
            "CreationTime" => {}
            "Name" => items.sort_by(|a, b| member(a, self.name).cmp(member(b, self.name))),
            "Status" => items.sort_by(|a, b| member(a, self.status).cmp(member(b, self.status))),
            sort => {
                items.retain(|item| other(sort, item).is_some());
                items.sort_by(|a, b| {
                    other(sort, a).partial_cmp(&other(sort, b)).unwrap_or(Ordering::Equal)
                });
            }
        }
        match text("SortOrder") {
            Some("Descending") => items.reverse(),
            None | Some("Ascending") => {}
            Some(order) => {
                return Err(format!(
                    "1 validation error detected: Value '{order}' at 'sortOrder' failed to \
                     satisfy constraint: Member must satisfy enum value set: [Ascending, Descending]"
                ));
            }
        }
        self.page(request, items)
    }

    fn page(&self, request: &Value, items: Vec<Value>) -> Result<Value, String> {
        let size = request.get("MaxResults").map_or(Some(10), Value::as_u64);
        let size = size.and_then(|size| usize::try_from(size).ok());
        let Some(size) = size.filter(|size| (1..=100).contains(size)) else {
            return Err("1 validation error detected: Value at 'maxResults' failed to satisfy \
                        constraint: Member must have value from 1 to 100"
                .to_owned());
        };
        let token = request.get("NextToken").and_then(Value::as_str);
        let first = match token.map(|token| token.strip_prefix("from-").map(str::parse)) {
            None => 0,
            Some(Some(Ok(first))) => first,
            Some(_) => return Err("Invalid NextToken".to_owned()),
        };
        let total = items.len();
        let page: Vec<Value> = items.into_iter().skip(first).take(size).collect();
        let next = first + page.len();
        let mut answer = json!({ self.list: page });
        if next < total {
            answer["NextToken"] = json!(format!("from-{next}"));
        }
        Ok(answer)
    }
}

fn member<'a>(item: &'a Value, member: &str) -> &'a str {
    item.get(member).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: Listing<'_> = Listing { list: "L", name: "N", status: "S" };

    fn names(request: &Value) -> Vec<String> {
        let items = [("b", 1.0, "Failed"), ("ab", 2.0, "Completed"), ("c", 3.0, "Failed")]
            .map(|(name, at, status)| json!({ "N": name, "CreationTime": at, "S": status }));
        let mut request = request.clone();
        let mut names = Vec::new();
        loop {
            let page = LISTING
                .answer(&request, items.to_vec(), |_, item| {
                    item["CreationTime"].as_f64().filter(|at| *at < 3.0).map(|at| -at)
                })
                .unwrap();
            names.extend(
                page["L"].as_array().unwrap().iter().map(|i| i["N"].as_str().unwrap().to_owned()),
            );
            let Some(token) = page.get("NextToken") else { return names };
            request["NextToken"] = token.clone();
        }
    }

    #[test]
    fn lists_are_filtered_sorted_and_paged() {
        assert_eq!(names(&json!({ "MaxResults": 1 })), ["b", "ab", "c"]);
        assert_eq!(
            names(&json!({ "SortBy": "Name", "SortOrder": "Descending" })),
            ["c", "b", "ab"]
        );
        assert_eq!(names(&json!({ "NameContains": "b", "MaxResults": 2 })), ["b", "ab"]);
        assert_eq!(names(&json!({ "StatusEquals": "Failed" })), ["b", "c"]);
        assert_eq!(names(&json!({ "SortBy": "Objective" })), ["ab", "b"]);
        assert_eq!(names(&json!({ "CreationTimeAfter": 2.0, "CreationTimeBefore": 2.5 })), ["ab"]);
        let refused = |request: Value| LISTING.answer(&request, vec![], |_, _| None).is_err();
        assert!(refused(json!({ "MaxResults": 0 })) && refused(json!({ "MaxResults": 101 })));
        assert!(refused(json!({ "SortOrder": "Up" })) && refused(json!({ "NextToken": "x" })));
    }
}
