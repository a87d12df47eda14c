//! Average precision against the reference and against itself.

use super::*;
use crate::{boxes::Truth, eval::detection::Detection, testing::shared};

/// Size of every image of BCCD.
const IMAGE: [f32; 2] = [640.0, 480.0];

/// The golden's results, and its detections beside the labels of BCCD's val split.
fn golden(model: &str) -> Option<(serde_json::Value, Vec<ImageResult>)> {
    let text = std::fs::read(shared(&format!("goldens/{model}.eval.json"))?).unwrap();
    let facts: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let labels = shared("data/bccd/labels/val")?;
    let images = facts["detections"].as_object().unwrap().iter().map(|(image, rows)| {
        let rows: Vec<[f32; 6]> = serde_json::from_value(rows.clone()).unwrap();
        let detection = |[a, b, c, d, confidence, class]: [f32; 6]| Detection {
            corners: [a, b, c, d],
            confidence,
            class: class as usize,
        };
        let text = std::fs::read_to_string(labels.join(format!("{image}.txt"))).unwrap();
        ImageResult::new(rows.into_iter().map(detection).collect(), text.lines().map(truth).collect())
    });
    let images = images.collect();
    Some((facts, images))
}

fn truth(line: &str) -> Truth {
    let [class, cx, cy, w, h] = line.split_whitespace().map(|field| field.parse().unwrap()).collect::<Vec<f32>>()[..]
    else {
        panic!("five fields")
    };
    let [left, top, right, bottom] = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0];
    Truth { bounds: [left * IMAGE[0], top * IMAGE[1], right * IMAGE[0], bottom * IMAGE[1]], class: class as usize }
}

#[track_caller]
fn close(found: f64, expected: &serde_json::Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-4, "{what}: {found} against {expected}");
}

#[test]
fn yolo_rules_equal_the_goldens() {
    for model in ["yolov5n-bccd", "yolov8n-bccd"] {
        let Some((facts, images)) = golden(model) else { return };
        for rule in [Rule::Ultralytics, Rule::Yolov5] {
            let (scores, facts) = (average_precision(&images, rule), &facts[rule.name()]);
            let what = format!("{model}, {}", rule.name());
            close(scores.overall.precision, &facts["precision"], &what);
            close(scores.overall.recall, &facts["recall"], &what);
            close(scores.overall.map50, &facts["map50"], &what);
            close(scores.overall.map, &facts["map"], &what);
            assert_eq!(scores.classes.len(), 3);
            for (index, class) in scores.classes.iter().enumerate() {
                assert_eq!(class.class, index);
                close(class.score.map50, &facts["per_class_ap50"][index], &what);
                close(class.score.map, &facts["per_class_ap"][index], &what);
                close(class.score.precision, &facts["precision_per_class"][index], &what);
                close(class.score.recall, &facts["recall_per_class"][index], &what);
            }
        }
    }
}

#[test]
fn coco_equals_the_goldens() {
    for model in ["yolov5n-bccd", "yolov8n-bccd"] {
        let Some((facts, images)) = golden(model) else { return };
        let (scores, facts) = (average_precision(&images, Rule::Coco), &facts["coco"]);
        close(scores.overall.map, &facts["map"], model);
        close(scores.overall.map50, &facts["map50"], model);
        close(scores.overall.map75, &facts["map75"], model);
        let coco = scores.coco.unwrap();
        close(coco.small.unwrap(), &facts["small"], model);
        close(coco.medium.unwrap(), &facts["medium"], model);
        close(coco.large.unwrap(), &facts["large"], model);
        close(coco.ar100.unwrap(), &facts["ar100"], model);
    }
}

fn square(left: f32, side: f32) -> [f32; 4] {
    [left, 10.0, left + side, 10.0 + side]
}

fn perfect() -> Vec<ImageResult> {
    let truths: Vec<Truth> =
        (0..6).map(|i| Truth { bounds: square(i as f32 * 60.0, 20.0 + i as f32), class: i % 2 }).collect();
    let found = |(i, truth): (usize, &Truth)| Detection {
        corners: truth.bounds,
        confidence: 0.9 - 0.1 * i as f32,
        class: truth.class,
    };
    let detections = truths.iter().enumerate().map(found).collect();
    vec![ImageResult::new(detections, truths)]
}

#[test]
fn finding_everything_scores_one() {
    for rule in Rule::ALL {
        let scores = average_precision(&perfect(), rule);
        let expected = if rule == Rule::Coco { 1.0 } else { 0.995 };
        for value in [scores.overall.map50, scores.overall.map75, scores.overall.map] {
            assert!((value - expected).abs() < 1e-9, "{rule:?}: {value}");
        }
        assert!(scores.overall.recall > 0.999 && scores.overall.precision > 0.999, "{scores:?}");
        assert_eq!(scores.classes.iter().map(|class| class.labels).sum::<usize>(), 6);
        assert_eq!(scores.classes.iter().map(|class| class.images).collect::<Vec<_>>(), [1, 1]);
    }
}

#[test]
fn nothing_found_nothing_labelled_no_image() {
    for rule in Rule::ALL {
        let mut missed = perfect();
        missed[0] = ImageResult::new(vec![], missed[0].truths().to_vec());
        let scores = average_precision(&missed, rule);
        assert_eq!(scores.overall, Score::default(), "{rule:?}");
        assert_eq!(scores.classes.len(), 2);
        let unlabelled = vec![ImageResult::new(perfect()[0].detections().to_vec(), vec![])];
        for images in [unlabelled, vec![ImageResult::default()], vec![]] {
            let scores = average_precision(&images, rule);
            assert_eq!(scores.overall, Score::default(), "{rule:?}");
            assert!(scores.classes.is_empty());
            assert!(scores.coco.is_none_or(|coco| coco.ar100.is_none() && coco.small.is_none()));
        }
    }
}

#[test]
fn what_is_not_a_number_counts_as_nothing() {
    for rule in Rule::ALL {
        let mut images = perfect();
        let expected = average_precision(&images, rule);
        let mut detections = images[0].detections().to_vec();
        detections.push(Detection { corners: square(0.0, 20.0), confidence: f32::NAN, class: 0 });
        images[0] = ImageResult::new(detections, images[0].truths().to_vec());
        assert_eq!(average_precision(&images, rule), expected);
        let mut detections = images[0].detections().to_vec();
        detections.push(Detection { corners: [f32::NAN; 4], confidence: 0.01, class: 0 });
        images[0] = ImageResult::new(detections, images[0].truths().to_vec());
        let scores = average_precision(&images, rule);
        assert!((scores.overall.map - expected.overall.map).abs() < 1e-9, "{rule:?}");
    }
}

/// What must not matter, and what must make things worse.
#[test]
fn metamorphic() {
    let Some((_, images)) = golden("yolov5n-bccd") else { return };
    let images = &images[..30];
    for rule in Rule::ALL {
        let base = average_precision(images, rule).overall;
        let remade = |change: &dyn Fn(&mut Vec<Detection>, &mut Vec<Truth>)| {
            let images: Vec<ImageResult> = images
                .iter()
                .map(|image| {
                    let (mut detections, mut truths) = (image.detections().to_vec(), image.truths().to_vec());
                    change(&mut detections, &mut truths);
                    ImageResult::new(detections, truths)
                })
                .collect();
            average_precision(&images, rule).overall
        };
        let shifted = remade(&|detections, truths| {
            let corners =
                detections.iter_mut().map(|one| &mut one.corners).chain(truths.iter_mut().map(|one| &mut one.bounds));
            corners.for_each(|corners| *corners = corners.map(|side| side + 64.0));
        });
        assert!((shifted.map - base.map).abs() < 2e-3, "{rule:?}: {} {}", shifted.map, base.map);
        let relabelled = remade(&|detections, truths| {
            detections.iter_mut().for_each(|one| one.class = (one.class + 1) % 3);
            truths.iter_mut().for_each(|one| one.class = (one.class + 1) % 3);
        });
        assert!((relabelled.map - base.map).abs() < 1e-9 && (relabelled.recall - base.recall).abs() < 1e-9);
        let emptied = remade(&|detections, truths| {
            truths.iter_mut().for_each(|one| one.bounds = [1e6, 1e6, 1e6 + 9.0, 1e6 + 9.0]);
            detections.truncate(100);
        });
        assert_eq!(emptied.map50, 0.0);
        let missing = remade(&|detections, _| detections.retain(|one| one.confidence < 0.6));
        assert!(missing.map < base.map, "{rule:?}");
        let noisy = remade(&|detections, _| {
            let nowhere = Detection { corners: [1e4, 1e4, 1e4 + 5.0, 1e4 + 5.0], confidence: 0.99, class: 0 };
            detections.insert(0, nowhere);
        });
        assert!(noisy.map < base.map, "{rule:?}");
    }
    for rule in Rule::ALL {
        let twice: Vec<ImageResult> = images.iter().chain(images).cloned().collect();
        let [once, twice] = [images, &twice].map(|images| average_precision(images, rule).overall);
        assert!((once.map - twice.map).abs() < 5e-3, "{rule:?}: {} {}", once.map, twice.map);
    }
}
