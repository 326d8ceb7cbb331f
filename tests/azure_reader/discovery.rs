//! Discovery by Resource Graph, confirmed by Resource Manager.

use super::*;

fn by_graph(estate: &Arc<Estate>) -> Reader {
    Reader::new(settings(""), Arc::clone(estate) as _, Some(&[]))
}

fn count(requests: &[String], what: &str) -> usize {
    requests.iter().filter(|request| request.contains(what)).count()
}

/// Changes the fqdns of contosodev's data address in both forms of its interface.
fn rename(value: &mut serde_json::Value) {
    if estate::id(value).ends_with("/pe-contosodev-nic") {
        value["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] = "10.21.0.44".into();
    }
}

fn rename_everywhere(_: &str, body: &mut serde_json::Value) {
    rename(body);
    body["value"].as_array_mut().into_iter().flatten().for_each(rename);
}

fn holds(reader: &Reader, text: &str) -> bool {
    facts(&reader.reading()).values().flatten().any(|fact| fact.contains(text))
}

#[tokio::test(start_paused = true)]
async fn an_estate_by_resource_graph() {
    let estate = Estate::contoso();
    let mut reader = by_graph(&estate);
    reader.pass().await;
    check_expected(&reader.reading());
    let requests = estate.requests();
    assert_eq!((count(&requests, "GRAPH"), count(&requests, "/networkInterfaces?")), (1, 0), "{requests:#?}");
    // Each interface of a registry is confirmed; that of the blob is nobody's concern.
    assert_eq!(count(&requests, "GET "), 4, "{requests:#?}");
    let second = reader.pass().await;
    let requests = estate.requests();
    assert_eq!((count(&requests, "GRAPH"), count(&requests, "GET ")), (1, 0), "{requests:#?}");
    assert!(!second.changed);
    // By Resource Manager it says the same.
    let mut other = super::reader(&estate);
    other.pass().await;
    assert_eq!(facts(&other.reading()), facts(&reader.reading()));
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_or_failing_index_gives_way_to_resource_manager() {
    for fault in [Fault::Forbidden, Fault::Status500, Fault::Panic] {
        let estate = Estate::contoso();
        estate.fail("GRAPH", fault);
        let mut reader = by_graph(&estate);
        reader.pass().await;
        check_expected(&reader.reading());
        assert!(reader.reading().failures.is_empty(), "auto: {fault:?}");
        estate.requests();
        reader.pass().await;
        let requests = estate.requests();
        assert_eq!(count(&requests, "GRAPH"), usize::from(fault != Fault::Forbidden), "{fault:?}");
        assert_eq!(count(&requests, "/networkInterfaces?"), 3, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_lags_changes_nothing() {
    let estate = Estate::contoso();
    let mut reader = by_graph(&estate);
    reader.pass().await;
    let good = facts(&reader.reading());
    // A row is gone and another is old; Resource Manager has both as before.
    estate.edit_rows(|rows| {
        rows.retain(|row| !estate::id(row).ends_with("/pe-contosodrift-nic"));
        rows.iter_mut().for_each(rename);
    });
    estate.requests();
    for _ in 0..2 {
        let report = reader.pass().await;
        assert!(!report.changed && report.failed == 0);
        assert_eq!(facts(&reader.reading()), good);
        assert_eq!(count(&estate.requests(), "GET "), 2, "both are confirmed");
    }
    // When Resource Manager does not answer either, all stays and is told.
    estate.fail("GET ", Fault::TimedOut);
    reader.pass().await;
    let reading = reader.reading();
    assert_eq!(facts(&reading), good);
    assert_eq!(failed(&reading), [format!("{WORK}/networkInterfaces")]);
}

#[tokio::test(start_paused = true)]
async fn changes_that_the_index_shows_are_read_where_they_are() {
    let estate = Estate::contoso();
    let mut reader = by_graph(&estate);
    reader.pass().await;
    estate.edit(rename_everywhere);
    estate.edit_rows(|rows| rows.iter_mut().for_each(rename));
    assert!(!holds(&reader, "10.21.0.44"));
    assert!(reader.pass().await.changed);
    assert!(holds(&reader, "10.21.0.44"));
    // Deleted: the row goes, and Resource Manager says 404.
    estate.delete("/networkinterfaces/pe-contosodev-nic");
    estate.edit_rows(|rows| rows.retain(|row| !estate::id(row).ends_with("/pe-contosodev-nic")));
    reader.pass().await;
    assert!(!holds(&reader, "10.21.0.44"));
    assert!(reader.reading().failures.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_changes_has_its_interfaces_read_before_the_index_knows() {
    let estate = Estate::contoso();
    let mut reader = by_graph(&estate);
    reader.pass().await;
    estate.edit(|path, body| {
        rename_everywhere(path, body);
        for value in body["value"].as_array_mut().into_iter().flatten() {
            if estate::id(value).ends_with("/privateendpoints/pe-contosodev") {
                value["etag"] = "W/\"another\"".into();
            }
        }
    });
    estate.requests();
    reader.pass().await;
    assert!(holds(&reader, "10.21.0.44"), "the index has the old address still");
    // For the endpoint, and perhaps again for the row.
    let asked = count(&estate.requests(), "pe-contosodev-nic");
    assert!((1..=2).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_the_index_lacks_is_found_by_its_endpoint() {
    let estate = Estate::contoso();
    estate.edit_rows(|rows| rows.retain(|row| !estate::id(row).ends_with("/pe-contosodev-nic")));
    let mut reader = by_graph(&estate);
    reader.pass().await;
    check_expected(&reader.reading());
}

#[tokio::test(start_paused = true)]
async fn an_empty_index_is_listed_again_by_resource_manager_now_and_then() {
    let estate = Estate::contoso();
    let mut reader = by_graph(&estate);
    let mut lists = 0;
    for _ in 0..20 {
        reader.pass().await;
        lists += count(&estate.requests(), "/networkInterfaces?");
    }
    assert_eq!(lists, 2 * 3);
}
