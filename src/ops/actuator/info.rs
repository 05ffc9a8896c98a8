//! `/actuator/info`: build, commit and the modules of this process.

use super::state::Actuator;
use crate::kernel::build;
use actix_web::HttpResponse;
use serde_json::{Value, json};

/// Git and build in the forms of Spring's `GitInfoContributor` (mode `simple`: the commit's id is cut to seven
/// characters) and `BuildInfoContributor`. Unknown members are left out.
pub(super) fn info(actuator: &Actuator) -> HttpResponse {
    let time = build::time();
    let mut info = json!({
        "build": { "group": "tradepost", "artifact": "tradepost", "name": "tradepost", "version": build::VERSION },
        "modules": actuator.modules,
    });
    if let (Some(time), Some(Value::Object(build))) = (&time, info.get_mut("build")) {
        build.insert("time".into(), json!(time));
    }
    if let (Some(id), Value::Object(members)) = (build::COMMIT.get(..7).filter(|_| build::COMMIT != "unknown"), &mut info) {
        let mut commit = json!({ "id": id });
        if let (Some(time), Value::Object(commit)) = (time, &mut commit) {
            commit.insert("time".into(), json!(time));
        }
        let mut git = json!({ "commit": commit });
        if let (Some(branch), Value::Object(git)) = (Some(build::BRANCH).filter(|branch| *branch != "unknown"), &mut git) {
            git.insert("branch".into(), json!(branch));
        }
        members.insert("git".into(), git);
    }
    HttpResponse::Ok().json(info)
}
