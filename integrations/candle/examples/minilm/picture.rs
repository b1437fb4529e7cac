//! Losses as a picture.

use std::fmt::Write;

pub struct Curve {
    pub name: &'static str,
    pub colour: &'static str,
    pub points: Vec<f64>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// What axes and their text take.
const LEFT: f64 = 52.0;
const BELOW: f64 = 40.0;
const ABOVE: f64 = 28.0;

/// An SVG: each loss thin, and its mean over a few steps as a thick line.
pub fn picture(curves: &[Curve]) -> String {
    let most = curves.iter().flat_map(|curve| &curve.points).fold(0.0, |most: f64, x| most.max(*x));
    let top = (most * 10.0).ceil().max(1.0) / 10.0;
    let steps = curves.iter().map(|curve| curve.points.len()).max().unwrap_or(1);
    let x = |step: f64| LEFT + (WIDTH - LEFT - 16.0) * step / steps as f64;
    let y = |loss: f64| HEIGHT - BELOW - (HEIGHT - BELOW - ABOVE) * loss / top;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    for tenth in 0..=(top * 10.0).round() as usize {
        let (loss, at) = (tenth as f64 / 10.0, y(tenth as f64 / 10.0));
        let (end, text) = (x(steps as f64), LEFT - 8.0);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {at:.1}H{end:.1}\" stroke=\"#ddd\"/>");
        let _ = writeln!(
            svg,
            "<text x=\"{text}\" y=\"{:.1}\" text-anchor=\"end\">{loss:.1}</text>",
            at + 4.0
        );
    }
    for step in (0..=steps).step_by((steps / 6).max(1)) {
        let (at, below) = (x(step as f64), HEIGHT - BELOW + 16.0);
        let _ =
            writeln!(svg, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{step}</text>");
    }
    let (middle, bottom) = (x(steps as f64 / 2.0), HEIGHT - 8.0);
    let _ = writeln!(svg, "<text x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\">step</text>");
    let _ = writeln!(svg, "<text x=\"8\" y=\"16\">loss</text>");
    for (i, Curve { name, colour, points }) in curves.iter().enumerate() {
        for (points, style) in
            [(points.clone(), "stroke-opacity=\"0.25\""), (smooth(points), "stroke-width=\"2\"")]
        {
            let places = points.iter().zip(0..);
            let places =
                places.map(|(loss, step)| format!("{:.1},{:.1}", x(f64::from(step)), y(*loss)));
            let places = places.collect::<Vec<_>>().join(" ");
            let _ = writeln!(
                svg,
                "<polyline points=\"{places}\" fill=\"none\" stroke=\"{colour}\" {style}/>"
            );
        }
        let at = LEFT + 40.0 + 170.0 * i as f64;
        let _ = writeln!(svg, "<text x=\"{at}\" y=\"16\" fill=\"{colour}\">{name}</text>");
    }
    svg + "</svg>\n"
}

/// The mean of each point and up to nine before it.
fn smooth(points: &[f64]) -> Vec<f64> {
    let mean = |at: usize| {
        let window = &points[at.saturating_sub(9)..=at];
        window.iter().sum::<f64>() / window.len() as f64
    };
    (0..points.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_from_the_top_left_to_the_axis() {
        let points = vec![1.0; 10].into_iter().chain(vec![0.0; 20]).collect();
        let svg = picture(&[Curve { name: "falls", colour: "#06c", points }]);
        assert!(svg.contains(&format!("points=\"{LEFT:.1},{ABOVE:.1} ")), "{svg}");
        assert!(svg.contains(&format!(",{:.1}\" fill", HEIGHT - BELOW)), "{svg}");
        assert!(svg.contains(">falls</text>"), "{svg}");
    }
}
