//! A picture: GB/s over size, a chart for each operation, the caches marked.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::time::Instant;

use evenkeel::Rows;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::arguments::Arguments;
use crate::contenders::{self, Contender, Operation, Traffic};
use crate::{cpu, measure, progress};

/// x and y of one row are 8 KiB.
const COLS: usize = 1024;
/// x and y are 256 MiB.
const MOST_ROWS: usize = 32 << 10;

/// The axis: x of one row, and x and y of the most rows.
const SMALLEST: f64 = (COLS * size_of::<f32>()) as f64;
const LARGEST: f64 = (2 * MOST_ROWS * COLS * size_of::<f32>()) as f64;

const CHART: (u32, u32) = (300, 230);
const TITLE_HEIGHT: u32 = 60;
const CHARTS_A_LINE: usize = 3;

const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const FAINT: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
const CACHE: RGBColor = RGBColor(0xa0, 0xa0, 0xa0);
/// Drawn first, and wide enough to be seen where the others lie on it.
const YARDSTICK: RGBColor = RGBColor(0xc8, 0xc8, 0xc8);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Times = BTreeMap<Contender, f64>;

/// Measures for about `arguments.seconds`, and writes the picture to `path`.
pub fn draw(arguments: &Arguments, path: &str) -> Result<(), Box<dyn Error>> {
    // A file that cannot be written is known before a minute of measuring.
    let mut file = File::create(path)?;
    let measured = measure(arguments);
    let mut svg = String::new();
    picture(arguments, &measured, &mut svg)?;
    file.write_all(svg.as_bytes())?;
    Ok(())
}

/// The times at every size, the largest first: those take the least number of samples however long it
/// lasts, and the others share what they leave.
fn measure(arguments: &Arguments) -> Vec<(Rows, Times)> {
    let mut contenders = arguments.contenders();
    contenders.retain(|contender| *contender != Contender::NonTemporalCopy);
    let sizes = MOST_ROWS.ilog2() + 1;
    let start = Instant::now();
    let progress = progress(sizes as usize);
    let measured = (0..sizes)
        .rev()
        .map(|size| {
            let rows = 1 << size;
            progress.set_message(format!("{rows}x{COLS}"));
            let shape = Rows::new(rows, COLS).expect("the shape can be held");
            let left = arguments.seconds - start.elapsed().as_secs_f64();
            let seconds = left / f64::from(size + 1);
            let how = (arguments.threads[0], arguments.stores);
            let times = measure::medians(&contenders, shape, how, false, seconds);
            progress.inc(1);
            (shape, times)
        })
        .collect();
    progress.finish_and_clear();
    measured
}

/// A line of a chart: bytes and GB/s.
struct Line {
    style: ShapeStyle,
    points: Vec<(f64, f64)>,
}

fn lines(arguments: &Arguments, operation: &Operation, measured: &[(Rows, Times)]) -> Vec<Line> {
    let line = |style: ShapeStyle, ns: &dyn Fn(&Times) -> f64| Line {
        style,
        points: measured
            .iter()
            .map(|(shape, times)| {
                let bytes = operation.bytes(*shape) as f64;
                (bytes, bytes / ns(times))
            })
            .collect(),
    };
    let mut lines =
        vec![line(YARDSTICK.stroke_width(6), &|times| operation.traffic.yardstick(times))];
    for &backend in &arguments.backends {
        let contender = Contender::Operation { name: operation.name, dtype: "f32", backend };
        lines.push(line(colour(backend).stroke_width(2), &|times| times[&contender]));
    }
    lines
}

/// From the palette of Okabe and Ito, which the colour-blind can tell apart.
fn colour(backend: &str) -> RGBColor {
    match backend {
        "avx512" => RGBColor(0x00, 0x72, 0xb2),
        "avx2" => RGBColor(0xe6, 0x9f, 0x00),
        _ => RGBColor(0x00, 0x9e, 0x73),
    }
}

fn picture(
    arguments: &Arguments,
    measured: &[(Rows, Times)],
    svg: &mut String,
) -> Result<(), Box<dyn Error>> {
    let mut operations: Vec<_> =
        arguments.operations.iter().filter_map(|name| contenders::operation(name)).collect();
    // Those that read and write, and then those that only read.
    operations.sort_by_key(|operation| operation.traffic == Traffic::Read);
    let charts: Vec<_> = operations
        .iter()
        .map(|operation| (operation.name, lines(arguments, operation, measured)))
        .collect();

    // The legend takes the place of one more chart.
    let cells = charts.len() + 1;
    let (columns, rows) = (cells.min(CHARTS_A_LINE), cells.div_ceil(CHARTS_A_LINE));
    let size = (columns as u32 * CHART.0, rows as u32 * CHART.1 + TITLE_HEIGHT);
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(TITLE_HEIGHT);
    title(&head, arguments.threads[0])?;
    let areas = body.split_evenly((rows, columns));
    let speeds = speeds(charts.iter().flat_map(|(_, lines)| lines));
    let caches = cpu::caches();
    for ((name, lines), area) in charts.iter().zip(&areas) {
        chart(area, name, lines, &speeds, &caches)?;
    }
    legend(&areas[charts.len()], arguments, &operations, &caches)?;
    root.present()?;
    Ok(())
}

fn title(area: &Area, threads: usize) -> Result<(), Box<dyn Error>> {
    let threads = match threads {
        1 => "1 thread".to_owned(),
        n => format!("{n} threads"),
    };
    area.draw_text(&format!("{}, {threads}", cpu::name()), &text(21, HPos::Left), (14, 20))?;
    let axes = format!("GB/s over bytes, of x read and y written. Rows of {COLS} f32.");
    area.draw_text(&axes, &text(15, HPos::Left), (14, 43))?;
    Ok(())
}

/// In SVG, `plotters` divides sizes by 1.24: 13 gives 10.5 pixels.
fn text(size: u32, position: HPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK).pos(Pos::new(position, VPos::Center))
}

/// From the last of 1, 2, 5, 10, ... that is below all `lines` to the first that is above: the same
/// scale for all charts.
fn speeds<'a>(lines: impl Iterator<Item = &'a Line>) -> Vec<f64> {
    let speeds: Vec<f64> = lines.flat_map(|line| &line.points).map(|&(_, speed)| speed).collect();
    let least = speeds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = speeds.iter().copied().fold(0.0, f64::max);
    let steps: Vec<f64> =
        (-3..6).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power))).collect();
    let start = steps.partition_point(|&step| step < least).saturating_sub(1);
    let end = steps.partition_point(|&step| step < most).min(steps.len() - 1);
    steps[start..=end].to_vec()
}

fn chart(
    area: &Area,
    name: &str,
    lines: &[Line],
    speeds: &[f64],
    caches: &[(u32, u64)],
) -> Result<(), Box<dyn Error>> {
    let (slowest, fastest) = (speeds[0], speeds[speeds.len() - 1]);
    let sizes = (0..).map(|i| SMALLEST * 16_f64.powi(i)).take_while(|&size| size <= LARGEST);
    let mut chart = ChartBuilder::on(area)
        .margin_left(8)
        .margin_right(26)
        .margin_top(6)
        .margin_bottom(4)
        .caption(name, text(17, HPos::Left))
        .x_label_area_size(24)
        .y_label_area_size(32)
        .build_cartesian_2d(
            (SMALLEST..LARGEST).log_scale().with_key_points(sizes.collect()),
            (slowest..fastest).log_scale().with_key_points(speeds.to_vec()),
        )?;
    chart
        .configure_mesh()
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .x_label_formatter(&|&size| bytes(size as u64))
        .y_label_formatter(&f64::to_string)
        .label_style(text(13, HPos::Center))
        .draw()?;
    for &(level, size) in caches {
        let size = size as f64;
        if (SMALLEST..LARGEST).contains(&size) {
            chart.draw_series([PathElement::new([(size, slowest), (size, fastest)], CACHE)])?;
            let label = Text::new(format!("L{level}"), (3, -7), text(13, HPos::Left));
            chart.draw_series([EmptyElement::at((size, slowest)) + label])?;
        }
    }
    for Line { style, points } in lines {
        chart.draw_series(LineSeries::new(points.iter().copied(), *style))?;
    }
    Ok(())
}

fn legend(
    area: &Area,
    arguments: &Arguments,
    operations: &[&Operation],
    caches: &[(u32, u64)],
) -> Result<(), Box<dyn Error>> {
    let mut y = 36;
    let mut line = |colour: Option<ShapeStyle>, words: &str| {
        if let Some(colour) = colour {
            area.draw(&PathElement::new([(38, y), (66, y)], colour))?;
        }
        area.draw_text(words, &text(15, HPos::Left), (74, y))?;
        y += 19;
        Ok::<_, Box<dyn Error>>(())
    };
    for &backend in &arguments.backends {
        line(Some(colour(backend).stroke_width(2)), backend)?;
    }
    line(Some(YARDSTICK.stroke_width(6)), "memcpy of the same bytes")?;
    let any = |traffic| operations.iter().any(|operation| operation.traffic == traffic);
    if any(Traffic::ReadThenCopy) || any(Traffic::ReadTwoThenCopy) {
        line(None, "(training, gated: a sum and a memcpy)")?;
    }
    if any(Traffic::CopyTwice) {
        line(None, "(residual: two memcpys)")?;
    }
    if any(Traffic::Read) {
        line(None, "(moments: a sum)")?;
    }
    for &(level, size) in caches {
        line(None, &format!("L{level}: {}", bytes(size)))?;
    }
    Ok(())
}

/// In MiB where it is a whole number of them: there are caches of 1280 KiB.
fn bytes(size: u64) -> String {
    if size.is_multiple_of(1 << 20) {
        format!("{} MiB", size >> 20)
    } else {
        format!("{} KiB", size >> 10)
    }
}
