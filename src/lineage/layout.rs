//! Where a drawing has its boxes: layers by the longest path, few crossings, straight edges.
//!
//! As Sugiyama, Tagawa and Toda draw graphs (IEEE Transactions on Systems, Man, and Cybernetics,
//! 11(2), 1981): layers, then an order within each by the barycentre of the neighbours, then places
//! that keep the order. Edges over several layers have a joint in each, so that they pass between
//! boxes. Nothing is random: one graph always makes one drawing.

use std::collections::{BTreeMap, BTreeSet};

use super::{DatasetKind, Graph};

/// Height of a box's head, in pixels.
pub const HEAD: f64 = 30.0;
/// Height of a column's row.
pub const ROW: f64 = 18.0;
/// Room below the last row.
const FOOT: f64 = 6.0;
/// Columns that a box shows at most; the last row then says how many more there are.
pub const MOST_ROWS: usize = 24;
const GAP_BETWEEN_LAYERS: f64 = 110.0;
const GAP_BETWEEN_BOXES: f64 = 26.0;
const GAP_AT_JOINTS: f64 = 12.0;
/// Widths of letters as browsers draw them in the page's fonts: of columns, names and kinds.
const CHARACTER: f64 = 7.2;
const LETTER_OF_HEAD: f64 = 8.3;
const LETTER_OF_KIND: f64 = 6.3;
const BESIDE_HEAD: f64 = 40.0;
const NARROWEST: f64 = 130.0;
const WIDEST: f64 = 300.0;
/// Sweeps for the order; it is good after a few.
const SWEEPS: usize = 12;
const MOVES: usize = 8;

/// A box of a drawing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    /// Index of the dataset.
    pub dataset: usize,
    /// Left edge, in pixels.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// The layer, from 0 at the left.
    pub layer: usize,
}

/// A line between two boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Index of the dataset where it begins.
    pub from: usize,
    /// Index of the dataset where it ends.
    pub to: usize,
    /// Joints between the two, from left to right.
    pub joints: Vec<(f64, f64)>,
}

/// A drawing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arrangement {
    /// One box for each dataset, in their order.
    pub boxes: Vec<Placed>,
    /// One line for each pair of datasets with an edge between them.
    pub routes: Vec<Route>,
    /// Width of the whole, in pixels.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// A box or a joint.
#[derive(Debug, Clone, Copy)]
struct Item {
    layer: usize,
    height: f64,
    /// Middle, once it is placed.
    y: f64,
    is_joint: bool,
}

/// Arranges all datasets of a graph.
pub fn arrange(graph: &Graph) -> Arrangement {
    let pairs = pairs(graph);
    let layers = layers(graph, &pairs);
    let height = |dataset: usize| {
        let rows = graph.datasets.get(dataset).map_or(0, |it| it.columns.len());
        HEAD + ROW * rows.min(MOST_ROWS + 1) as f64 + FOOT
    };
    let mut items: Vec<Item> = (0..graph.datasets.len())
        .map(|it| Item { layer: layers[it], height: height(it), y: 0.0, is_joint: false })
        .collect();
    let mut links: Vec<(usize, usize)> = Vec::new();
    let mut joints: Vec<Vec<usize>> = Vec::new();
    for (from, to) in &pairs {
        let mut last = *from;
        let mut on_the_way = Vec::new();
        for layer in layers[*from] + 1..layers[*to] {
            items.push(Item { layer, height: 0.0, y: 0.0, is_joint: true });
            links.push((last, items.len() - 1));
            last = items.len() - 1;
            on_the_way.push(last);
        }
        links.push((last, *to));
        joints.push(on_the_way);
    }
    let order = order(&items, &links);
    place(&mut items, &links, &order);
    drawing(graph, &items, &pairs, &joints)
}

/// Pairs of datasets with an edge from the one to the other.
fn pairs(graph: &Graph) -> Vec<(usize, usize)> {
    let pairs: BTreeSet<(usize, usize)> = graph
        .edges
        .iter()
        .map(|edge| (edge.from.dataset, edge.to.dataset))
        .filter(|(from, to)| from != to)
        .collect();
    pairs.into_iter().collect()
}

/// The length of the longest path to each dataset. What has nothing before it stands next to what
/// it goes into.
fn layers(graph: &Graph, pairs: &[(usize, usize)]) -> Vec<usize> {
    let count = graph.datasets.len();
    let mut layers = vec![0; count];
    let mut waiting = vec![0_usize; count];
    for (_, to) in pairs {
        waiting[*to] += 1;
    }
    let has_inputs: Vec<bool> = waiting.iter().map(|inputs| *inputs > 0).collect();
    let mut ready: Vec<usize> = (0..count).filter(|it| waiting[*it] == 0).collect();
    while let Some(from) = ready.pop() {
        for (_, to) in pairs.iter().filter(|pair| pair.0 == from) {
            layers[*to] = layers[*to].max(layers[from] + 1);
            waiting[*to] -= 1;
            if waiting[*to] == 0 {
                ready.push(*to);
            }
        }
    }
    for dataset in (0..count).filter(|it| !has_inputs[*it]) {
        let next = pairs.iter().filter(|pair| pair.0 == dataset).map(|pair| layers[pair.1]);
        layers[dataset] = next.min().unwrap_or(0_usize).saturating_sub(1);
    }
    // The quarantine takes from everywhere; at the end of all layers it would pull lines across.
    for (dataset, it) in graph.datasets.iter().enumerate() {
        if it.kind == DatasetKind::Quarantine {
            let before = pairs.iter().filter(|pair| pair.1 == dataset).map(|pair| layers[pair.0]);
            layers[dataset] = before.max().map_or(0, |layer| layer + 1);
        }
    }
    layers
}

/// The items of each layer from top to bottom, with few crossings.
fn order(items: &[Item], links: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let last = items.iter().map(|item| item.layer).max().unwrap_or(0);
    let mut order: Vec<Vec<usize>> = vec![Vec::new(); last + 1];
    for (index, item) in items.iter().enumerate() {
        order[item.layer].push(index);
    }
    let neighbours = Neighbours::new(items.len(), links);
    let mut best = order.clone();
    let mut fewest = crossings(&order, &neighbours, items.len());
    for sweep in 0..SWEEPS {
        let downwards = sweep % 2 == 0;
        let layers: Vec<usize> =
            if downwards { (1..=last).collect() } else { (0..last).rev().collect() };
        for layer in layers {
            let beside = if downwards { layer - 1 } else { layer + 1 };
            let place: BTreeMap<usize, usize> =
                order[beside].iter().enumerate().map(|(at, item)| (*item, at)).collect();
            let to = if downwards { &neighbours.before } else { &neighbours.after };
            let centre: BTreeMap<usize, f64> = order[layer]
                .iter()
                .enumerate()
                .map(|(at, item)| {
                    let places: Vec<f64> = to[*item]
                        .iter()
                        .filter_map(|it| place.get(it))
                        .map(|p| *p as f64)
                        .collect();
                    let mean = places.iter().sum::<f64>() / places.len().max(1) as f64;
                    // What has no neighbour there stays about where it is.
                    let scale = order[beside].len() as f64 / order[layer].len().max(1) as f64;
                    (*item, if places.is_empty() { at as f64 * scale } else { mean })
                })
                .collect();
            order[layer].sort_by(|a, b| centre[a].total_cmp(&centre[b]));
        }
        let now = crossings(&order, &neighbours, items.len());
        if now < fewest {
            fewest = now;
            best.clone_from(&order);
        }
    }
    best
}

struct Neighbours {
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
}

impl Neighbours {
    fn new(items: usize, links: &[(usize, usize)]) -> Self {
        let mut all = Self { before: vec![Vec::new(); items], after: vec![Vec::new(); items] };
        for (from, to) in links {
            all.after[*from].push(*to);
            all.before[*to].push(*from);
        }
        all
    }
}

/// The number of pairs of links that cross.
fn crossings(order: &[Vec<usize>], neighbours: &Neighbours, items: usize) -> usize {
    let mut place = vec![0; items];
    for layer in order {
        for (at, item) in layer.iter().enumerate() {
            place[*item] = at;
        }
    }
    let mut total = 0;
    for layer in order {
        let mut ends: Vec<usize> = Vec::new();
        for item in layer {
            let mut own: Vec<usize> = neighbours.after[*item].iter().map(|to| place[*to]).collect();
            own.sort_unstable();
            total += own
                .iter()
                .map(|end| ends.iter().filter(|before| *before > end).count())
                .sum::<usize>();
            ends.extend(own);
        }
    }
    total
}

/// Gives each item the height at which its links are as straight as its neighbours in the layer
/// allow.
fn place(items: &mut [Item], links: &[(usize, usize)], order: &[Vec<usize>]) {
    for layer in order {
        let wanted = vec![0.0; layer.len()];
        settle(items, layer, &wanted);
    }
    let neighbours = Neighbours::new(items.len(), links);
    for pass in 0..MOVES {
        let downwards = pass % 2 == 0;
        let layers: Vec<usize> =
            if downwards { (0..order.len()).collect() } else { (0..order.len()).rev().collect() };
        for layer in layers {
            let wanted: Vec<f64> = order[layer]
                .iter()
                .map(|item| {
                    let beside = if downwards { &neighbours.before } else { &neighbours.after };
                    let beside = match beside[*item].is_empty() {
                        true if downwards => &neighbours.after[*item],
                        true => &neighbours.before[*item],
                        false => &beside[*item],
                    };
                    let sum: f64 = beside.iter().map(|it| items[*it].y).sum();
                    if beside.is_empty() { items[*item].y } else { sum / beside.len() as f64 }
                })
                .collect();
            settle(items, &order[layer], &wanted);
        }
    }
}

/// Puts the items of a layer as near as possible to where they are wanted (least squares), in their
/// order and without touching: the pool-adjacent-violators algorithm.
fn settle(items: &mut [Item], layer: &[usize], wanted: &[f64]) {
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(layer.len());
    for (at, item) in layer.iter().enumerate() {
        if at > 0 {
            let (above, below) = (items[layer[at - 1]], items[*item]);
            let joint = above.is_joint || below.is_joint;
            let gap = if joint { GAP_AT_JOINTS } else { GAP_BETWEEN_BOXES };
            offset += (above.height + below.height) / 2.0 + gap;
        }
        offsets.push(offset);
    }
    // Blocks of items that touch: the sum of where they are wanted, and how many there are.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (at, want) in wanted.iter().enumerate() {
        blocks.push((want - offsets[at], 1));
        while let [.., (sum, count), (next, more)] = blocks.as_slice()
            && sum / *count as f64 > next / *more as f64
        {
            let merged = (sum + next, count + more);
            blocks.truncate(blocks.len() - 2);
            blocks.push(merged);
        }
    }
    let mut at = 0;
    for (sum, count) in blocks {
        for _ in 0..count {
            items[layer[at]].y = sum / count as f64 + offsets[at];
            at += 1;
        }
    }
}

fn drawing(
    graph: &Graph,
    items: &[Item],
    pairs: &[(usize, usize)],
    joints: &[Vec<usize>],
) -> Arrangement {
    let last = items.iter().map(|item| item.layer).max().unwrap_or(0);
    let mut widths = vec![NARROWEST; last + 1];
    for (index, dataset) in graph.datasets.iter().enumerate() {
        let rows = dataset.columns.iter();
        let rows = rows.map(|it| it.name.len() + it.kind.len().min(12) + 3).max().unwrap_or(0);
        let head = dataset.name.len() as f64 * LETTER_OF_HEAD;
        let head = head + dataset.kind.word().len() as f64 * LETTER_OF_KIND + BESIDE_HEAD;
        let width = (rows as f64 * CHARACTER).max(head).clamp(NARROWEST, WIDEST);
        let layer = items[index].layer;
        widths[layer] = widths[layer].max(width.ceil());
    }
    let mut x = 0.0;
    let mut lefts = Vec::new();
    for width in &widths {
        lefts.push(x);
        x += width + GAP_BETWEEN_LAYERS;
    }
    let top = items.iter().map(|item| item.y - item.height / 2.0).fold(f64::INFINITY, f64::min);
    let bottom = items.iter().map(|item| item.y + item.height / 2.0).fold(top, f64::max);
    let top = if top.is_finite() { top } else { 0.0 };
    let boxes = items.iter().take(graph.datasets.len()).enumerate().map(|(dataset, item)| Placed {
        dataset,
        x: lefts[item.layer],
        y: (item.y - item.height / 2.0 - top).round(),
        width: widths[item.layer],
        height: item.height,
        layer: item.layer,
    });
    let routes = pairs.iter().zip(joints).map(|((from, to), joints)| Route {
        from: *from,
        to: *to,
        joints: joints
            .iter()
            .flat_map(|joint| {
                let item = items[*joint];
                let (left, y) = (lefts[item.layer], (item.y - top).round());
                [(left, y), (left + widths[item.layer], y)]
            })
            .collect(),
    });
    Arrangement {
        boxes: boxes.collect(),
        routes: routes.collect(),
        width: (x - GAP_BETWEEN_LAYERS).max(0.0),
        height: if graph.datasets.is_empty() { 0.0 } else { (bottom - top).round() },
    }
}
