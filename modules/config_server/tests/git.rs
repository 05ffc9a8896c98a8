//! Tests of the git backend: labels are branches, tags and commits.

use super::{BASIC, Secret, Settings, folder, get, send};
use crate::kernel::ports::free_port;
use crate::modules::config_server::error::GitError;
use crate::modules::config_server::git::GitRepository;
use actix_web::test::TestRequest;
use serde_json::json;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]).args(args);
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

fn commit(dir: &Path, file: &str, text: &str) -> String {
    std::fs::write(dir.join(file), text).unwrap();
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-qm", "x"]);
    git(dir, &["rev-parse", "HEAD"])
}

fn settings(url: &str) -> Settings {
    Settings { git: Some(Secret::new(url)), password: Some(Secret::new("pw")), refresh_seconds: 0, ..Settings::default() }
}

#[actix_web::test]
async fn label_selects_branch_tag_or_commit() {
    let dir = folder(&[("deep/motd.txt", "hi"), ("eu/basket.yml", "limit: 7")]);
    let repository = dir.path();
    git(repository, &["init", "-q", "-b", "main"]);
    let first = commit(repository, "basket.yml", "limit: 5\n---\nlimit: 6\n");
    git(repository, &["tag", "-a", "v1", "-m", "one"]);
    let second = commit(repository, "basket.yml", "limit: 9");
    git(repository, &["checkout", "-q", "-b", "team/x"]);
    let third = commit(repository, "basket.yml", "limit: 50");
    // an uncommitted change is ignored
    std::fs::write(repository.join("basket.yml"), "limit: 0").unwrap();
    let settings = settings(&repository.to_string_lossy());
    for (label, limit, version) in [
        ("", 9, &second),
        ("/main", 9, &second),
        ("/v1", 6, &first),
        ("/team(_)x", 50, &third),
        (&format!("/{first}"), 6, &first),
        (&format!("/{}", &first[..8]), 6, &first),
    ] {
        let response = get(&settings, &format!("/basket/default{label}")).await;
        assert_eq!((response.value("limit"), &response.json()["version"]), (json!(limit), &json!(version)), "{label}: {response:?}");
        assert_eq!(response.json()["state"], "");
    }
    let names = get(&settings, "/basket/default/v1").await.json()["propertySources"].clone();
    assert_eq!(names[0]["name"], format!("file://{}/basket.yml (document #1)", repository.display()));
    let unknown = [
        ("none", 404),
        ("HEAD", 404),
        ("main~1", 404),
        ("v1%5e", 404),
        ("@%7b-1%7d", 400),
        ("deadbeefdeadbeef", 404),
        ("refs(_)heads(_)main", 404),
    ];
    let mut statuses = Vec::new();
    for (label, _) in unknown {
        statuses.push((label, get(&settings, &format!("/basket/default/{label}")).await.status));
    }
    assert_eq!(statuses, unknown);
    assert_eq!(get(&settings, "/x/default/main/deep/motd.txt").await.text, "hi");
    assert_eq!(get(&settings, "/x/default/main/deep").await.status, 404);
    let searched = Settings { search_paths: vec!["{profile}".into()], ..settings };
    assert_eq!(get(&searched, "/basket/eu").await.value("limit"), json!(7));
}

#[actix_web::test]
async fn remote_repository_is_copied_and_refreshed() {
    let dir = folder(&[("shop/none", "")]);
    let origin = dir.path().join("shop");
    git(&origin, &["init", "-q", "-b", "main"]);
    let first = commit(&origin, "basket.yml", "limit: 1");
    let port = free_port();
    let mut daemon = Command::new("git")
        .args(["daemon", "--export-all", "--listen=127.0.0.1", &format!("--port={port}")])
        .arg(format!("--base-path={}", dir.path().display()))
        .process_group(0)
        .spawn()
        .unwrap();
    let data = tempfile::tempdir().unwrap();
    let url = Secret::new(format!("git://127.0.0.1:{port}/shop"));
    let copy = GitRepository::open(&url, "main", &[], Duration::ZERO, data.path()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let fetched = loop {
        match copy.commit(None).await {
            Ok(commit) => break commit,
            Err(problem) => assert!(Instant::now() < deadline, "{problem:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(fetched, first);
    let second = commit(&origin, "basket.yml", "limit: 2");
    assert_eq!(copy.commit(None).await.unwrap(), second);
    assert_eq!(copy.read(&second, &["none.yml".into(), "basket.yml".into()]).await.unwrap(), [None, Some(b"limit: 2".to_vec())]);
    // a branch deleted in the remote is deleted in the copy
    git(&origin, &["branch", "short"]);
    assert_eq!(copy.commit(Some("short")).await.unwrap(), second);
    git(&origin, &["branch", "-D", "short"]);
    assert_eq!(copy.commit(Some("short")).await.unwrap_err().status, 404);

    // git runs the daemon as a child process, so the signal goes to the process group
    Command::new("kill").args(["-TERM", "--", &format!("-{}", daemon.id())]).status().unwrap();
    daemon.wait().unwrap();
    assert_eq!(copy.commit(None).await.unwrap(), second, "the last copy stays in use");
    let unfetched = GitRepository::open(&url, "main", &[], Duration::ZERO, &data.path().join("other")).unwrap();
    let problem = unfetched.commit(None).await.unwrap_err();
    assert_eq!(
        (problem.status, problem.message.as_str()),
        (503, "the repository cannot be read right now"),
        "git's own text is only in the log"
    );
}

#[actix_web::test]
async fn push_returns_the_affected_applications() {
    let dir = folder(&[]);
    git(dir.path(), &["init", "-q", "-b", "main"]);
    commit(dir.path(), "basket.yml", "limit: 1");
    let settings = settings(&dir.path().to_string_lossy());
    let pushed = TestRequest::post().uri("/monitor").insert_header(BASIC).set_payload("path=basket.yml");
    assert_eq!(send(&settings, pushed).await.json(), json!(["basket"]));
}

#[test]
fn folder_without_repository_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let error = GitRepository::open(&Secret::new(dir.path().to_string_lossy()), "main", &[], Duration::ZERO, dir.path()).err().unwrap();
    assert!(matches!(&error, GitError::Failed { status, stderr } if status.code() == Some(128) && !stderr.is_empty()), "{error:?}");
}

#[test]
fn credentials_are_neither_in_address_nor_on_disk() {
    let data = tempfile::tempdir().unwrap();
    let url = Secret::new("https://user:topsecret@localhost:1/shop.git");
    let git = GitRepository::open(&url, "main", &[], Duration::ZERO, data.path()).unwrap();
    assert_eq!(git.address, "https://localhost:1/shop.git");
    let config = std::fs::read_to_string(data.path().join("config-server/repository.git/config")).unwrap();
    assert!(!config.contains("topsecret"));
}
