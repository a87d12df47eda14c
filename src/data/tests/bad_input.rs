//! Files are hostile: what is wrong is named, and the rest is used.

use super::*;

#[test]
fn a_data_yaml_that_cannot_be_used() {
    let folder = Folder::new();
    let missing = dataset(folder.path("nowhere.yaml")).unwrap_err();
    assert!(matches!(missing, DataError::Read { .. }) && missing.to_string().contains("nowhere.yaml"));
    assert!(dataset(folder.path("images")).unwrap_err().to_string().contains("it is a folder"));
    let cases: [(&[u8], &[&str]); 13] = [
        (b"train: images/train\nval: images/val\n", &["data.yaml", "no `names`", "names: [cat, dog]"]),
        (b"train: images/train\nval: images/val\nnames: []\n", &["`names` is empty"]),
        (b"train: images/train\nval: images/val\nnames: {0: a, 2: b}\n", &["without gaps", "expected 1, found 2"]),
        (b"train: images/train\nval: images/val\nnames: [a, b]\nnc: 3\n", &["`nc` says 3", "`names` has 2"]),
        (b"val: images/val\nnames: [a]\n", &["split 'train'", "not given", "images/train"]),
        (b"train: images/train\nval: ''\nnames: [a]\n", &["split 'val'", "not given"]),
        (b"train: images/trian\nval: images/val\nnames: [a]\n", &["split 'train'", "images/trian does not exist"]),
        (b"train: images/train\nval: images/val\ntest: gone\nnames: [a]\n", &["split 'test'", "gone does not exist"]),
        (b"train: images/train/a.png\nval: images/val\nnames: [a]\n", &["a.png is neither a folder nor a .txt list"]),
        (b"path: ./elsewhere\ntrain: images/train\nval: images/val\nnames: [a]\n", &["`path`", "no such folder"]),
        (b"names: [a\ntrain: }", &["not a valid data.yaml"]),
        (b"\xff\xfe\x00", &["not UTF-8"]),
        (b"", &["data.yaml"]),
    ];
    for (yaml, expected) in cases {
        folder.write("data.yaml", yaml);
        let error = folder.error();
        for part in expected {
            assert!(error.contains(part), "{:?} lacks {part:?}: {error}", String::from_utf8_lossy(yaml));
        }
    }
}

#[test]
fn an_empty_split() {
    let folder = Folder::new();
    std::fs::remove_file(folder.path("images/val/a.png")).unwrap();
    let error = folder.error();
    assert!(
        error.contains("split 'val'") && error.contains("no usable image") && error.contains("images/val"),
        "{error}"
    );
    folder.write("images/val/a.jpg", "This is text.");
    let error = folder.error();
    assert!(error.contains("the first problem") && error.contains("a.jpg: not an image"), "{error}");
}

#[test]
fn a_text_file_named_jpg() {
    let folder = Folder::new();
    folder.write("images/train/b.jpg", "Dear diary,\n");
    folder.write("images/train/c.png", b"\x00\x01\x02\x03");
    folder.write("images/train/d.webp", "");
    folder.write("images/train/e.tiff", "II*");
    folder.write("images/train/f.jpg", b"GIF89a and so on");
    assert_eq!(
        folder.problems(),
        [
            "images/train/e.tiff: this kind of image is not supported: expected JPEG, PNG, BMP or WebP",
            "images/train/b.jpg: not an image: expected JPEG, PNG, BMP or WebP, found text",
            "images/train/c.png: not an image: expected JPEG, PNG, BMP or WebP, found unknown bytes",
            "images/train/d.webp: the file is empty",
            "images/train/f.jpg: Gif images are not supported: expected JPEG, PNG, BMP or WebP",
        ]
    );
    assert_eq!(folder.open().unwrap().split("train").unwrap().samples.len(), 1);
}

#[test]
fn lines_of_labels() {
    let folder = Folder::new();
    folder.write("data.yaml", "train: images/train\nval: images/val\nnames: [a, b]\n");
    folder.write(
        "labels/train/a.txt",
        "0 0.5 0.5 0.2 0.4\n2 0.5 0.5 0.1 0.1\n-1 0.5 0.5 0.1 0.1\n0.5 0.5 0.5 0.1 0.1\ncat 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1\n\n\
         1 0.5 nan 0.1 0.1\n1 320 240 64 64\n1 0.5 0.5 0 0.1\n0 0.5 0.5 0.2 0.4\n1 0.5 0.5 0.1 x\n1 0.1 0.2 0.5 0.2 0.3 0.8\n1.0 1 1 0.1 0.1\r\n",
    );
    assert_eq!(
        folder.problems(),
        [
            "labels/train/a.txt:2: class \"2\" does not exist; the classes are 0 to 1",
            "labels/train/a.txt:3: class \"-1\" does not exist; the classes are 0 to 1",
            "labels/train/a.txt:4: class \"0.5\" does not exist; the classes are 0 to 1",
            "labels/train/a.txt:5: expected a class index, found \"cat\"",
            "labels/train/a.txt:6: expected `class cx cy w h`, found 4 fields",
            "labels/train/a.txt:8: \"nan\" is outside 0 to 1; coordinates are relative to the image's size",
            "labels/train/a.txt:9: \"320\" is outside 0 to 1; coordinates are relative to the image's size",
            "labels/train/a.txt:10: a box 0 wide and 0.1 high is empty",
            "labels/train/a.txt:11: the same box a second time",
            "labels/train/a.txt:12: expected a number, found \"x\"",
        ]
    );
    let data = folder.open().unwrap();
    let boxes = &data.split("train").unwrap().samples[0].boxes;
    assert_eq!(boxes.len(), 3);
    let polygon = boxes[1].bounds;
    for (found, expected) in [polygon.cx, polygon.cy, polygon.w, polygon.h].into_iter().zip([0.3, 0.5, 0.4, 0.6]) {
        assert!((found - expected).abs() < 1e-6, "{polygon:?}");
    }
    folder.write("data.yaml", "train: images/train\nval: images/val\nnames: [a]\n");
    assert!(folder.problems().iter().any(|p| p.ends_with("class \"1\" does not exist; the only class is 0")));
}

#[test]
fn label_files_that_are_none() {
    let folder = Folder::new();
    folder.write("labels/train/a.txt", b"\xff\xd8\xff\xe0");
    folder.write("labels/val/a.txt", "7 0 0 0 0\n".repeat(100_000));
    let problems = folder.problems();
    assert_eq!(problems[0], "labels/train/a.txt: not UTF-8 text; expected lines `class cx cy w h`");
    assert_eq!(problems.len(), 1 + 101);
    assert_eq!(problems[101], "labels/val/a.txt: 99900 more lines are wrong");
}

#[test]
fn a_list_with_images_that_are_not_there() {
    let folder = Folder::new();
    folder.write("val.txt", "images/val/a.png\nimages/val/b.png\n");
    folder.write("data.yaml", "train: images/train\nval: val.txt\nnames: [a]\n");
    assert_eq!(folder.problems(), ["val.txt:2: no such image: images/val/b.png"]);
}

#[test]
fn images_cut_short() {
    let folder = Folder::new();
    for (name, kind) in [("b.jpg", "jpg"), ("c.png", "png"), ("d.bmp", "bmp"), ("e.webp", "webp")] {
        let path = folder.path(&format!("images/train/{name}"));
        RgbImage::from_fn(80, 60, |x, y| Rgb([(x * 3) as u8, (y * 5) as u8, (x * y) as u8])).save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() * 2 / 3]).unwrap();
        let data = folder.open().unwrap();
        let split = data.split("train").unwrap();
        let images: usize = Batches::eval(split, 64, 2).unwrap().map(|b| b.unwrap().origins.len()).sum();
        assert_eq!(images, 1, "{kind}: only a.png is whole");
        let problems = split.problems();
        assert_eq!(problems.len(), 1, "{kind}: {problems:?}");
        assert!(problems[0].file.ends_with(name), "{problems:?}");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_header_that_claims_too_much() {
    let folder = Folder::new();
    let mut bmp = Vec::new();
    bmp.extend(b"BM\x00\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00");
    bmp.extend(60_000i32.to_le_bytes());
    bmp.extend(60_000i32.to_le_bytes());
    bmp.extend(b"\x01\x00\x18\x00");
    bmp.extend([0; 24]);
    folder.write("images/train/b.bmp", bmp);
    assert_eq!(
        folder.problems(),
        ["images/train/b.bmp: the header says 60000x60000 pixels; at most 100000000 are read"]
    );
}

#[test]
fn an_epoch_without_a_readable_image() {
    let folder = Folder::new();
    let data = folder.open().unwrap();
    let split = data.split("train").unwrap();
    folder.picture("images/train/a.png", 41, 30);
    for mut batches in [Batches::eval(split, 64, 2).unwrap(), Batches::train(split, &BatchOptions::default()).unwrap()]
    {
        let error = batches.next().unwrap().unwrap_err().to_string();
        assert!(
            error.contains("none of its 1 images can be read") && error.contains("the image changed while in use"),
            "{error}"
        );
        assert!(batches.next().is_none());
    }
}

#[test]
fn options_out_of_range() {
    let data = shapes(&ShapesOptions { train: 2, val: 1, size: 32, ..Default::default() }).unwrap();
    let split = data.split("train").unwrap();
    let wrong = [
        BatchOptions { batch: 0, ..Default::default() },
        BatchOptions { size: 0, ..Default::default() },
        BatchOptions { ahead: 0, ..Default::default() },
        BatchOptions { augment: Augment { mosaic: 1.5, ..Default::default() }, ..Default::default() },
        BatchOptions { augment: Augment { hsv_h: f32::NAN, ..Default::default() }, ..Default::default() },
    ];
    let errors: Vec<String> = wrong.iter().map(|o| Batches::train(split, o).unwrap_err().to_string()).collect();
    assert_eq!(
        errors,
        [
            "option \"batch\" takes a whole number from 1 to 4096, not 0",
            "option \"size\" takes a whole number from 1 to 8192, not 0",
            "option \"ahead\" takes a whole number from 1 to 64, not 0",
            "option \"mosaic\" takes a number from 0 to 1, not 1.5",
            "option \"hsv_h\" takes a number from 0 to 1, not NaN",
        ]
    );
    let classes =
        |names: &[&str]| ShapesOptions { classes: names.iter().map(|n| n.to_string()).collect(), ..Default::default() };
    for options in [classes(&["circle", "hexagon"]), classes(&["star", "star"]), classes(&[])] {
        let error = shapes(&options).unwrap_err().to_string();
        assert!(error.contains("circle") && error.contains("ring") && error.contains("cross"), "{error}");
    }
    assert!(shapes(&ShapesOptions { train: 0, ..Default::default() }).unwrap_err().to_string().ends_with("not 0"));
    assert!(shapes(&ShapesOptions { size: 8, ..Default::default() }).unwrap_err().to_string().contains("32 to 4096"));
}

#[test]
fn a_split_that_is_not_there() {
    let data = Folder::new().open().unwrap();
    assert!(data.split("test").unwrap_err().to_string().ends_with("has no split 'test'; it has train, val"));
}

/// Damaged files give an error or a picture, never a panic.
#[test]
fn damaged_images() {
    let folder = Folder::new();
    let picture = RgbImage::from_fn(24, 16, |x, y| Rgb([(x * 9) as u8, (y * 13) as u8, (x * y) as u8]));
    let mut state = 1u64;
    let mut random = move |below: usize| {
        // Knuth's linear congruential generator.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for kind in ["jpg", "png", "bmp", "webp"] {
        let path = folder.path(&format!("whole.{kind}"));
        picture.save(&path).unwrap();
        assert_eq!(read_image(&path).unwrap().dimensions(), (24, 16));
        let whole = std::fs::read(&path).unwrap();
        let mut refused = 0;
        for _ in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..1 + random(4) {
                let at = random(bytes.len().min(80));
                bytes[at] = random(256) as u8;
            }
            bytes.truncate(1 + random(2 * whole.len()));
            let damaged = folder.path("damaged");
            std::fs::write(&damaged, bytes).unwrap();
            let (header, image) = (picture::probe(&damaged), read_image(&damaged));
            refused += usize::from(header.is_err() || image.is_err());
        }
        assert!(refused > 50, "{kind}: {refused} of 150 refused");
    }
}
