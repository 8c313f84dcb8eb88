//! JSON interfaces over HTTP: pages, tokens, and what is done when one does not answer.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use phalanx_data::{find_version, validate};
use phalanx_protocol::spec::DataSpec;
use serde_json::json;

use crate::support::{Bench, train_only};

const TOKEN: &str = "a-secret-of-nobody";

/// An interface with three pages of two rows, asked in `way`; what it was asked is remembered.
fn serve(way: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let remembered = asked.clone();
    let answers = AtomicUsize::new(0);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            remembered.lock().unwrap().push(target.clone());
            let first = answers.fetch_add(1, Ordering::Relaxed) == 0;
            let answer = if !head.to_lowercase().contains(&format!("authorization: bearer {TOKEN}")) {
                "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
            } else if first {
                "HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
            } else {
                page(way, &target, address)
            };
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, asked)
}

fn page(way: &str, target: &str, address: SocketAddr) -> String {
    let parameter = |name: &str| {
        let parameters = target.split('?').nth(1).unwrap_or_default().split('&');
        parameters
            .filter_map(|part| part.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    let number = match way {
        "offset" => parameter("offset").map_or(0, |offset| offset.parse::<usize>().unwrap() / 2),
        "cursor" => parameter("cursor").map_or(0, |cursor| cursor.trim_start_matches('c').parse().unwrap()),
        _ => parameter("page").map_or(0, |page| page.parse::<usize>().unwrap() - 1),
    };
    let rows: Vec<_> =
        (0..2).map(|row| json!({"x": number * 2 + row, "y": if row == 0 { "p" } else { "q" }})).collect();
    let rows = if number < 3 { rows } else { Vec::new() };
    let next = if number < 2 { json!(format!("c{}", number + 1)) } else { json!(null) };
    let body = json!({"data": {"items": rows}, "next": next}).to_string();
    let link = match way {
        "link" if number < 2 => {
            format!("link: <http://{address}/rows?page={}>; rel=\"next\"\r\n", number + 2)
        }
        _ => String::new(),
    };
    format!("HTTP/1.1 200 OK\r\n{link}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn spec(bench: &Bench, address: SocketAddr, pages: serde_json::Value) -> DataSpec {
    let token = bench.file("token", format!("{TOKEN}\n"));
    let mut http = json!({
        "url": format!("http://{address}/rows?size=2"), "rows": "/data/items", "token_file": token, "requests_per_second": 1000
    });
    if !pages.is_null() {
        http["pages"] = pages;
    }
    serde_json::from_value(json!({"target": "y", "http": http})).unwrap()
}

#[tokio::test]
async fn pages_are_asked_for_by_number_offset_cursor_and_link() {
    for (way, pages, requests) in [
        ("number", json!({"by": "number"}), 5),
        ("offset", json!({"by": "offset"}), 5),
        ("cursor", json!({"by": "cursor", "next": "/next"}), 4),
        ("link", json!({"by": "link"}), 4),
    ] {
        let bench = Bench::new();
        let (address, asked) = serve(way);
        let validation = validate(&spec(&bench, address, pages), &mut |_| {}).await.unwrap();
        assert_eq!(validation.funnel.rows_clean, 6, "{way}");
        // One request is repeated, and where pages have numbers one more shows that there are no more.
        assert_eq!(asked.lock().unwrap().len(), requests, "{way}: {asked:?}");
        assert!(
            asked.lock().unwrap().iter().all(|target| way == "link" || target.contains("size=2")),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn more_pages_than_are_allowed_and_a_wrong_token_are_errors_without_the_token() {
    let bench = Bench::new();
    let (address, _) = serve("number");
    let refused = spec(&bench, address, json!({"by": "number", "max": 2}));
    let error = validate(&refused, &mut |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("there are more than 2 pages"), "{error}");

    let mut wrong = spec(&bench, address, json!(null));
    wrong.http.as_mut().unwrap().token_file = Some(bench.file("wrong", "another"));
    let error = validate(&wrong, &mut |_| {}).await.unwrap_err().to_string();
    assert!(
        error.contains("401") && error.contains("is the token right?") && !error.contains("another"),
        "{error}"
    );
    wrong.http.as_mut().unwrap().token_file = Some(bench.path("none"));
    let error = validate(&wrong, &mut |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("none: "), "{error}");
}

#[tokio::test]
async fn nothing_that_is_stored_holds_the_token() {
    let bench = Bench::new();
    let (address, _) = serve("number");
    let prepared = bench.prepare(&train_only(spec(&bench, address, json!({"by": "number"})))).await.unwrap();
    let manifest = find_version(&prepared.dataset.version, &bench.store).await.unwrap();
    let text = serde_json::to_string(&manifest).unwrap();
    assert!(!text.contains(TOKEN) && text.contains("/rows"), "{text}");
}
