//! Images on which a model and its teacher, or its labels, disagree most.

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{RgbImage, codecs::jpeg::JpegEncoder};

use super::html::{Gallery, LegendEntry, Part, Section, Shown, View};
use crate::{
    boxes::Corners,
    data::{Split, resize_bilinear},
    eval::{Detection, EvalError, Overlaps, PredictOptions, Predictor, pair_up},
    model::Model,
    progress::Progress,
    report::{
        cell::significant,
        draw::{LabelledBox, class_colour, draw_boxes},
        error::{Error, Result},
    },
    train::Run,
};

/// Images shown.
const SHOWN: usize = 8;
/// Images looked at; of a larger split as many, evenly spread.
const LOOKED_AT: usize = 500;
/// Overlap above which two boxes are of the same thing, as in the confusion matrix.
const IOU: f32 = 0.45;
/// The longer side of a picture in pixels.
const SIDE: f32 = 420.0;
/// Title of the labels' column.
const LABELS: &str = "labels";
/// Of the pictures, in per cent.
const QUALITY: u8 = 82;

/// Boxes of an image by one of those who look at it.
struct Seen {
    boxes: Vec<Detection>,
    /// Whether each is one that the other has not, or not of that class.
    disputed: Vec<bool>,
}

impl Seen {
    fn of(boxes: Vec<Detection>) -> Self {
        Self { disputed: vec![false; boxes.len()], boxes }
    }

    fn corners(&self) -> Vec<Corners> {
        self.boxes.iter().map(|found| found.corners).collect()
    }
}

/// An image and who sees what in it.
struct Compared {
    sample: usize,
    disagreements: usize,
    labels: Seen,
    teacher: Option<Seen>,
    model: Seen,
}

/// The images of a split on which there is most disagreement, with labels, teacher and model side by side.
///
/// # Errors
/// A network that does not run, and a listener that asks to stop.
pub(super) fn images(run: &Run, split: &Split, progress: &dyn Progress) -> Result<Section> {
    let total = split.samples.len().min(LOOKED_AT);
    progress.start("compare images", Some(total as u64));
    let compared = compare(run, split, total, progress);
    progress.finish();
    let mut compared = compared?;
    compared.sort_by_key(|image| std::cmp::Reverse(image.disagreements));
    compared.truncate(SHOWN);
    let names = &run.setup.data.names;
    let shown = compared.iter().map(|image| show(image, split, names)).collect::<Result<Vec<_>>>()?;
    let other = if run.setup.teachers.is_empty() { "the labels" } else { "the teacher" };
    let note = format!(
        "Of {total} images of {} those on which the model and {other} disagree most: boxes that only one of them has, or has as \
         another class, at confidence above 0.25. These carry a confidence, or on labels the word missed; the others are bare.",
        split.name
    );
    let colour = |class: usize| {
        let (red, green, blue) = class_colour(class);
        format!("#{red:02x}{green:02x}{blue:02x}")
    };
    let legend =
        names.iter().enumerate().map(|(class, name)| LegendEntry { name: name.clone(), colour: colour(class) });
    let gallery = Gallery { legend: legend.collect(), images: shown };
    Ok(Section { id: "images", title: "Images", notes: vec![note], parts: vec![Part::Gallery(gallery)] })
}

fn compare(run: &Run, split: &Split, total: usize, progress: &dyn Progress) -> Result<Vec<Compared>> {
    let names = &run.setup.data.names;
    let options = PredictOptions { size: run.setup.size, ..PredictOptions::default() };
    let looks = |model: &Model| Predictor::new(model, options);
    let (model, teacher) = (looks(&run.model)?, run.setup.teachers.first());
    let teacher = teacher.map(|teacher| Ok::<_, EvalError>((looks(teacher)?, classes(teacher, names)))).transpose()?;
    let mut all = Vec::with_capacity(total);
    for done in 0..total {
        if progress.stop_requested() {
            return Err(EvalError::Stopped { what: "images", done, total }.into());
        }
        let sample = done * split.samples.len() / total;
        // One that cannot be read is left out, as an evaluation does.
        if let Ok(image) = split.image(sample) {
            let size = [image.width() as f32, image.height() as f32];
            let labelled = split.samples[sample].boxes.iter().map(|truth| truth.in_pixels(size[0], size[1]));
            let labelled =
                labelled.map(|truth| Detection { corners: truth.bounds, confidence: 1.0, class: truth.class });
            let mut labels = Seen::of(labelled.collect());
            let mut own = Seen::of(model.predict(&image)?);
            let mut taught = teacher
                .as_ref()
                .map(|(predictor, classes)| {
                    let known =
                        |found: Detection| Some(Detection { class: *classes.get(found.class)?.as_ref()?, ..found });
                    Ok::<_, EvalError>(Seen::of(predictor.predict(&image)?.into_iter().filter_map(known).collect()))
                })
                .transpose()?;
            let disagreements = dispute(&mut own, taught.as_mut().unwrap_or(&mut labels));
            all.push(Compared { sample, disagreements, labels, teacher: taught, model: own });
        }
        progress.advance(done as u64 + 1, "");
    }
    Ok(all)
}

/// Which of the dataset's classes each of a model's classes is, by name; all by place where no name is shared.
fn classes(model: &Model, names: &[String]) -> Vec<Option<usize>> {
    let known = &model.detector().classes;
    let by_name: Vec<_> = known.iter().map(|class| names.iter().position(|name| name == class)).collect();
    if by_name.iter().any(Option::is_some) {
        return by_name;
    }
    (0..known.len()).map(|class| (class < names.len()).then_some(class)).collect()
}

/// Marks the boxes that one has and the other has not, or has as another class, and counts them: two boxes of one thing in
/// different classes once.
fn dispute(a: &mut Seen, b: &mut Seen) -> usize {
    let pairs = pair_up(Overlaps { found: &a.corners(), labelled: &b.corners() }, IOU);
    a.disputed.fill(true);
    let mut count = a.boxes.len() - pairs.iter().flatten().count();
    for (at, pair) in pairs.into_iter().enumerate() {
        let agreed = pair.filter(|&own| a.boxes[own].class == b.boxes[at].class);
        if let Some(own) = agreed {
            a.disputed[own] = false;
        }
        b.disputed[at] = agreed.is_none();
        count += usize::from(agreed.is_none());
    }
    count
}

fn show(compared: &Compared, split: &Split, names: &[String]) -> Result<Shown> {
    let image = split.image(compared.sample)?;
    let scale = SIDE / image.width().max(image.height()) as f32;
    let side = |pixels: u32| ((pixels as f32 * scale).round() as u32).max(1);
    let small = resize_bilinear(&image, side(image.width()), side(image.height()));
    let seen =
        [(LABELS, Some(&compared.labels)), ("teacher", compared.teacher.as_ref()), ("model", Some(&compared.model))];
    let views = seen.into_iter().filter_map(|(title, seen)| Some((title, seen?)));
    let views = views.map(|(title, seen)| view(title, seen, &small, scale, names)).collect::<Result<Vec<_>>>()?;
    let label = split.samples[compared.sample].source.label();
    let name = label.rsplit(['/', '\\']).next().unwrap_or(&label).to_owned();
    let plural = if compared.disagreements == 1 { "disagreement" } else { "disagreements" };
    Ok(Shown { name, note: format!("{} {plural}", compared.disagreements), views })
}

fn view(title: &str, seen: &Seen, small: &RgbImage, scale: f32, names: &[String]) -> Result<View> {
    let name = |class: usize| names.get(class).map_or("?", String::as_str);
    // A short text leaves most of the image to be seen; colours say the classes.
    let text = |found: &Detection| match title {
        LABELS => "missed".to_owned(),
        _ => significant(found.confidence.into(), 2),
    };
    let boxes = seen.boxes.iter().zip(&seen.disputed).map(|(found, &disputed)| LabelledBox {
        class: found.class,
        label: if disputed { text(found) } else { String::new() },
        corners: found.corners.map(|side| side * scale),
    });
    let mut picture = small.clone();
    draw_boxes(&mut picture, &boxes.collect::<Vec<_>>())?;
    let mut bytes = Vec::new();
    let refused = |error: image::ImageError| Error::Picture { message: error.to_string() };
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&picture).map_err(refused)?;
    let count = |class: usize| seen.boxes.iter().filter(|found| found.class == class).count();
    let counts =
        (0..names.len()).filter(|&class| count(class) > 0).map(|class| format!("{} {}", count(class), name(class)));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let counts = if counts.is_empty() { "nothing".to_owned() } else { counts };
    Ok(View {
        alt: format!("{title}: {counts}"),
        title: format!("{title} · {counts}"),
        data: STANDARD.encode(bytes),
        size: picture.dimensions(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(boxes: &[(f32, usize)]) -> Seen {
        let found = |&(left, class): &(f32, usize)| Detection {
            corners: [left, 0.0, left + 10.0, 10.0],
            confidence: 0.5,
            class,
        };
        Seen::of(boxes.iter().map(found).collect())
    }

    #[test]
    fn disagreements_are_counted_once() {
        // Agreed; of another class; only one's; only the other's.
        let (mut a, mut b) = (seen(&[(0.0, 0), (100.0, 0), (200.0, 0)]), seen(&[(1.0, 0), (100.0, 1), (300.0, 0)]));
        assert_eq!(dispute(&mut a, &mut b), 3);
        assert_eq!((a.disputed, b.disputed), (vec![false, true, true], vec![false, true, true]));
        let (mut a, mut b) = (seen(&[(0.0, 2)]), seen(&[(0.0, 2)]));
        assert_eq!(dispute(&mut a, &mut b), 0);
        assert_eq!(dispute(&mut seen(&[]), &mut seen(&[(0.0, 0), (50.0, 0)])), 2);
    }
}
