//! Where the sun and the satellite stand over a scene: what reflectance as seen from straight above is made of
//! ([`super::brdf`]).
//!
//! Sentinel-2 products tell both at nodes 5 km apart, the satellite's for each band and detector (`MTD_TL.xml`, Sentinel-2
//! Products Specification Document). Detectors and bands are averaged at each node as directions, so that an azimuth near
//! north has no step; between nodes it is bilinear. Over a tile the sun moves so evenly that its corners are enough: left out
//! is less than 0.003 degrees.
//!
//! Zenith angles are those at the ground. Azimuths are degrees clockwise from north, from the ground to the sun or the
//! satellite.

use roxmltree::{Document, Node};
use serde::Serialize;

use super::{Band, brdf, terrain};

/// The sun no lower than this: below, the kernels leave what they were fitted to.
const LOWEST_SUN_ZENITH_DEG: f64 = 80.0;
/// The satellite no lower than this: no sensor here looks that far aside.
const LOWEST_VIEW_ZENITH_DEG: f64 = 60.0;
/// Most nodes along one side of a tile: a real one has 23.
const MAX_NODES: usize = 1000;

/// A direction seen from the ground.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Direction {
    /// From straight above, degrees.
    pub zenith_deg: f64,
    /// Clockwise from north, degrees.
    pub azimuth_deg: f64,
}

impl Direction {
    /// East and north part of the unit vector.
    pub(super) fn parts(self) -> [f64; 2] {
        let (zenith, azimuth) = (self.zenith_deg.to_radians(), self.azimuth_deg.to_radians());
        [zenith.sin() * azimuth.sin(), zenith.sin() * azimuth.cos()]
    }

    /// The sun where it is high enough to be believed; else what was found and what is expected.
    ///
    /// # Errors
    /// An angle that is no number or out of range.
    pub fn checked_sun(self) -> Result<Direction, String> {
        if (0.0..=LOWEST_SUN_ZENITH_DEG).contains(&self.zenith_deg) && self.azimuth_deg.is_finite() {
            return Ok(self);
        }
        Err(format!(
            "found the sun at zenith {}, azimuth {}, expected a zenith angle of 0 to {LOWEST_SUN_ZENITH_DEG} degrees",
            self.zenith_deg, self.azimuth_deg
        ))
    }

    fn of_parts([east, north]: [f64; 2]) -> Direction {
        Direction {
            zenith_deg: east.hypot(north).min(1.0).asin().to_degrees(),
            azimuth_deg: east.atan2(north).to_degrees().rem_euclid(360.0),
        }
    }
}

/// Sun and satellite over one place.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Geometry {
    /// The sun.
    pub sun: Direction,
    /// The satellite.
    pub view: Direction,
}

impl Geometry {
    /// Sun and satellite where both are high enough to be believed; else what was found and what is expected.
    ///
    /// # Errors
    /// An angle that is no number or out of range.
    pub fn checked(sun: Direction, view: Direction) -> Result<Geometry, String> {
        let fits = |d: Direction, most: f64| (0.0..=most).contains(&d.zenith_deg) && d.azimuth_deg.is_finite();
        if fits(sun, LOWEST_SUN_ZENITH_DEG) && fits(view, LOWEST_VIEW_ZENITH_DEG) {
            return Ok(Geometry { sun, view });
        }
        Err(format!(
            "found the sun at zenith {}, azimuth {} and the satellite at zenith {}, azimuth {}, expected zenith angles of 0 to \
             {LOWEST_SUN_ZENITH_DEG} and 0 to {LOWEST_VIEW_ZENITH_DEG} degrees",
            sun.zenith_deg, sun.azimuth_deg, view.zenith_deg, view.azimuth_deg
        ))
    }
}

/// Directions at the nodes of a tile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AngleGrid {
    /// The first node, (x, y) in the scene's own system.
    pub origin: (f64, f64),
    /// Between nodes, (right, down).
    pub step: (f64, f64),
    /// Nodes a row.
    pub cols: usize,
    /// The sun at the corner nodes, by rows: east and north part of the unit vector.
    pub sun: [[f32; 2]; 4],
    /// The satellite at each node, by rows: east and north part of the unit vector, NaN where no detector looked.
    pub view: Vec<[f32; 2]>,
}

impl AngleGrid {
    fn rows(&self) -> usize {
        self.view.len() / self.cols.max(1)
    }

    /// Over a place; beyond the nodes as at their edge. Where no node around it has a satellite, the nearest has.
    fn at(&self, (x, y): (f64, f64)) -> Geometry {
        let last = |n: usize| n.saturating_sub(1) as f64;
        let col = ((x - self.origin.0) / self.step.0).clamp(0.0, last(self.cols));
        let row = ((self.origin.1 - y) / self.step.1).clamp(0.0, last(self.rows()));
        let wide = |v: [f32; 2]| v.map(f64::from);
        let sun = self.sky().at((x, y));
        // The satellite: of the four nodes around, those that have one.
        let (left, top) = (col.floor(), row.floor());
        let (mut sum, mut total) = ([0.0, 0.0], 0.0);
        for (c, r) in [(left, top), (left + 1.0, top), (left, top + 1.0), (left + 1.0, top + 1.0)] {
            let weight = (1.0 - (col - c).abs()) * (1.0 - (row - r).abs());
            if weight <= 0.0 || c > last(self.cols) || r > last(self.rows()) {
                continue;
            }
            let node = wide(self.view[r as usize * self.cols + c as usize]);
            if node[0].is_finite() {
                sum = [sum[0] + weight * node[0], sum[1] + weight * node[1]];
                total += weight;
            }
        }
        let view = if total > 0.0 { sum.map(|s| s / total) } else { self.nearest(col, row) };
        Geometry { sun: Direction::of_parts([sun[0], sun[1]]), view: Direction::of_parts(view) }
    }

    /// The sun alone.
    fn sky(&self) -> SunGrid {
        let last = |n: usize| n.saturating_sub(1) as f64;
        let size = (last(self.cols) * self.step.0, last(self.rows()) * self.step.1);
        SunGrid { origin: self.origin, size, corners: self.sun }
    }

    /// The satellite at the node nearest to a place that has one, of several the first.
    fn nearest(&self, col: f64, row: f64) -> [f64; 2] {
        let distance = |i: usize| ((i % self.cols) as f64 - col).hypot((i / self.cols) as f64 - row);
        let seen = self.view.iter().enumerate().filter(|(_, node)| node[0].is_finite());
        let nearest = seen.min_by(|(a, _), (b, _)| distance(*a).total_cmp(&distance(*b)));
        nearest.map_or([f64::NAN; 2], |(_, node)| node.map(f64::from))
    }
}

/// The sun at the corners of a tile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SunGrid {
    /// The first corner, (x, y) in the scene's own system.
    origin: (f64, f64),
    /// Between corners, (right, down).
    size: (f64, f64),
    /// East and north part of the unit vector.
    corners: [[f32; 2]; 4],
}

impl SunGrid {
    /// Over a place, as east, north and upward part of a unit vector; beyond the corners as at their edge.
    fn at(&self, (x, y): (f64, f64)) -> [f64; 3] {
        let share = |along: f64, size: f64| if size > 0.0 { (along / size).clamp(0.0, 1.0) } else { 0.0 };
        let (u, v) = (share(x - self.origin.0, self.size.0), share(self.origin.1 - y, self.size.1));
        let shares = [(1.0 - u) * (1.0 - v), u * (1.0 - v), (1.0 - u) * v, u * v];
        let [east, north] = shares.iter().zip(self.corners).fold([0.0, 0.0], |sum, (w, node)| {
            let node = node.map(f64::from);
            [sum[0] + w * node[0], sum[1] + w * node[1]]
        });
        [east, north, (1.0 - east * east - north * north).max(0.0).sqrt()]
    }
}

/// Where the sun stands over a scene.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sky {
    /// One direction for the whole scene.
    Scene(Direction),
    /// At the corners of the tile.
    Grid(SunGrid),
}

impl Sky {
    /// East, north and upward part of a unit vector to the sun over a place in the scene's own system.
    pub fn at(&self, place: (f64, f64)) -> [f64; 3] {
        match self {
            Sky::Scene(sun) => terrain::sun_vector(*sun),
            Sky::Grid(grid) => grid.at(place),
        }
    }

    /// For the record of a run: of a grid, the sun in its middle.
    pub fn record(&self) -> (&'static str, Direction) {
        match self {
            Sky::Scene(sun) => ("scene", *sun),
            Sky::Grid(g) => {
                let [east, north, _] = g.at((g.origin.0 + g.size.0 / 2.0, g.origin.1 - g.size.1 / 2.0));
                ("grid", Direction::of_parts([east, north]))
            }
        }
    }
}

/// What is known of sun and satellite over a scene.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Angles {
    /// Nothing that could be used: what was found, and what was expected.
    Unknown(String),
    /// The provider brought reflectance to a view from straight above.
    Nadir,
    /// One for the whole scene.
    Scene(Geometry),
    /// At the nodes of the tile.
    Grid(AngleGrid),
}

impl Angles {
    /// For products that were not asked.
    pub fn not_read() -> Angles {
        Angles::Unknown("angles were not read".into())
    }

    /// The sun over the scene, where these tell it or else `mean` does.
    ///
    /// # Errors
    /// As `mean`.
    pub fn sky(&self, mean: &Result<Direction, String>) -> Result<Sky, String> {
        match self {
            Angles::Scene(geometry) => Ok(Sky::Scene(geometry.sun)),
            Angles::Grid(grid) => Ok(Sky::Grid(grid.sky())),
            Angles::Unknown(_) | Angles::Nadir => mean.clone().map(Sky::Scene),
        }
    }

    /// Sun and satellite over a place in the scene's own system; `None` where there is nothing to correct or nothing known.
    pub fn at(&self, place: (f64, f64)) -> Option<Geometry> {
        match self {
            Angles::Unknown(_) | Angles::Nadir => None,
            Angles::Scene(geometry) => Some(*geometry),
            Angles::Grid(grid) => Some(grid.at(place)),
        }
    }

    /// Factors that bring reflectance over a place to a view from straight above, the sun left where it is; 1 for what is no
    /// band.
    pub fn factors(&self, place: (f64, f64), bands: &[Option<Band>]) -> Vec<f64> {
        let Some(Geometry { sun, view }) = self.at(place) else { return vec![1.0; bands.len()] };
        let factor = |b: &Option<Band>| {
            let between = view.azimuth_deg - sun.azimuth_deg;
            b.map_or(1.0, |band| brdf::c_factor(band, sun.zenith_deg, view.zenith_deg, between))
        };
        bands.iter().map(factor).collect()
    }

    /// For the record of a run: one for the scene as it is, of nodes that in their middle.
    pub fn record(&self) -> serde_json::Value {
        let (told, geometry) = match self {
            Angles::Unknown(_) => ("none", None),
            Angles::Nadir => ("nadir", None),
            Angles::Scene(geometry) => ("scene", Some(*geometry)),
            Angles::Grid(g) => {
                let half = |n: usize, step: f64| n.saturating_sub(1) as f64 * step / 2.0;
                let (right, down) = (half(g.cols, g.step.0), half(g.rows(), g.step.1));
                ("grid", Some(g.at((g.origin.0 + right, g.origin.1 - down))))
            }
        };
        match geometry {
            None => serde_json::json!({ "told_by": told }),
            Some(g) => serde_json::json!({ "told_by": told, "sun": g.sun, "view": g.view }),
        }
    }
}

/// What a Sentinel-2 tile's metadata says, in a file that messages call `name`.
pub fn of_sentinel2(name: &str, content: &str) -> Angles {
    let read = || -> Result<Angles, String> {
        let document = Document::parse(content).map_err(|e| format!("no well-formed XML: {e}"))?;
        let root = document.root_element();
        match grid(root)? {
            Some(grid) => Ok(Angles::Grid(grid)),
            None => means(root).map(Angles::Scene),
        }
    };
    read().unwrap_or_else(|why| Angles::Unknown(format!("{name}: {why}")))
}

/// The mean sun that a Sentinel-2 tile's metadata tells, in a file that messages call `name`.
///
/// # Errors
/// It tells none, or one that cannot be.
pub fn sun_of_sentinel2(name: &str, content: &str) -> Result<Direction, String> {
    let read = || -> Result<Direction, String> {
        let document = Document::parse(content).map_err(|e| format!("no well-formed XML: {e}"))?;
        let found = mean_of(document.root_element(), "Mean_Sun_Angle");
        found.ok_or("found no Mean_Sun_Angle, expected one")?.checked_sun()
    };
    read().map_err(|why| format!("{name}: {why}"))
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.descendants().find(|n| n.has_tag_name(name))
}

fn number(node: Node, name: &str) -> Option<f64> {
    child(node, name)?.text()?.trim().parse().ok()
}

/// Numbers at nodes.
struct Nodes {
    step: (f64, f64),
    cols: usize,
    values: Vec<f64>,
}

impl Nodes {
    /// Of `Zenith` or `Azimuth`.
    fn of(node: Node, name: &str) -> Option<Nodes> {
        let node = child(node, name)?;
        let step = (number(node, "COL_STEP")?, number(node, "ROW_STEP")?);
        let rows: Vec<Vec<f64>> = node
            .descendants()
            .filter(|n| n.has_tag_name("VALUES"))
            .map(|n| n.text()?.split_whitespace().map(|v| v.parse().ok()).collect())
            .collect::<Option<_>>()?;
        let cols = rows.first()?.len();
        let whole = cols > 0 && rows.iter().all(|r| r.len() == cols) && cols.max(rows.len()) <= MAX_NODES;
        (whole && step.0 > 0.0 && step.1 > 0.0).then(|| Nodes { step, cols, values: rows.concat() })
    }

    fn is_like(&self, other: &Nodes) -> bool {
        (self.step, self.cols, self.values.len()) == (other.step, other.cols, other.values.len())
    }
}

/// Directions of a grid: zenith and azimuth at the same nodes.
fn directions(node: Node) -> Option<(Nodes, Vec<[f64; 2]>)> {
    let (zenith, azimuth) = (Nodes::of(node, "Zenith")?, Nodes::of(node, "Azimuth")?);
    let both = zenith.values.iter().zip(&azimuth.values);
    let parts = both.map(|(z, a)| Direction { zenith_deg: *z, azimuth_deg: *a }.parts()).collect();
    zenith.is_like(&azimuth).then_some((zenith, parts))
}

/// The grids of a tile; `None` where it has none.
fn grid(root: Node) -> Result<Option<AngleGrid>, String> {
    const VIEW: &str = "Viewing_Incidence_Angles_Grids";
    let broken =
        |name: &str| format!("{name}: found a grid that is not whole, expected zenith and azimuth at the same nodes");
    let mut shape: Option<Nodes> = None;
    let mut sums: Vec<([f64; 2], f64)> = Vec::new();
    for node in root.descendants().filter(|n| n.has_tag_name(VIEW)) {
        let (nodes, parts) = directions(node).ok_or_else(|| broken(VIEW))?;
        if shape.as_ref().is_some_and(|s| !s.is_like(&nodes)) {
            return Err(broken(VIEW));
        }
        sums.resize(parts.len(), ([0.0; 2], 0.0));
        for ((sum, n), part) in sums.iter_mut().zip(parts) {
            if part.iter().all(|p| p.is_finite()) {
                *sum = [sum[0] + part[0], sum[1] + part[1]];
                *n += 1.0;
            }
        }
        shape.get_or_insert(nodes);
    }
    let (Some(shape), true) = (shape, sums.iter().any(|(_, n)| *n > 0.0)) else { return Ok(None) };
    let view: Vec<[f32; 2]> = sums.iter().map(|(sum, n)| sum.map(|s| (s / n) as f32)).collect();
    let sun = match child(root, "Sun_Angles_Grid") {
        Some(node) => {
            let (nodes, parts) = directions(node).ok_or_else(|| broken("Sun_Angles_Grid"))?;
            let rows = parts.len() / nodes.cols;
            let corners = [0, nodes.cols - 1, (rows - 1) * nodes.cols, parts.len() - 1].map(|i| parts[i]);
            // Else it would be stretched over the nodes of the satellite.
            let usable = nodes.is_like(&shape) && corners.iter().flatten().all(|p| p.is_finite());
            usable.then_some(corners)
        }
        None => None,
    };
    let sun = match sun {
        Some(sun) => sun,
        None => [mean_of(root, "Mean_Sun_Angle").ok_or("found no Mean_Sun_Angle, expected one")?.parts(); 4],
    };
    let place = |name: &str| number(root, name).ok_or_else(|| format!("found no {name}, expected the tile's corner"));
    let origin = (place("ULX")?, place("ULY")?);
    let grid = AngleGrid { origin, step: shape.step, cols: shape.cols, sun: sun.map(|s| s.map(|p| p as f32)), view };
    // The middle stands for all: what a real product says of one place holds roughly for its others.
    let far = (grid.cols as f64 * grid.step.0 / 2.0, grid.rows() as f64 * grid.step.1 / 2.0);
    let middle = grid.at((origin.0 + far.0, origin.1 - far.1));
    Geometry::checked(middle.sun, middle.view).map(|_| Some(grid))
}

/// A zenith and an azimuth.
fn mean_of(root: Node, name: &str) -> Option<Direction> {
    direction(child(root, name)?)
}

fn direction(node: Node) -> Option<Direction> {
    Some(Direction { zenith_deg: number(node, "ZENITH_ANGLE")?, azimuth_deg: number(node, "AZIMUTH_ANGLE")? })
}

/// Mean of directions; `None` of none.
pub fn mean(all: &[Direction]) -> Option<Direction> {
    // What is one and the same stays so to the last digit.
    let (first, rest) = all.split_first()?;
    if rest.iter().all(|d| d == first) {
        return Some(*first);
    }
    let sum = all.iter().map(|d| d.parts()).fold([0.0; 2], |sum, p| [sum[0] + p[0], sum[1] + p[1]]);
    Some(Direction::of_parts(sum.map(|s| s / all.len() as f64)))
}

/// The means of a tile.
fn means(root: Node) -> Result<Geometry, String> {
    const VIEW: &str = "Mean_Viewing_Incidence_Angle";
    let sun = mean_of(root, "Mean_Sun_Angle").ok_or("found no Mean_Sun_Angle, expected one")?;
    let view: Vec<Direction> = root
        .descendants()
        .filter(|n| n.has_tag_name(VIEW))
        .map(|n| {
            direction(n).ok_or_else(|| format!("{VIEW}: found no ZENITH_ANGLE or no AZIMUTH_ANGLE, expected both"))
        })
        .collect::<Result<_, _>>()?;
    let view = mean(&view).ok_or_else(|| {
        format!("found neither Viewing_Incidence_Angles_Grids with a number nor {VIEW}, expected one of the two")
    })?;
    Geometry::checked(sun, view)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, bound: f64) {
        assert!((a - b).abs() < bound, "{a}, expected {b}");
    }

    fn nodes(kind: &str, rows: &[&str]) -> String {
        let rows: String = rows.iter().map(|r| format!("<VALUES>{r}</VALUES>")).collect();
        format!(
            "<{kind}><COL_STEP unit=\"m\">5000</COL_STEP><ROW_STEP unit=\"m\">5000</ROW_STEP><Values_List>{rows}</Values_List></{kind}>"
        )
    }

    fn view(zenith: &[&str], azimuth: &[&str]) -> String {
        let (zenith, azimuth) = (nodes("Zenith", zenith), nodes("Azimuth", azimuth));
        format!(
            "<Viewing_Incidence_Angles_Grids bandId=\"0\" detectorId=\"1\">{zenith}{azimuth}</Viewing_Incidence_Angles_Grids>"
        )
    }

    fn tile(more: &str) -> String {
        format!(
            "<x><Geoposition resolution=\"10\"><ULX>600000</ULX><ULY>4900000</ULY></Geoposition><Mean_Sun_Angle><ZENITH_ANGLE>\
             40</ZENITH_ANGLE><AZIMUTH_ANGLE>150</AZIMUTH_ANGLE></Mean_Sun_Angle>{more}</x>"
        )
    }

    fn sun() -> String {
        let grid = nodes("Zenith", &["35 36 37", "35 36 37"]) + &nodes("Azimuth", &["150 150 150", "150 150 150"]);
        format!("<Sun_Angles_Grid>{grid}</Sun_Angles_Grid>")
    }

    /// Two detectors that overlap in one column and leave a corner out; one azimuth passes north.
    #[test]
    fn detectors_are_joined_and_nodes_joined_in_between() {
        let first = view(&["8 8 NaN", "8 8 NaN"], &["358 358 NaN", "358 358 NaN"]);
        let second = view(&["NaN 8 6", "NaN 8 NaN"], &["NaN 2 2", "NaN 2 NaN"]);
        let angles = of_sentinel2("t", &tile(&(sun() + &first + &second)));
        let at = |x: f64, y: f64| angles.at((600_000.0 + x, 4_900_000.0 - y)).expect("angles");
        let node = at(0.0, 0.0);
        near(node.view.zenith_deg, 8.0, 1e-5);
        near(node.view.azimuth_deg, 358.0, 1e-4);
        near(node.sun.zenith_deg, 35.0, 1e-5);
        near(node.sun.azimuth_deg, 150.0, 1e-4);
        // Both detectors: 358 and 2 are north, not south.
        let both = at(5000.0, 0.0).view;
        assert!(both.azimuth_deg < 1e-3 || both.azimuth_deg > 360.0 - 1e-3, "{both:?}");
        near(both.zenith_deg, 8.0, 0.01);
        // The second detector alone; halfway, in the mean of the vectors; the sun in between as well.
        near(at(10_000.0, 0.0).view.zenith_deg, 6.0, 1e-5);
        near(at(7500.0, 0.0).view.zenith_deg, 7.0, 0.01);
        near(at(7500.0, 0.0).sun.zenith_deg, 36.5, 0.01);
        // The node without a detector leaves its say to the others; beyond the nodes, as at their edge.
        near(at(10_000.0, 4999.0).view.zenith_deg, 6.0, 1e-5);
        // On it, the nearest counts, of two the first.
        near(at(10_000.0, 5000.0).view.zenith_deg, 6.0, 1e-5);
        assert_eq!(at(-70_000.0, -9000.0), node);
    }

    #[test]
    fn means_stand_in_for_grids_and_nothing_stands_in_for_nothing() {
        let list = |zenith: &str| {
            format!(
                "<Mean_Viewing_Incidence_Angle bandId=\"0\"><ZENITH_ANGLE>{zenith}</ZENITH_ANGLE><AZIMUTH_ANGLE>270\
                 </AZIMUTH_ANGLE></Mean_Viewing_Incidence_Angle>"
            )
        };
        let Angles::Scene(found) = of_sentinel2("t", &tile(&(list("8") + &list("8")))) else { panic!("no means") };
        assert_eq!(found.view, Direction { zenith_deg: 8.0, azimuth_deg: 270.0 });
        assert_eq!(found.sun, Direction { zenith_deg: 40.0, azimuth_deg: 150.0 });
        let blind = view(&["NaN NaN", "NaN NaN"], &["NaN NaN", "NaN NaN"]);
        assert!(matches!(of_sentinel2("t", &tile(&(blind.clone() + &list("8")))), Angles::Scene(_)));
        // A grid without a sun's grid has the mean sun.
        let one = tile(&view(&["8 8", "8 8"], &["0 0", "0 0"]));
        near(of_sentinel2("t", &one).at((0.0, 0.0)).expect("angles").sun.zenith_deg, 40.0, 1e-5);
        for (text, word) in [
            (tile(""), "Viewing_Incidence_Angles_Grids"),
            (tile(&blind), "Viewing_Incidence_Angles_Grids"),
            (list("8"), "found no ULX"),
            (one.replace("ULX", "OLX"), "found no ULX"),
            (tile(&list("NaN")), "zenith NaN"),
            (tile(&list("90")), "zenith 90"),
            (tile(&list("8")).replace(">40<", ">85<"), "zenith 85"),
            (tile(&view(&["8 8", "8"], &["0 0", "0 0"])), "not whole"),
            (tile(&view(&["8 8", "8 x"], &["0 0", "0 0"])), "not whole"),
            (tile(&view(&["8 8"], &["0 0", "0 0"])), "not whole"),
            ("<x>".into(), "no well-formed XML"),
        ] {
            let word = if text.starts_with("<Mean_Viewing") { "no Mean_Sun_Angle" } else { word };
            let Angles::Unknown(why) = of_sentinel2("t.xml", &text) else { panic!("{text}: something is known") };
            assert!(why.starts_with("t.xml: ") && why.contains(word), "{why}, expected {word}");
        }
    }

    /// The worked example of [`brdf`] by way of a scene.
    #[test]
    fn factors_of_bands_and_of_what_is_none() {
        let direction = |zenith_deg, azimuth_deg| Direction { zenith_deg, azimuth_deg };
        let angles = Angles::Scene(Geometry { sun: direction(35.0, 150.0), view: direction(8.0, 270.0) });
        let found = angles.factors((0.0, 0.0), &[Some(Band::Red), None, Some(Band::Nir)]);
        near(found[0], 1.024_458_786_4, 5e-11);
        near(found[2], 1.024_336_672_3, 5e-11);
        assert_eq!(found[1], 1.0);
        assert_eq!(Angles::Nadir.factors((0.0, 0.0), &[Some(Band::Red)]), [1.0]);
    }
}
