//! What visitors of a kind go for, known from nothing but where they are and what they hold.

use std::collections::BTreeMap;
use std::path::Path;

use super::channel::{self, ColumnKind, WantedColumn};
use super::error::ModelError;

const COLUMNS: [WantedColumn; 4] = [
    WantedColumn { name: "location", kind: ColumnKind::Text, required: true },
    WantedColumn { name: "device", kind: ColumnKind::Text, required: true },
    WantedColumn { name: "item_id", kind: ColumnKind::Text, required: true },
    WantedColumn { name: "weight", kind: ColumnKind::Number, required: true },
];

/// Names a kind of visitor; a side that is `None` stands for all values of it.
#[derive(
    Debug,
    Clone,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Segment {
    pub location: Option<String>,
    pub device: Option<String>,
}

impl Segment {
    pub fn new(location: Option<&str>, device: Option<&str>) -> Self {
        Self { location: location.map(str::to_owned), device: device.map(str::to_owned) }
    }

    /// Returns the segments to ask in turn, the most telling first: (location, device), location,
    /// device, everybody.
    pub fn back_off(&self) -> Vec<Self> {
        let location = self.location.as_deref();
        let device = self.device.as_deref();
        let mut steps = vec![self.clone()];
        for step in [Self::new(location, None), Self::new(None, device), Self::default()] {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        steps
    }
}

/// Holds the summed weight of items per segment, for (location, device), location and device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SegmentWeights {
    /// Ids are text here: a segment may favour items that no known user has touched.
    pub(crate) weights: BTreeMap<Segment, BTreeMap<String, f64>>,
}

impl SegmentWeights {
    /// Reads every `*.parquet` file below `folder`: `location`, `device` (text, may be null),
    /// `item_id` (text), `weight` (any number). A row counts for each segment that its non-null
    /// sides name.
    ///
    /// # Errors
    /// As [`super::Interactions::read`], except that no rows are fine.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let mut rows = Vec::new();
        let frames = channel::read(folder, &COLUMNS)?;
        for frame in &frames {
            let locations = frame.text("location")?.unwrap_or_default();
            let devices = frame.text("device")?.unwrap_or_default();
            let items = frame.required_text("item_id")?;
            let weights = frame.required_number("weight")?;
            for (((location, device), item), weight) in
                locations.into_iter().zip(devices).zip(items).zip(weights)
            {
                rows.push((location, device, item, weight));
            }
        }
        Ok(Self::from_rows(rows))
    }

    /// Builds weights from (location, device, item, weight) rows in any order.
    pub fn from_rows<'a>(
        rows: impl IntoIterator<Item = (Option<&'a str>, Option<&'a str>, &'a str, f64)>,
    ) -> Self {
        let mut rows: Vec<_> = rows.into_iter().collect();
        // Same reason as in Interactions: a float sum depends on its order, and writers shuffle
        // rows.
        rows.sort_unstable_by(|a, b| {
            (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)).then(a.3.total_cmp(&b.3))
        });
        let mut weights: BTreeMap<Segment, BTreeMap<String, f64>> = BTreeMap::new();
        for (location, device, item, weight) in rows {
            let mut segments = Segment::new(location, device).back_off();
            // Everybody's popularity comes from the interactions; counting it here again would be a
            // second answer.
            segments.retain(|segment| *segment != Segment::default());
            for segment in segments {
                let items = weights.entry(segment).or_default();
                match items.get_mut(item) {
                    Some(sum) => *sum += weight,
                    None => {
                        items.insert(item.to_owned(), weight);
                    }
                }
            }
        }
        Self { weights }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_goes_from_both_sides_to_everybody() {
        let steps = Segment::new(Some("de"), Some("phone")).back_off();
        let expected =
            [(Some("de"), Some("phone")), (Some("de"), None), (None, Some("phone")), (None, None)];
        assert_eq!(steps, expected.map(|(location, device)| Segment::new(location, device)));
        assert_eq!(Segment::new(None, Some("phone")).back_off().len(), 2);
    }

    #[test]
    fn a_row_counts_for_every_side_it_names() {
        let weights = SegmentWeights::from_rows([
            (Some("de"), Some("phone"), "a", 1.0),
            (Some("de"), None, "a", 2.0),
            (None, None, "a", 100.0),
        ]);
        let of = |location, device| {
            weights.weights.get(&Segment::new(location, device)).map(|items| items["a"])
        };
        assert_eq!(of(Some("de"), Some("phone")), Some(1.0));
        assert_eq!(of(Some("de"), None), Some(3.0));
        assert_eq!(of(None, Some("phone")), Some(1.0));
        assert_eq!(of(None, None), None);
    }
}
