//! One chart, drawn by `plotters`: medians with their confidence intervals as error bars on logarithmic axes, the paper's curves in grey behind
//! them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::paper::Curve;
use crate::statistics::Estimate;

/// In pixels; the page scales SVGs.
const SIZE: (u32, u32) = (900, 560);

/// A typeface for pictures, which have to carry their letters: Debian's fonts-dejavu-core, and where others have it.
const FONTS: [&str; 3] = [
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
];

/// Easily told apart, also by those who see few colours (Okabe and Ito's, and some more).
pub(super) const COLOURS: [RGBColor; 12] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(140, 86, 75),
    RGBColor(120, 120, 0),
    RGBColor(106, 61, 154),
    RGBColor(227, 26, 28),
    RGBColor(0, 140, 140),
    RGBColor(110, 120, 135),
];

/// A contestant on a chart: by what was measured, and the estimates.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, Estimate)>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// Of its files.
    pub(super) name: String,
    pub(super) title: String,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) lines: Vec<Line>,
    pub(super) grey: Vec<Curve>,
    /// What the machine itself could do.
    pub(super) limits: Vec<Curve>,
    /// What it means, in a sentence.
    pub(super) meaning: String,
}

impl Line {
    /// The estimate at this place.
    pub(super) fn at(&self, x: f64) -> Option<Estimate> {
        self.points.iter().find(|point| (point.0 - x).abs() < 0.5).map(|point| point.1)
    }
}

/// Colours of what is not data.
#[derive(Clone, Copy)]
pub(super) struct Theme {
    pub(super) ink: RGBColor,
    pub(super) faint: RGBColor,
    /// Of the paper's curves.
    paper: RGBColor,
    pub(super) ground: Option<RGBColor>,
}

/// For light pages.
pub(super) const LIGHT: Theme = Theme {
    ink: RGBColor(30, 30, 30),
    faint: RGBColor(225, 225, 225),
    paper: RGBColor(165, 165, 165),
    ground: None,
};

/// For dark pages.
pub(super) const DARK: Theme = Theme {
    ink: RGBColor(225, 225, 225),
    faint: RGBColor(60, 60, 60),
    paper: RGBColor(130, 130, 130),
    ground: None,
};

/// What can be drawn.
pub(super) trait Picture {
    /// Of its files.
    fn name(&self) -> &str;

    /// Draws it on an area of any kind.
    fn draw_on<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        theme: Theme,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>>;

    /// As SVG text.
    fn svg(&self, theme: Theme) -> Result<String> {
        let mut text = String::new();
        self.draw(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), theme)?;
        Ok(text)
    }

    /// As PNG file.
    fn png(&self, path: &Path) -> Result<()> {
        let (width, height) = SIZE;
        let mut pixels = vec![0; (width * height * 3) as usize];
        let theme = Theme { ground: Some(WHITE), ..LIGHT };
        self.draw(&BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area(), theme)?;
        let file = std::fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
        let mut encoder = png::Encoder::new(std::io::BufWriter::new(file), width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&pixels).with_context(|| path.display().to_string())
    }

    /// As [`Picture::draw_on`], with an error that names it.
    fn draw<B>(&self, area: &DrawingArea<B, Shift>, theme: Theme) -> Result<()>
    where
        B: DrawingBackend,
        B::ErrorType: 'static,
    {
        self.draw_on(area, theme).map_err(|error| anyhow!("{}: {error}", self.name()))
    }
}

impl Picture for Chart {
    fn name(&self) -> &str {
        &self.name
    }

    fn draw_on<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        theme: Theme,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        if let Some(ground) = theme.ground {
            area.fill(&ground)?;
        }
        let font = |size: i32| ("sans-serif", size).into_font().color(&theme.ink);
        let (x, y) = self.ranges();
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, font(20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(78)
            .build_cartesian_2d(x.log_scale(), y.log_scale())?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .axis_style(theme.ink)
            .bold_line_style(theme.faint)
            .light_line_style(TRANSPARENT)
            .label_style(font(15))
            .axis_desc_style(font(15))
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for (curve, colour, gap) in self.behind(theme) {
            let style = colour.stroke_width(1);
            if let Some(last) = curve.points.last() {
                let anchor = Pos::new(HPos::Right, VPos::Bottom);
                let style = ("sans-serif", 13).into_font().color(&colour).pos(anchor);
                chart.draw_series([Text::new(curve.name, *last, style)])?;
            }
            chart.draw_series(DashedLineSeries::new(curve.points, 5, gap, style))?;
        }
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let style = colour.stroke_width(2);
            let middle = line.points.iter().map(|(x, estimate)| (*x, estimate.median));
            chart
                .draw_series(LineSeries::new(middle.clone(), style))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
            chart.draw_series(middle.map(|point| Circle::new(point, 3, colour.filled())))?;
            chart.draw_series(line.points.iter().map(|(x, estimate)| {
                ErrorBar::new_vertical(*x, estimate.low, estimate.median, estimate.high, style, 8)
            }))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(font(14))
            .border_style(theme.faint)
            .draw()?;
        area.present()
    }
}

impl Chart {
    /// The curves that are not ours, with their colours and the gaps of their lines. A limit is told where ours is measured only, so that it does
    /// not make the rest small.
    fn behind(&self, theme: Theme) -> Vec<(Curve, RGBColor, u32)> {
        let places = self.lines.iter().flat_map(|line| &line.points).map(|point| point.0);
        let (low, high) = places.fold((f64::INFINITY, 0.0_f64), |(low, high), x| (low.min(x), high.max(x)));
        let shown = |curve: &Curve, low: f64, high: f64| Curve {
            name: curve.name,
            points: curve
                .points
                .iter()
                .copied()
                .filter(|(x, y)| *y > 0.0 && (low..=high).contains(x))
                .collect(),
        };
        let grey = self.grey.iter().map(|curve| (shown(curve, 0.0, f64::INFINITY), theme.paper, 4));
        let limits = self.limits.iter().map(|curve| (shown(curve, low, high), theme.ink, 2));
        grey.chain(limits).filter(|(curve, ..)| !curve.points.is_empty()).collect()
    }

    /// Of both axes, so that everything has its place.
    fn ranges(&self) -> (std::ops::Range<f64>, std::ops::Range<f64>) {
        let ours = self.lines.iter().flat_map(|line| &line.points);
        let ours = ours.flat_map(|(x, estimate)| [(*x, estimate.low), (*x, estimate.high)]);
        let theirs = self.behind(LIGHT).into_iter().flat_map(|(curve, ..)| curve.points);
        let points: Vec<(f64, f64)> = ours.chain(theirs).filter(|(x, y)| *x > 0.0 && *y > 0.0).collect();
        let range = |values: Vec<f64>, above: f64| {
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(0.0, f64::max);
            low / 1.5..high * above
        };
        // Room above for the names.
        (range(points.iter().map(|p| p.0).collect(), 2.0), range(points.iter().map(|p| p.1).collect(), 20.0))
    }
}

/// `1.5M`, `20µ`.
pub(super) fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")];
    let (unit, name) = units.into_iter().find(|(unit, _)| value >= *unit).unwrap_or((1e-9, "n"));
    format!("{:.3}", value / unit).trim_end_matches('0').trim_end_matches('.').to_owned() + name
}

/// Finds a typeface, without which pictures cannot have letters.
pub(super) fn load_font() -> Result<()> {
    let path = FONTS.iter().map(PathBuf::from).find(|path| path.is_file());
    let path = path.context("no DejaVu Sans is installed (fonts-dejavu-core)")?;
    let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    // For the life of the process, as plotters wants it.
    plotters::style::register_font("sans-serif", FontStyle::Normal, Vec::leak(bytes))
        .map_err(|_| anyhow!("{} is no font", path.display()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let estimate = |median: f64| Estimate { median, low: median * 0.9, high: median * 1.1, count: 10 };
        Chart {
            name: "fig7-a".into(),
            title: "Latency".into(),
            x: "payload",
            y: "s",
            lines: vec![Line {
                name: "rr <user>".into(),
                points: vec![(1.0, estimate(1e-5)), (1e8, estimate(1e-4))],
            }],
            grey: vec![Curve { name: "paper: user", points: vec![(1e6, 0.003), (1e8, 0.25)] }],
            limits: vec![Curve { name: "limit: wire", points: vec![(1e6, 0.001), (1e9, 0.25)] }],
            meaning: String::new(),
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 1.0, 1_500_000.0, 2e-5, 0.25].map(short), ["0", "1", "1.5M", "20µ", "250m"]);
    }

    #[test]
    fn a_chart_shows_all_of_its_lines() {
        if load_font().is_err() {
            return crate::announce_skip("no DejaVu Sans is installed");
        }
        let svg = chart().svg(LIGHT).unwrap();
        assert!(svg.contains("rr &lt;user&gt;") && svg.contains("paper: user"), "{svg}");
    }

    #[test]
    fn a_picture_can_be_read_again() {
        if load_font().is_err() {
            return crate::announce_skip("no DejaVu Sans is installed");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chart.png");
        chart().png(&path).unwrap();
        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let reader = png::Decoder::new(file).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), SIZE);
    }
}
