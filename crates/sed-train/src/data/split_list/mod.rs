//! Split lists of other programs.

mod error;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use error::SplitListError;

use super::coco::Source;
use super::json::{self, ListOf};
use super::{CocoIndex, DataError, SplitManifest};

/// The largest list that is not JSON, in bytes.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// What the numbers of a list stand for.
///
/// ```
/// use sed_train::data::ListedNumbers;
///
/// assert_eq!("positions".parse(), Ok(ListedNumbers::Positions));
/// let names = ListedNumbers::ALL.map(ListedNumbers::name);
/// assert_eq!(names, ["image-ids", "positions", "positions-with-objects"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListedNumbers {
    /// Image ids.
    ImageIds,
    /// Positions, from 0, among all images sorted by id.
    Positions,
    /// Positions, from 0, among the images sorted by id that have an object outside of crowd regions: what Detectron2 trains on,
    /// and so what the numbers in `COCO_supervision.txt` of Unbiased Teacher count. (A later version of its code, `build.py` at
    /// `ce62d2a`, takes them for image ids.)
    PositionsWithObjects,
}

impl ListedNumbers {
    /// All meanings.
    pub const ALL: [Self; 3] = [Self::ImageIds, Self::Positions, Self::PositionsWithObjects];

    /// The name in settings and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageIds => "image-ids",
            Self::Positions => "positions",
            Self::PositionsWithObjects => "positions-with-objects",
        }
    }
}

impl FromStr for ListedNumbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|meaning| meaning.name() == text);
        found.ok_or_else(|| format!("{text:?} is none of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Entry {
    Number(u64),
    Name(String),
}

impl SplitManifest {
    /// The split of somebody else's list of labeled images; all other images of `index` are unlabeled. Read are
    ///
    /// - a manifest of this program (see [`SplitManifest::load`]);
    /// - a COCO file of the labeled images, as `instances_train2017.1@10.json` of STAC and Soft Teacher: its `images` count, by
    ///   id and file name, and nothing else of it;
    /// - JSON of lists by percent and fold, as `COCO_supervision.txt` of Unbiased Teacher: `{"1.0": {"1": [5, 9]}}`, of which
    ///   `key` chooses one as `1.0/1`. Whether its numbers are ids cannot be seen, so `numbers` must say;
    /// - a JSON list, or a text of one entry a line: numbers, ids unless `numbers` says otherwise, or file names, with or without folder
    ///   and extension. Images of VOC files have no ids but those that this program gives them, so there every entry of a text is a name.
    ///
    /// The percentage of the result is the share of its images.
    ///
    /// # Errors
    ///
    /// A file that is missing or malformed, a key or a meaning of numbers that is missing or makes no sense, an entry that is no image of
    /// `index` or is listed twice, an empty list.
    ///
    /// ```
    /// use sed_train::data::{CocoIndex, ListedNumbers, SplitManifest};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let (file, text, lists) = (dir.path().join("t.json"), dir.path().join("l.txt"), dir.path().join("l.json"));
    /// # std::fs::write(&file, r#"{
    /// #     "images": [{"id": 7, "file_name": "a.png", "width": 4, "height": 4},
    /// #                {"id": 8, "file_name": "b.png", "width": 4, "height": 4}],
    /// #     "categories": [{"id": 1, "name": "screw"}]
    /// # }"#)?;
    /// let index = CocoIndex::read(&file)?; // of the images 7, a.png, and 8, b.png
    /// std::fs::write(&text, "b.png\n")?;
    /// let split = SplitManifest::import(&text, None, None, &index)?;
    /// assert_eq!((split.labeled, split.unlabeled, split.percent), (vec![8], vec![7], 50.0));
    ///
    /// std::fs::write(&lists, r#"{"50.0": {"1": [0], "2": [1]}}"#)?;
    /// let split = SplitManifest::import(&lists, Some("50.0/2"), Some(ListedNumbers::Positions), &index)?;
    /// assert_eq!(split.labeled, [8]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn import(
        path: impl AsRef<Path>,
        key: Option<&str>,
        numbers: Option<ListedNumbers>,
        index: &CocoIndex,
    ) -> Result<Self, SplitListError> {
        let list = List { path: path.as_ref(), index };
        let (mut labeled, fold) = match list.form()? {
            Form::Manifest => {
                list.single(key)?;
                list.without_positions(numbers)?;
                return Ok(Self::load(list.path, index)?);
            }
            Form::Coco => {
                list.single(key)?;
                list.without_positions(numbers)?;
                (list.coco()?, fold_of_name(list.path))
            }
            Form::Json => {
                list.single(key)?;
                let entries: Vec<Entry> = json::read(list.path)?;
                (list.ids(&entries, numbers.unwrap_or(ListedNumbers::ImageIds))?, 0)
            }
            Form::ByKey => {
                let (entries, fold) = list.of_key(key)?;
                let numbers = numbers.ok_or_else(|| SplitListError::Meaning { path: list.path() })?;
                (list.ids(&entries, numbers)?, fold)
            }
            Form::Text => {
                list.single(key)?;
                (list.ids(&list.lines()?, numbers.unwrap_or(ListedNumbers::ImageIds))?, 0)
            }
        };
        if labeled.is_empty() {
            return Err(SplitListError::Empty { path: list.path() });
        }
        labeled.sort_unstable();
        if let Some(pair) = labeled.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(SplitListError::Repeated { path: list.path(), id: pair[0] });
        }
        let percent = labeled.len() as f64 * 100. / index.images().len() as f64;
        Ok(Self::of_labeled(index, percent, fold, labeled)?)
    }
}

/// The forms of lists that are read.
enum Form {
    Manifest,
    Coco,
    ByKey,
    Json,
    Text,
}

/// A file, and the images that it is about.
struct List<'a> {
    path: &'a Path,
    index: &'a CocoIndex,
}

impl List<'_> {
    fn path(&self) -> PathBuf {
        self.path.to_owned()
    }

    fn annotations(&self) -> PathBuf {
        self.index.path().to_owned()
    }

    fn form(&self) -> Result<Form, DataError> {
        match first_letter(self.path)? {
            Some(b'[') => Ok(Form::Json),
            Some(b'{') => {
                let lists = ["images", "labeled"].map(|name| ListOf { name, fields: &[] });
                let found = json::read_lists(self.path, &lists, &mut |_, _, _| Ok(()))?;
                Ok(match (found.contains("labeled"), found.contains("images")) {
                    (true, _) => Form::Manifest,
                    (false, true) => Form::Coco,
                    (false, false) => Form::ByKey,
                })
            }
            _ => Ok(Form::Text),
        }
    }

    fn single(&self, key: Option<&str>) -> Result<(), SplitListError> {
        match key {
            None => Ok(()),
            Some(key) => Err(SplitListError::SingleList { path: self.path(), key: key.to_owned() }),
        }
    }

    fn without_positions(&self, numbers: Option<ListedNumbers>) -> Result<(), SplitListError> {
        match numbers {
            None | Some(ListedNumbers::ImageIds) => Ok(()),
            Some(_) => Err(SplitListError::NoPositions { path: self.path() }),
        }
    }

    /// The ids of a COCO file's images, each of which must be the same file here.
    fn coco(&self) -> Result<Vec<u64>, SplitListError> {
        #[derive(Deserialize)]
        struct Images {
            images: Vec<Image>,
        }
        #[derive(Deserialize)]
        struct Image {
            id: u64,
            file_name: String,
        }
        let Images { images } = json::read(self.path)?;
        let id = |Image { id, file_name: found }| match self.index.image(id) {
            None => Err(self.unknown(id)),
            // The folder may be another one.
            Some(image) if last_part(&image.file_name) == last_part(&found) => Ok(id),
            Some(image) => Err(SplitListError::OtherImage {
                path: self.path(),
                id,
                found,
                listed: image.file_name.clone(),
                annotations: self.annotations(),
            }),
        };
        images.into_iter().map(id).collect()
    }

    fn unknown(&self, id: u64) -> SplitListError {
        SplitListError::UnknownId { path: self.path(), id, annotations: self.annotations() }
    }

    /// The list of a key as `1.0/1`, and its fold.
    fn of_key(&self, key: Option<&str>) -> Result<(Vec<Entry>, u64), SplitListError> {
        let lists: BTreeMap<String, BTreeMap<String, Vec<Entry>>> = json::read(self.path)?;
        let all: Vec<(&str, &str, &Vec<Entry>)> = lists
            .iter()
            .flat_map(|(percent, folds)| folds.iter().map(move |(fold, list)| (&**percent, &**fold, list)))
            .collect();
        let wanted = key.and_then(|key| key.split_once('/'));
        let found = match key {
            None if all.len() == 1 => all.first(),
            None => None,
            Some(_) => all.iter().find(|(percent, fold, _)| {
                wanted.is_some_and(|(p, f)| same_number(percent, p) && same_number(fold, f))
            }),
        };
        match found {
            Some((_, fold, list)) => Ok(((*list).clone(), fold.parse().unwrap_or(0))),
            None => Err(SplitListError::Key {
                path: self.path(),
                key: key.map(str::to_owned),
                keys: all.iter().map(|(percent, fold, _)| format!("{percent}/{fold}")).collect(),
            }),
        }
    }

    /// The entries of a text, one a line.
    fn lines(&self) -> Result<Vec<Entry>, DataError> {
        let error = |source| DataError::io(self.path, source);
        let bytes = fs::metadata(self.path).map_err(error)?.len();
        if bytes > MAX_TEXT_BYTES {
            return Err(DataError::TooLarge { path: self.path(), bytes, limit: MAX_TEXT_BYTES });
        }
        let text = fs::read_to_string(self.path).map_err(error)?;
        let names = matches!(self.index.source, Source::Voc(_));
        let entry = |line: &str| match line.parse() {
            Ok(number) if !names => Entry::Number(number),
            _ => Entry::Name(line.to_owned()),
        };
        Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(entry).collect())
    }

    /// The ids of the entries.
    fn ids(&self, entries: &[Entry], numbers: ListedNumbers) -> Result<Vec<u64>, SplitListError> {
        let counted = match numbers {
            ListedNumbers::ImageIds => Vec::new(),
            ListedNumbers::Positions => self.index.image_ids(),
            ListedNumbers::PositionsWithObjects => self.index.images_with_objects()?,
        };
        let names = match entries.iter().any(|entry| matches!(entry, Entry::Name(_))) {
            true => names(self.index),
            false => HashMap::new(),
        };
        let id = |entry: &Entry| match (entry, numbers) {
            (Entry::Number(id), ListedNumbers::ImageIds) => {
                self.index.image(*id).map(|image| image.id).ok_or_else(|| self.unknown(*id))
            }
            (&Entry::Number(position), _) => {
                let found = usize::try_from(position).ok().and_then(|at| counted.get(at)).copied();
                let images = counted.len();
                found.ok_or_else(|| SplitListError::Position { path: self.path(), position, images })
            }
            (Entry::Name(name), _) => match names.get(&*name.replace('\\', "/")) {
                Some(&(id, 1)) => Ok(id),
                found => Err(SplitListError::Name {
                    path: self.path(),
                    name: name.clone(),
                    matches: found.map_or(0, |(_, matches)| *matches),
                    annotations: self.annotations(),
                }),
            },
        };
        entries.iter().map(id).collect()
    }
}

/// The images of each file name, whole, without folder, and without extension: the id of one, and how many there are.
fn names(index: &CocoIndex) -> HashMap<&str, (u64, usize)> {
    let mut names: HashMap<&str, (u64, usize)> = HashMap::new();
    for image in index.images() {
        let whole = &*image.file_name;
        let name = last_part(whole);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let mut own = vec![whole, name, stem];
        own.dedup();
        for name in own {
            let entry = names.entry(name).or_insert((image.id, 0));
            entry.1 += 1;
        }
    }
    names
}

fn last_part(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// The same text or number: `1` is `1.0`.
fn same_number(a: &str, b: &str) -> bool {
    a == b || matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

/// The fold of a file named as `instances_train2017.1@10.json`; 0 of others.
fn fold_of_name(path: &Path) -> u64 {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let fold = stem.split_once('@').and_then(|(before, _)| before.rsplit('.').next());
    fold.and_then(|fold| fold.parse().ok()).unwrap_or(0)
}

/// The first byte that is not white space.
fn first_letter(path: &Path) -> Result<Option<u8>, DataError> {
    use std::io::{BufReader, Read};
    let file = fs::File::open(path).map_err(|source| DataError::io(path, source))?;
    for byte in BufReader::new(file).bytes() {
        let byte = byte.map_err(|source| DataError::io(path, source))?;
        if !byte.is_ascii_whitespace() {
            return Ok(Some(byte));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
