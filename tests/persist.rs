//! The state directory: what is saved comes back, what is broken does not count.

use std::fs;
use std::path::Path;

use hubdns::snapshot::model::{Aliases, RecordSet, Rrset, Soa, Zone, ZonePolicy};
use hubdns::sync::persist::{Facts, PersistError, StateDir, history, load};
use hubdns::wire::Rtype;

fn set(address: u8) -> RecordSet {
    let apex: hubdns::wire::Name = "privatelink.azurecr.io".parse().unwrap();
    let owner = "c.privatelink.azurecr.io".parse().unwrap();
    let rrset = Rrset {
        owner,
        rtype: Rtype::A,
        ttl: 10,
        rdatas: vec![Box::new([10, 0, 0, address])],
        variants: Vec::new(),
    };
    let zone = Zone { apex, soa: Soa::azure(), policy: ZonePolicy::FallThrough, rrsets: vec![rrset].into() };
    RecordSet {
        zones: vec![zone],
        aliases: Aliases::default(),
        own: vec!["c.azurecr.io".parse().unwrap()].into(),
        views: Vec::new(),
    }
}

fn save_three(directory: &Path) -> StateDir {
    let state = StateDir::open(directory, 5).unwrap();
    for generation in 1..=3 {
        state.save(generation, 100, &set(generation as u8), &Facts::default()).unwrap();
    }
    state
}

fn newest(directory: &Path) -> std::path::PathBuf {
    directory.join("generation-00000003.set")
}

/// Loads after `damage` to the newest file and says which generation counts.
#[track_caller]
fn check(damage: impl FnOnce(&Path), problem: &str) {
    let dir = tempfile::tempdir().unwrap();
    save_three(dir.path());
    damage(&newest(dir.path()));
    let loaded = load(dir.path());
    let saved = loaded.saved.unwrap();
    assert_eq!((saved.header.generation, saved.set), (2, set(2)));
    assert_eq!(loaded.highest, 3, "the next generation lies above the broken one");
    let texts: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert!(texts.len() == 1 && texts[0].contains(problem), "{texts:?}");
}

#[test]
fn what_is_saved_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let _state = save_three(&dir.path().join("made/below"));
    let saved = load(&dir.path().join("made/below")).saved.unwrap();
    assert_eq!((saved.set, saved.header.created, saved.facts), (set(3), 100, Some(Facts::default())));
}

#[test]
fn nothing_saved_is_no_problem() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("none")] {
        let loaded = load(&path);
        assert!(loaded.saved.is_none() && loaded.problems.is_empty());
    }
}

#[test]
fn a_changed_byte_falls_back_to_the_one_before() {
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    };
    check(flip, "its digest is wrong");
}

#[test]
fn every_cut_falls_back_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    save_three(dir.path());
    let whole = fs::read(newest(dir.path())).unwrap();
    for len in 0..whole.len() {
        fs::write(newest(dir.path()), &whole[..len]).unwrap();
        assert_eq!(load(dir.path()).saved.unwrap().header.generation, 2, "{len}");
    }
    fs::write(newest(dir.path()), [&whole[..], b"x"].concat()).unwrap();
    assert_eq!(load(dir.path()).saved.unwrap().header.generation, 2);
}

#[test]
fn a_later_format_and_a_renamed_file_do_not_count() {
    let later = |path: &Path| {
        let text = fs::read(path).unwrap();
        let at = text.windows(10).position(|window| window == b"\"format\":3").unwrap();
        fs::write(path, [&text[..at], b"\"format\":9", &text[at + 10..]].concat()).unwrap();
    };
    check(later, "it has format 9, not 3");
    let renamed = |path: &Path| {
        fs::copy(path.with_file_name("generation-00000001.set"), path).unwrap();
    };
    check(renamed, "tell different generations");
}

#[test]
fn broken_facts_do_not_keep_the_set_from_being_served() {
    let remove: fn(&Path) -> std::io::Result<()> = |path| fs::remove_file(path);
    let cut: fn(&Path) -> std::io::Result<()> = |path| fs::write(path, b"{\"listings\":");
    for damage in [remove, cut] {
        let dir = tempfile::tempdir().unwrap();
        save_three(dir.path());
        damage(&dir.path().join("generation-00000003.facts")).unwrap();
        let loaded = load(dir.path());
        let saved = loaded.saved.unwrap();
        assert_eq!((saved.set, saved.facts), (set(3), None));
        assert_eq!(loaded.problems.len(), 1);
    }
}

#[test]
fn history_tells_which_generations_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let _state = save_three(dir.path());
    fs::write(newest(dir.path()), "broken").unwrap();
    let found = history(dir.path()).unwrap();
    let numbers: Vec<u64> = found.iter().map(|saved| saved.generation).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert!(found[0].problem.as_ref().unwrap().contains("it does not start with"), "{found:?}");
    assert_eq!((found[1].problem.as_ref(), found[1].rrsets, found[1].created), (None, 1, 100));
    assert!(history(&dir.path().join("none")).unwrap().is_empty());
}

#[test]
fn fewer_generations_are_kept_after_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = save_three(dir.path());
    state.set_keep(1);
    assert_eq!(state.count(), 1);
    assert_eq!(load(dir.path()).saved.unwrap().header.generation, 3);
}

#[test]
fn the_last_five_generations_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let state = save_three(dir.path());
    for generation in 4..=9 {
        state.save(generation, 100, &set(1), &Facts::default()).unwrap();
    }
    let mut names: Vec<String> = dir
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 11, "{names:?}");
    assert_eq!(names[0], "generation-00000005.facts");
    assert_eq!(names[10], "lock");
}

#[test]
fn a_second_daemon_does_not_share_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = save_three(dir.path());
    assert!(matches!(StateDir::open(dir.path(), 5), Err(PersistError::Locked { .. })));
    assert!(load(dir.path()).saved.is_some(), "reading needs no lock");
    drop(first);
    StateDir::open(dir.path(), 5).unwrap();
}

#[test]
fn what_cannot_be_written_is_an_error_and_leaves_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert_eq!(StateDir::open(&file, 5).unwrap_err().label(), "io");
    let state = save_three(&dir.path().join("state"));
    // A directory in the place of the file: the rename fails, for root too.
    fs::create_dir_all(dir.path().join("state/generation-00000004.set/x")).unwrap();
    assert_eq!(state.save(4, 100, &set(4), &Facts::default()).unwrap_err().label(), "io");
    assert_eq!(load(&dir.path().join("state")).saved.unwrap().header.generation, 3);
    let left = dir
        .path()
        .join("state")
        .read_dir()
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.'));
    assert_eq!(left.count(), 0, "no temporary file stays");
}

#[test]
fn temporary_files_of_a_killed_process_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".hubdns-abc"), "x").unwrap();
    let _state = StateDir::open(dir.path(), 5).unwrap();
    assert!(!dir.path().join(".hubdns-abc").exists());
}
